"""Pairs in containers of other names that otherwise do not fit each other: two heads, not one renamed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import product

from automatch.matching.basis.evidence import Found
from automatch.matching.basis.identity import Identity
from automatch.matching.basis.leaves import Leaf, Path, numbered
from automatch.matching.basis.units import module_path


def drop_half_matched(
    found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf], identity: Identity
) -> list[Found]:
    """Take back pairs in containers of other names that otherwise do not fit each other.

    `lm_head.dense` fits `classifier.dense`, but the rest of the two heads does not: two
    different heads, not one renamed. A matrix whose shape is the only one of either side stays, with its module.
    """
    free = (_unserved(source, {id(s) for s, _, _ in found}), _unserved(target, {id(t) for _, t, _ in found}))
    if not free[0] or not free[1]:
        return found
    homes: list[tuple[Path, Path] | None] = []
    sizes: tuple[dict[Path, int], dict[Path, int]] = (defaultdict(int), defaultdict(int))
    for size, leaves in zip(sizes, (source, target), strict=True):
        for leaf in leaves:
            for depth in range(1, len(leaf.path)):
                size[leaf.path[:depth]] += 1
    counts = Counter(leaf.shape for leaf in source), Counter(leaf.shape for leaf in target)
    single = {
        module_path(s.path)
        for s, _, e in found
        if len(s.shape) > 1 and counts[0][s.shape] == counts[1][s.shape] == 1 and e.name > 0
    }
    for s, t, _ in found:
        home_a, home_b = _half(s, free[0]), _half(t, free[1])
        renamed = home_a and home_b and home_a[-1] != home_b[-1] and not identity(s.path, t.path)
        renamed = renamed and module_path(s.path) not in single and t.path != s.path[-len(t.path) :]
        home = (home_a, home_b) if renamed and home_a and home_b else None
        homes.append(home)
    halves = {home for home in homes if home}
    pairs = Counter(
        home
        for s, t, _ in (found if halves else ())
        for i, j in product(range(1, len(s.path)), range(1, len(t.path)))
        if (home := (s.path[:i], t.path[:j])) in halves
    )
    return [
        item
        for item, home in zip(found, homes, strict=True)
        if home is None or item[2].level == "pin" or pairs[home] > 0.5 * min(sizes[0][home[0]], sizes[1][home[1]])
    ]


def _half(leaf: Leaf, free: dict[Path, int]) -> Path | None:
    """The smallest container above the leaf's module that holds unserved leaves, if it is a small one."""
    if numbered(leaf.path):
        return None  # in a repeated block the other blocks bear witness
    for depth in range(len(module_path(leaf.path)) - 1, 0, -1):
        if free.get(leaf.path[:depth]):
            return leaf.path[:depth]
    return None


def _unserved(leaves: Sequence[Leaf], served: set[int]) -> dict[Path, int]:
    out: dict[Path, int] = defaultdict(int)
    for leaf in leaves:
        if id(leaf) not in served and not numbered(leaf.path):
            for depth in range(1, len(leaf.path)):
                out[leaf.path[:depth]] += 1
    return out
