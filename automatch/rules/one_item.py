r"""Lists of one item, as they stand in the small variant: rules are learnt as if each had a second one.

One stage, one residual block, one refinement: `body.0` is `stages.0`, and nothing shows that 0 counts anything. But
where all of one list's only item goes to the only item of the other side's list, and nothing else does, the two count
the same, and a rule for `body\.\d+` serves the larger variant too. So such items are imagined once more, as `body.1`
and `stages.1`, while the rules are looked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from automatch.matching.assignment import Match

FIRST, SECOND = ".0.", ".1."
"""How the only item of a list stands in a key, and how one more would."""

AFTER = "/"
"""The character that comes after the point."""


class Enlarged(NamedTuple):
    """What rules are asked for, with what is imagined.

    Attributes:
        matches: those that are, and imagined ones.
        checkpoint_keys: all keys of the checkpoint, and imagined ones.
        model_keys: all keys of the model, and imagined ones.
    """

    matches: list[Match]
    checkpoint_keys: list[str]
    model_keys: list[str]


def with_second_items(
    matches: Sequence[Match], checkpoint_keys: Sequence[str], model_keys: Sequence[str]
) -> Enlarged | None:
    """The task with one more item in every list of one item that is such a list on both sides; None without any.

    Args:
        matches: the whole assignment.
        checkpoint_keys: all keys of the checkpoint.
        model_keys: all keys of the model.
    """
    mine, theirs = _only_items(checkpoint_keys), _only_items(model_keys)
    if not mine or not theirs:
        return None
    inside = _lists_by_matches((match.checkpoint_keys for match in matches), mine)
    there = _lists_by_matches((match.model_keys for match in matches), theirs)
    pairs: list[tuple[str, str]] = []
    for served, tops in inside.items():
        others = there.get(served, [])
        if len(tops) == len(others):  # lists in each other, from the outermost
            pairs += zip(sorted(tops, key=len), sorted(others, key=len), strict=True)
    held = {top: [matches[i] for i in served] for served, tops in inside.items() for top in tops}
    pairs = [(top, other) for top, other in pairs if all(_lies_in(match, top, other) for match in held[top])]
    if not pairs:
        return None
    out = Enlarged([*matches], [*checkpoint_keys], [*model_keys])
    for top, other in pairs:
        out.matches.extend(
            match._replace(
                checkpoint_keys=tuple(_second(key, top) for key in match.checkpoint_keys),
                model_keys=tuple(_second(key, other) for key in match.model_keys),
            )
            for match in held[top]
        )
        out.checkpoint_keys.extend(_second(key, top) for key in checkpoint_keys if key.startswith(top + FIRST))
        out.model_keys.extend(_second(key, other) for key in model_keys if key.startswith(other + FIRST))
    return out


def _lists_by_matches(matched: Iterable[tuple[str, ...]], lists: set[str]) -> dict[tuple[int, ...], list[str]]:
    """The lists of one side by the numbers of the matches that lead into them, with the keys that each matched."""
    inside: dict[str, list[int]] = defaultdict(list)
    for number, keys in enumerate(matched):
        for top in {top for key in keys for top in _tops(key) if top in lists}:
            inside[top].append(number)
    out: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for top, numbers in inside.items():
        out[tuple(numbers)].append(top)
    return out


def _tops(key: str) -> Iterator[str]:
    """What stands before every `.0.` of a key."""
    at = key.find(FIRST)
    while at > 0:
        yield key[:at]
        at = key.find(FIRST, at + 2)


def _only_items(keys: Sequence[str]) -> set[str]:
    """What holds an item 0, and nothing else."""
    tops = {top for key in keys for top in _tops(key)}
    ordered = sorted(keys) if tops else []

    def below(start: str) -> int:
        """How many keys begin with this, which ends in a point."""
        return bisect_left(ordered, start[:-1] + AFTER) - bisect_left(ordered, start)

    return {top for top in tops if below(f"{top}.") == below(top + FIRST)}.difference(keys)


def _lies_in(match: Match, top: str, other: str) -> bool:
    """Do all keys of a match stand in these two items?"""
    return all(key.startswith(top + FIRST) for key in match.checkpoint_keys) and all(
        key.startswith(other + FIRST) for key in match.model_keys
    )


def _second(key: str, top: str) -> str:
    return top + SECOND + key[len(top) + len(FIRST) :]
