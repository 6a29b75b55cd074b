"""Lists whose numbers run against each other, as those of their items show that only one partner fits.

A decoder's `upconv7, ..., upconv1` stand in the order of `decoder.0, ..., decoder.6`. Where the items of a shape of
their own say that the numbers of the two lists add up to one sum, the others are put where that sum says. A family
that says nothing itself, as convolutions of one size throughout, follows the one item of which a person said where it
goes, if that leaves no other way, or else, flagged, what is beside it in the same items of the model.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise, product

from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Found
from automatch.matching.basis.exchange import Refuses, exchanged
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.units import module_path

Pair = tuple[Path, Path]
Item = tuple[int, int, Pair]
"""An item of two lists: its numbers in either, and its modules."""

WITNESSES = 2
"""So many items whose partners are sure must show which way the numbers run."""

DOWN, UP = -1, 1
"""Which way the numbers of one side run while those of the other rise."""

_NUMBER = re.compile(r"[0-9]+")
_BLANK = "\0"
"""What stands for the number that tells items apart."""


def as_counted_down(found: list[Found], target: Sequence[Leaf], refuses: Refuses) -> list[Found]:
    """The same pairs, with items in doubt of lists that are counted from both ends where the others say."""
    sure: dict[Pair, bool] = {}
    alone: dict[Pair, bool] = {}
    pinned: set[Pair] = set()
    for s, t, evidence in found:
        pair = module_path(s.path), module_path(t.path)
        sure[pair] = sure.get(pair, True) and not judge(evidence).ambiguous
        alone[pair] = alone.get(pair, True) and not evidence.rivals
        if evidence.level == "pin":
            pinned.add(pair)
    if all(sure.values()) and not any(alone[pair] and _numbers(pair[0]) != _numbers(pair[1]) for pair in sure):
        return found  # every number is where the other side has it
    places = {module_path(s.path): s.place for s, _, _ in reversed(found)}
    lists: dict[tuple[Path, Path], list[Item]] = defaultdict(list)
    for mine, theirs in sure:
        for (a, one), (b, other) in product(_blanks(mine), _blanks(theirs)):
            lists[one, other].append((a, b, (mine, theirs)))
    ways: dict[Path, set[int]] = defaultdict(set)
    by_shape: dict[Path, dict[int, int]] = defaultdict(dict)
    whole: list[tuple[Path, list[Item]]] = []
    sizes = Counter(_tops(mine for mine, _ in sure)), Counter(_tops(theirs for _, theirs in sure))
    for (one, other), items in lists.items():
        top = other[: other.index(_BLANK) + 1]
        ways[top] |= {way for way, _ in _runs([item for item in items if sure[item[2]]])}
        seen = [item for item in items if sure[item[2]] and alone[item[2]]]
        for runs, _ in _runs(seen):
            by_shape[top][runs] = max(by_shape[top].get(runs, 0), len(seen))
        if sizes[0][one] == sizes[1][other] == len(items) > 1:  # no item of either list went to another one
            whole.append((top, items))
    sure_ways: list[dict[Path, Path]] = []
    guessed: list[dict[Path, Path]] = []
    moved: set[Path] = set()
    for top, items in whole:
        if all(sure[item[2]] for item in items):
            way, group = {}, _against(items, alone, pinned, by_shape[top])
        else:
            way = _moved(items, sure) or _told(items, sure, pinned)
            group = way or _followed(sorted(items, key=lambda item: places[item[2][0]]), sure, ways[top])
        if group and moved.isdisjoint(group):
            (sure_ways if way else guessed).append(group)
            moved |= group.keys()
    return exchanged(exchanged(found, target, sure_ways, "down", refuses), target, guessed, "followed", refuses)


def _numbers(path: Path) -> list[str]:
    """The numbers on a path, those inside its tokens too."""
    return [number for token in path for number in _NUMBER.findall(token)]


def _moved(items: Sequence[Item], sure: Mapping[Pair, bool]) -> dict[Path, Path]:
    """New partners for the items in doubt of two lists, if the others say that they are counted against each other."""
    total = next((total for way, total in _runs([item for item in items if sure[item[2]]]) if way == DOWN), None)
    return {} if total is None else _reach(items, sure, total, DOWN)


def _against(
    items: Sequence[Item], alone: Mapping[Pair, bool], pinned: Collection[Pair], ways: Mapping[int, int]
) -> dict[Path, Path]:
    """New partners for two lists of one shape that go by equal numbers, if what is beside them counts down by shapes.

    `pyramid.0` has the `lateral.2` that alone is so wide: then its `smooth` is no `smooth.0`. `ways`: which way lists
    beside them run by the shapes of their items, and of how many. A list that is longer by more than one is no such.
    """
    if ways.keys() != {DOWN} or len(items) > ways[DOWN] + 1 or any(alone[pair] or pair in pinned for *_, pair in items):
        return {}
    total = max(a for a, _, _ in items) + min(b for _, b, _ in items)
    up = all(way == UP for way, _ in _runs(items))
    return _reach(items, dict.fromkeys((pair for *_, pair in items), False), total, DOWN) if up else {}


def _followed(items: Sequence[Item], sure: Mapping[Pair, bool], ways: set[int]) -> dict[Path, Path]:
    """New partners for two lists of which no item is sure, if the sure ones in the items of the model count down.

    The file has to hold the items, in its order, from the last on.
    """
    falling = all(a > b for (a, _, _), (b, _, _) in pairwise(items))
    if not falling or ways != {DOWN} or len(items) <= WITNESSES or any(sure[pair] for _, _, pair in items):
        return {}
    mine = sorted(items, key=lambda item: -item[0])
    theirs = sorted(items, key=lambda item: item[1])
    if len({a + b for (a, _, _), (_, b, _) in zip(mine, theirs, strict=True)}) > 1:
        return {}  # `bn42, bn33, bn12`: no numbers of items
    return {s: t for (_, _, (s, _)), (_, _, (_, t)) in zip(mine, theirs, strict=True)}


def _told(items: Sequence[Item], sure: Mapping[Pair, bool], pinned: Collection[Pair]) -> dict[Path, Path]:
    """New partners for two lists of which a person pinned one item, if only counting down leaves none without one."""
    known = [item for item in items if sure[item[2]]]
    if len(known) != 1 or known[0][2] not in pinned or len(items) <= WITNESSES:
        return {}
    ((one, other, _),) = known
    return {} if _reach(items, sure, other - one, UP) else _reach(items, sure, other + one, DOWN)


def _reach(items: Sequence[Item], sure: Mapping[Pair, bool], total: int, way: int) -> dict[Path, Path]:
    """The partners of the items in doubt where numbers run so; {} where one has none."""
    partners = {b: t for _, b, (_, t) in items}
    loose = [(a, s) for a, _, (s, t) in items if not sure[s, t]]
    out = {s: t for a, s in loose if (t := partners.get(total + way * a)) is not None}
    return out if len(out) == len(loose) else {}


def _runs(witnesses: Sequence[Item]) -> Iterator[tuple[int, int]]:
    """Which way the numbers of items run whose partners are sure, and their sum or difference."""
    numbers = {(a, b) for a, b, _ in witnesses}
    if len(numbers) >= WITNESSES:
        for way in (DOWN, UP):
            totals = {b - way * a for a, b in numbers}
            if len(totals) == 1:
                yield way, totals.pop()


def _tops(paths: Iterable[Path]) -> Iterator[Path]:
    """The lists that modules are items of, once for each item."""
    return (top for path in dict.fromkeys(paths) for _, top in _blanks(path))


def _blanks(path: Path) -> Iterator[tuple[int, Path]]:
    """Each number of a path, with the path without it: two paths of one list differ in nothing but that number.

    What else is counted in the same token changes with it: `flow5_to_4`, `flow4_to_3`.
    """
    for i, token in enumerate(path):
        for number, pieces in _around_numbers(token):
            yield number, (*path[:i], *pieces, *path[i + 1 :])


@lru_cache(maxsize=1 << 16)
def _around_numbers(token: str) -> tuple[tuple[int, tuple[str, str, str]], ...]:
    """Each number of a token, and the token without it in pieces."""
    return tuple(
        (
            int(number.group()),
            (_NUMBER.sub("#", token[: number.start()]), _BLANK, _NUMBER.sub("#", token[number.end() :])),
        )
        for number in _NUMBER.finditer(token)
    )
