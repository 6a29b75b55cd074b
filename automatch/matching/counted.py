"""Lists whose numbers run against each other, as those of their items show that only one partner fits.

A decoder's `upconv7, ..., upconv1` stand in the order of `decoder.0, ..., decoder.6`. Where the items of a shape of
their own say that the numbers of the two lists add up to one sum, the others are put where that sum says. A family that
says nothing itself, as convolutions of one size throughout, follows what is beside it in the same items of the model.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from automatch.matching.confidence import judge
from automatch.matching.evidence import Found
from automatch.matching.exchange import Refuses, exchanged
from automatch.matching.leaves import Leaf
from automatch.matching.units import module_path

Path = tuple[str, ...]
Pair = tuple[Path, Path]

WITNESSES = 2
"""So many items whose partners are sure must show which way the numbers run."""

DOWN, UP = -1, 1
"""Which way the numbers of one side run while those of the other rise."""

_NUMBER = re.compile(r"[0-9]+")


def as_counted_down(found: list[Found], target: Sequence[Leaf], refuses: Refuses) -> list[Found]:
    """The same pairs, with items in doubt of lists that are counted from both ends where the others say."""
    sure: dict[Pair, bool] = {}
    for s, t, evidence in found:
        pair = module_path(s.path), module_path(t.path)
        sure[pair] = sure.get(pair, True) and not judge(evidence).ambiguous
    lists: dict[Pair, list[Pair]] = defaultdict(list)
    for pair in sure:
        lists[_fold(pair[0]), _fold(pair[1])].append(pair)
    doubted = [pairs for pairs in lists.values() if not all(sure[pair] for pair in pairs)]
    if not doubted:
        return found
    ways: dict[Path, set[int]] = defaultdict(set)
    for pairs in lists.values():
        for _, q, way, _ in _runs([pair for pair in pairs if sure[pair]]):
            ways[_list_of(pairs[0][1], q)].add(way)
    groups = [moved for pairs in doubted if (moved := _moved(pairs, sure) or _followed(pairs, sure, ways))]
    return exchanged(found, target, groups, "numbered", refuses)


def _moved(pairs: Sequence[Pair], sure: dict[Pair, bool]) -> dict[Path, Path]:
    """New partners for the items in doubt of two lists, if the others say that they are counted against each other."""
    run = next((run for run in _runs([pair for pair in pairs if sure[pair]]) if run[2] == DOWN), None)
    if run is None:
        return {}
    p, q, _, total = run
    partners = {_numbers(t)[q]: t for _, t in pairs}
    loose = {s: t for s, t in pairs if not sure[s, t]}
    moved = {s: t for s in loose if (t := partners.get(total - _numbers(s)[p])) is not None}
    return moved if len(moved) == len(loose) and moved != loose else {}


def _followed(pairs: Sequence[Pair], sure: dict[Pair, bool], ways: dict[Path, set[int]]) -> dict[Path, Path]:
    """New partners for two lists of which no item is sure, if all else in the items of the model is counted down."""
    if len(pairs) <= WITNESSES or any(sure[pair] for pair in pairs):
        return {}
    for p, q in _places(pairs):
        if ways.get(_list_of(pairs[0][1], q)) == {DOWN}:
            mine = sorted((s for s, _ in pairs), key=lambda s: -_numbers(s)[p])
            theirs = sorted((t for _, t in pairs), key=lambda t: _numbers(t)[q])
            moved = dict(zip(mine, theirs, strict=True))
            return moved if moved != dict(pairs) else {}
    return {}


def _runs(witnesses: Sequence[Pair]) -> Iterator[tuple[int, int, int, int]]:
    """How the numbers of items run whose partners are sure: their places, which way, and the sum or the difference."""
    if len(witnesses) < WITNESSES:
        return
    for p, q in _places(witnesses):
        numbers = {(_numbers(s)[p], _numbers(t)[q]) for s, t in witnesses}
        if len(numbers) >= WITNESSES:
            for way in (DOWN, UP):
                totals = {b - way * a for a, b in numbers}
                if len(totals) == 1:
                    yield p, q, way, totals.pop()


def _places(pairs: Sequence[Pair]) -> Iterator[tuple[int, int]]:
    """Which numbers of the two sides differ from item to item, each with each."""
    rows = [[_numbers(path) for path in side] for side in zip(*pairs, strict=True)]
    varied = [[n for n, column in enumerate(zip(*side, strict=True)) if len(set(column)) > 1] for side in rows]
    return ((p, q) for p in varied[0] for q in varied[1])


def _list_of(path: Path, q: int) -> Path:
    """The list that holds the items told apart by the q-th number of a path."""
    for i, token in enumerate(path):
        q -= len(_NUMBER.findall(token))
        if q < 0:
            return _fold(path[: i + 1])
    return _fold(path)


def _fold(path: Path) -> Path:
    return tuple(_NUMBER.sub("#", token) for token in path)


def _numbers(path: Path) -> list[int]:
    return [int(number) for token in path for number in _NUMBER.findall(token)]
