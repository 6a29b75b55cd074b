"""Matching in miniature: of long lists of equal items, a dozen are matched and the others follow.

Both sides are cut alike: only where either has the same lists (as many of them, as long, with as many numbers in an
item), so that nothing becomes rarer or more frequent on one side than on the other. What the miniature answers is taken
where it answers the same for every item, with no flag; else the whole is matched, as if there were no miniature.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from automatch.describing.repeats import Column, Numbers, Repeat, columns_of, repeats_of
from automatch.matching.assignment import Assignment, Match
from automatch.spec import StateDictSpec

WORTH_IT = 1_000
"""Where both sides have fewer keys they are matched as they are."""

LEAST = 16
"""Shorter lists stay as they are."""

KEPT = 12
"""So many items of a list stay at least: two digits, so that sorting by name or by number still differs."""

Ranks = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Axis:
    """A number of a column that is cut.

    Attributes:
        at: which number of the column.
        first: the lowest number.
        length: how many items there are.
        kept: how many of them stay.
    """

    at: int
    first: int
    length: int
    kept: int


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a key of the miniature comes from: its column, its numbers, and the ranks of those that are cut."""

    column: Column
    axes: tuple[_Axis, ...]
    numbers: Numbers
    ranks: Ranks

    def family(self) -> tuple[object, ...]:
        """What is left when the ranks are taken away."""
        cut = {axis.at for axis in self.axes}
        return (self.column.texts, *(n for at, n in enumerate(self.numbers) if at not in cut))


@dataclass(frozen=True, slots=True)
class Half:
    """One side of the miniature.

    Attributes:
        spec: the keys that stay.
        whole: all keys.
        places: key of the miniature -> where it comes from, for the keys of lists that are cut.
    """

    spec: StateDictSpec
    whole: StateDictSpec
    places: dict[str, _Place]

    def times(self, key: str) -> int:
        """For how many keys of the whole a key stands: the first of its kind for all of them, the others for none."""
        place = self.places.get(key)
        if place is None:
            return 1
        return prod(axis.length for axis in place.axes) if not any(place.ranks) else 0

    def keys_like(self, key: str) -> list[str]:
        """The keys of the whole that a key stands for, by the ranks of their items."""
        place, keys = self.places[key], self.whole.keys
        values: list[Numbers] = [(number,) for number in place.numbers]
        for axis in place.axes:
            values[axis.at] = tuple(str(axis.first + rank) for rank in range(axis.length))
        return [keys[place.column.places[numbers]] for numbers in product(*values)]


def miniature(checkpoint: StateDictSpec, model: StateDictSpec) -> tuple[Half, Half] | None:
    """Both sides with their long lists of equal items cut; None where that would save little."""
    if max(len(checkpoint), len(model)) < WORTH_IT:
        return None
    sides = [(spec, columns_of(spec)) for spec in (checkpoint, model)]
    repeats = [repeats_of(spec, columns, LEAST) for spec, columns in sides]
    counts = [Counter(repeat.signature for repeat in own) for own in repeats]
    both = [[repeat for repeat in own if counts[0][repeat.signature] == counts[1][repeat.signature]] for own in repeats]
    kept = _kept([column for _, columns in sides for column in columns], {r.length for own in both for r in own})
    if not kept or any(length <= few for length, few in kept.items()):
        return None
    mine, theirs = (_half(spec, columns, own, kept) for (spec, columns), own in zip(sides, both, strict=True))
    small = 2 * len(mine.spec) <= len(checkpoint) and 2 * len(theirs.spec) <= len(model)
    return (mine, theirs) if small else None


def _kept(columns: Sequence[Column], lengths: set[int]) -> dict[int, int]:
    """For each length of lists that are cut, the length that stays: another one than any other list has."""
    others = {len({key[at] for key in c.places}) for c in columns for at in range(len(c.texts) - 1)} - lengths
    out: dict[int, int] = {}
    few = KEPT
    for length in sorted(lengths):
        while few in others:
            few += 1
        out[length] = few
        few += 1
    return out


def _half(spec: StateDictSpec, columns: Sequence[Column], repeats: Sequence[Repeat], kept: dict[int, int]) -> Half:
    places: dict[str, _Place] = {}
    stay: list[int] = []
    for column in columns:
        axes = tuple(
            _Axis(len(repeat.prefix) - 1, repeat.first, repeat.length, kept[repeat.length])
            for repeat in sorted(repeats, key=lambda repeat: len(repeat.prefix))
            if len(repeat.prefix) < len(column.texts) and column.texts[: len(repeat.prefix)] == repeat.prefix
        )
        if not axes:
            stay += column.places.values()
            continue
        ranks = [(axis.at, {str(axis.first + rank): rank for rank in range(axis.kept)}) for axis in axes]
        left = list(column.places.items())
        for at, kept_here in ranks:
            left = [(numbers, place) for numbers, place in left if numbers[at] in kept_here]
        for numbers, place in left:
            own = tuple(kept_here[numbers[at]] for at, kept_here in ranks)
            places[spec.tensors[place].key] = _Place(column, axes, numbers, own)
            stay.append(place)
    tensors = tuple(spec.tensors[place] for place in sorted(stay))
    return Half(replace(spec, tensors=tensors), spec, places)


def enlarged(small: Assignment, mine: Half, theirs: Half) -> list[Match] | None:
    """The matches of the whole.

    Args:
        small: the assignment of the miniature.
        mine: the checkpoint's side.
        theirs: the model's side.

    Returns:
        Matches in no particular order; None where the miniature does not say the same of every item.
    """
    if (
        not small.matches
        or small.notes
        or any(p.key in theirs.places or p.checkpoint_key in mine.places for p in small.mismatched)
    ):
        return None
    out: list[Match] = []
    families: dict[object, list[tuple[Ranks, Match]]] = defaultdict(list)
    for match in small.matches:
        own = [mine.places.get(key) for key in match.checkpoint_keys] + [theirs.places.get(k) for k in match.model_keys]
        cut = [place for place in own if place is not None]
        if not cut:
            out.append(match)
            continue
        first = cut[0]
        if len(cut) < len(own) or match.ambiguous or any(not _goes_with(place, first) for place in cut):
            return None
        said = match._replace(model_keys=(), checkpoint_keys=())
        families[said, tuple(place.family() for place in cut)].append((first.ranks, match))
    for members in families.values():
        grown = _grown(members, mine, theirs)
        if grown is None:
            return None
        out += grown
    return out


def _goes_with(place: _Place, first: _Place) -> bool:
    """Are two keys cut alike, and of items of one rank?"""
    lengths = [[axis.length for axis in one.axes] for one in (place, first)]
    return lengths[0] == lengths[1] and place.ranks == first.ranks


def _grown(members: Sequence[tuple[Ranks, Match]], mine: Half, theirs: Half) -> list[Match] | None:
    """One match of a family for all items of the whole, if the family has one for every item of the miniature."""
    match = members[0][1]
    axes = theirs.places[match.model_keys[0]].axes
    if len(members) != prod(axis.kept for axis in axes):
        return None
    served = zip(*map(theirs.keys_like, match.model_keys), strict=True)
    serving = zip(*map(mine.keys_like, match.checkpoint_keys), strict=True)
    said = match[2:]
    return [Match._make((*keys, *said)) for keys in zip(served, serving, strict=True)]
