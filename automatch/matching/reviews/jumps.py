"""Items of a list whose numbers break the order that nearly all other items of the two lists keep.

Layers of one shape are told apart by their order alone. Where layer 3 is of another build and layer 27 is what was
left for it, while 0 to 2 and 4 to 26 stand in order, 27 is a guess. Flagged, unless nothing else would fit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence

from automatch.matching.basis.evidence import Found
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.left_overs.kinship import flagged

FEWEST = 8
"""Fewer items keep no order that could be broken."""

MOST = 0.66
"""So many of the model's items must have one of the checkpoint's that stands in order."""

LONGEST = 18
"""Longer numbers count no items."""

Lists = tuple[Path, Path]


def doubt_jumps(found: list[Found], source: Sequence[Leaf]) -> list[Found]:
    """The same pairs, those flagged whose items stand out of the order of all others, and could be exchanged."""
    lists: dict[Lists, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    items = [(_item(s.path), _item(t.path)) for s, t, _ in found]
    for mine, theirs in items:
        if mine and theirs:
            lists[mine[0], theirs[0]][theirs[1]].add(mine[1])
    out_of_order = {key: off for key, went in lists.items() if (off := _out_of_order(went))}
    if not out_of_order:
        return found
    alike = _interchangeable(source, {mine for mine, _ in out_of_order})

    def jumps(mine: tuple[Path, int] | None, theirs: tuple[Path, int] | None) -> bool:
        if not mine or not theirs or mine not in alike:
            return False
        return (mine[1], theirs[1]) in out_of_order.get((mine[0], theirs[0]), ())

    return [
        (s, t, flagged(e, "jumps")) if jumps(mine, theirs) else (s, t, e)
        for (s, t, e), (mine, theirs) in zip(found, items, strict=True)
    ]


def _item(path: Path) -> tuple[Path, int] | None:
    """The outermost list that a path leads through, and the number of the item; None for none."""
    at = next((n for n, token in enumerate(path) if token.isdecimal() and len(token) <= LONGEST), None)
    return None if at is None else (path[:at], int(path[at]))


def _out_of_order(went: dict[int, set[int]]) -> set[tuple[int, int]]:
    """Pairs (item of the checkpoint, item of the model) that break the order of most, forwards or backwards."""
    pairs = [(mine, other) for other in sorted(went) for mine in sorted(went[other])]
    numbers = [mine for mine, _ in pairs]
    if len(went) < FEWEST or len(set(numbers)) < len(numbers) or numbers == sorted(numbers):
        return set()
    kept = max((_longest_run(numbers), _longest_run([-n for n in numbers])), key=len)
    if len({pairs[n][1] for n in kept}) < MOST * len(went):
        return set()
    return {pair for n, pair in enumerate(pairs) if n not in kept}


def _longest_run(numbers: Sequence[int]) -> set[int]:
    """The places of one longest increasing subsequence (patience sorting)."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for place, number in enumerate(numbers):
        at = bisect_left(tails, number)
        before.append(ends[at - 1] if at else -1)
        tails[at : at + 1] = [number]
        ends[at : at + 1] = [place]
    kept: set[int] = set()
    place = ends[-1] if ends else -1
    while place >= 0:
        kept.add(place)
        place = before[place]
    return kept


def _interchangeable(source: Sequence[Leaf], lists: set[Path]) -> set[tuple[Path, int]]:
    """The items of these lists of which the list has others that hold the same."""
    holds: dict[tuple[Path, int], list[object]] = defaultdict(list)
    for leaf in source:
        item = _item(leaf.path)
        if item and item[0] in lists:
            holds[item].append((leaf.path[len(item[0]) + 1 :], leaf.shape))
    contents = {item: tuple(sorted(own, key=repr)) for item, own in holds.items()}
    times = Counter((path, own) for (path, _), own in contents.items())
    return {item for item, own in contents.items() if times[item[0], own] > 1}
