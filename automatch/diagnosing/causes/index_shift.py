"""The same modules under shifted numbers: a layer was put in or taken out in front, or counting begins at one."""

from __future__ import annotations

import re
from collections import defaultdict

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import NUMBER, is_counter, template

_DIGITS = re.compile(r"(?<!\d)\d{1,6}(?!\d)")


def check(evidence: Evidence) -> Finding | None:
    """Whether both lists have the same templates and their numbers differ by one constant."""
    by_pairs = _by_pairs(evidence)
    if by_pairs or evidence.truncated or evidence.matched:
        return by_pairs
    if all(k[:1].isdigit() for k in evidence.listed):
        return None  # bare numbers of nn.Sequential: another network looks the same
    return _by_lists(evidence, NUMBER) or (_by_lists(evidence, _DIGITS) if len(evidence.missing_keys) > 1 else None)


def _by_lists(evidence: Evidence, numbers: re.Pattern[str]) -> Finding | None:
    """Compare the numbers under each template; `numbers` says what counts as one: `block.4` alone, or `block4`, too."""
    missing, unexpected = (_indices(keys, numbers) for keys in (evidence.missing_keys, evidence.unexpected_keys))
    if not missing or set(missing) != set(unexpected):
        return None
    shifts = {
        _shift(a, b) for name in missing for a, b in zip(sorted(unexpected[name]), sorted(missing[name]), strict=False)
    }
    if any(len(missing[name]) != len(unexpected[name]) for name in missing) or len(shifts) != 1:
        return None
    shift = next(iter(shifts))
    if shift is None:
        return None
    return Finding(
        "index-shift",
        0.82,
        f"the same {len(missing)} kinds of keys stand under other numbers on the two sides: "
        f"{len(evidence.missing_keys)} missing, "
        f"{len(evidence.unexpected_keys)} unexpected",
        "run `automatch diagnose CHECKPOINT MODEL`: numbers that both sides have are not listed here, so the shift "
        "cannot be told from names alone",
    )


def _by_pairs(evidence: Evidence) -> Finding | None:
    """Read the shift off the pairs that matching found."""
    pairs = [
        (_numbers(a, NUMBER), _numbers(b, NUMBER))
        for a, b in evidence.renamed
        if a.count(".") == b.count(".") and template(a) == template(b)  # the dots are counted at once
    ]
    if not pairs or len(pairs) < 0.9 * len(evidence.renamed):
        return None
    shifts = {_shift(a, b) for a, b in pairs}
    how = "under other numbers"
    if len(shifts) == 1 and (shift := next(iter(shifts))):
        distance = shift[1]
        how = f"{abs(distance)} place{'s' if abs(distance) > 1 else ''} {'further' if distance > 0 else 'earlier'}"
    return Finding(
        "index-shift",
        0.88,
        f"{len(pairs)} keys stand {how} in the model",
        "rename by the rules; where the numbers of both sides overlap, equal names do not belong together",
    )


def _indices(keys: tuple[str, ...], numbers: re.Pattern[str]) -> dict[str, set[tuple[int, ...]]]:
    found: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for key in keys:
        if not is_counter(key):
            found[numbers.sub("{}", key)].add(_numbers(key, numbers))
    return found


def _numbers(key: str, numbers: re.Pattern[str]) -> tuple[int, ...]:
    return tuple(int(n) for n in numbers.findall(key))


def _shift(source: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, int] | None:
    """Position and size of the one difference between two index tuples."""
    different = [(i, b - a) for i, (a, b) in enumerate(zip(source, target, strict=True)) if a != b]
    return different[0] if len(different) == 1 else None
