"""Matching in miniature: of long lists of equal items, a dozen are matched and the others follow.

Both sides are cut alike: where either has the same lists (as many of them, as long, with as many numbers in an item),
or where one has lists and the other keeps the same in stacks, so that nothing becomes rarer or more frequent on one
side than on the other. What the miniature answers is taken where it answers the same for every item, with no flag
(`enlarging`); else the whole is matched, as if there were no miniature.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod

from automatch.describing.repeats import Column, Numbers, Repeat, Signature, columns_of, repeats_of, stacks_like
from automatch.spec import StateDictSpec, TensorSpec

WORTH_IT = 1_000
"""Where both sides have fewer keys they are matched as they are."""

LEAST = 16
"""Shorter lists stay as they are."""

KEPT = 12
"""So many items of a list stay at least: two digits, so that sorting by name or by number still differs."""

STACKED = 5
"""So many stay of what the other side stacks: it is its number that orders a stack."""

Ranks = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """A number of a column that is cut.

    Attributes:
        at: which number of the column.
        first: the lowest number.
        length: how many items there are.
        kept: how many of them stay.
        stacked: the other side has the items in a stack.
    """

    at: int
    first: int
    length: int
    kept: int
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key of the miniature comes from.

    Attributes:
        column: its column.
        axes: the numbers that are cut, in their order.
        numbers: all its numbers.
        ranks: the ranks of those that are cut.
    """

    column: Column
    axes: tuple[Axis, ...]
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
        stacks: key of a stack that is cut -> how many items of it stay.
    """

    spec: StateDictSpec
    whole: StateDictSpec
    places: dict[str, Place]
    stacks: dict[str, int] = field(default_factory=dict)

    def is_cut(self, key: str) -> bool:
        """Does a key of the miniature stand for others, or for a larger tensor?"""
        return key in self.places or key in self.stacks

    def times(self, key: str) -> int:
        """For how many keys of the whole a key stands: the first of its kind for all of them, the others for none.

        Those of a list that the other side stacks are one.
        """
        place = self.places.get(key)
        if place is None:
            return 1
        own = [(axis, rank) for axis, rank in zip(place.axes, place.ranks, strict=True) if not axis.stacked]
        return prod(axis.length for axis, _ in own) if not any(rank for _, rank in own) else 0

    def keys_like(self, key: str) -> list[str]:
        """The keys of the whole that a key stands for, by the ranks of their items."""
        place = self.places.get(key)
        if place is None:
            return [key]
        keys = self.whole.keys
        values: list[Numbers] = [(number,) for number in place.numbers]
        for axis in place.axes:
            values[axis.at] = tuple(str(axis.first + rank) for rank in range(axis.length))
        return [keys[at] for at in map(place.column.places.__getitem__, product(*values))]


def miniature(checkpoint: StateDictSpec, model: StateDictSpec) -> tuple[Half, Half] | None:
    """Both sides with their long lists of equal items cut; None where that would save little."""
    if max(len(checkpoint), len(model)) < WORTH_IT:
        return None
    specs = (checkpoint, model)
    columns = [columns_of(spec) for spec in specs]
    repeats = [repeats_of(spec, own, LEAST) for spec, own in zip(specs, columns, strict=True)]
    counts = [Counter(repeat.signature for repeat in own) for own in repeats]
    both = [[repeat for repeat in own if counts[0][repeat.signature] == counts[1][repeat.signature]] for own in repeats]
    shapes = {tensor.shape for spec in specs for tensor in spec.tensors}
    widths = {size for shape in shapes for size in shape[1:]}  # as many experts as features: neither may be cut
    stacks = [_stacked(repeats[1 - side], counts[side], specs[side], columns[side], widths) for side in (0, 1)]
    lone = [[r for r in repeats[side] if r.length in stacks[1 - side] and r not in both[side]] for side in (0, 1)]
    alike = _as_long([*repeats[0], *repeats[1]], [*both[0], *both[1], *lone[0], *lone[1]])
    both, lone = ([[r for r in own if r.length not in alike] for own in sides] for sides in (both, lone))
    stacks = [{length: own for length, own in one.items() if length not in alike} for one in stacks]
    sizes = {size for shape in shapes for size in shape}
    kept = _kept(
        [column for own in columns for column in own],
        [repeat for own in (*both, *lone) for repeat in own],
        stacks[0].keys() | stacks[1].keys(),
        sizes,
    )
    if not kept or any(length <= few for length, few in kept.items()):
        return None
    mine, theirs = (_half(specs[side], columns[side], both[side], lone[side], stacks[side], kept) for side in (0, 1))
    small = 2 * (len(mine.spec) + len(theirs.spec)) <= len(checkpoint) + len(model)
    return (mine, theirs) if small else None


def _as_long(repeats: Sequence[Repeat], cut: Sequence[Repeat]) -> set[int]:
    """Lengths at which lists stay as they are: one of them would be cut and another one that is as long would not."""
    whole = {id(repeat) for repeat in repeats} - {id(repeat) for repeat in cut}
    out = {repeat.length for repeat in repeats if id(repeat) in whole}
    lengths = {repeat.length for repeat in repeats}
    for repeat in repeats:
        if repeat.early and repeat.length + repeat.early in lengths:
            out |= {repeat.length, repeat.length + repeat.early}
    return out


def _stacked(
    lists: Sequence[Repeat],
    own: Counter[Signature],
    spec: StateDictSpec,
    columns: Sequence[Column],
    widths: Collection[int],
) -> dict[int, list[int]]:
    """Length of lists that only the other side has -> the places of the stacks that hold the same here.

    None of a length that is among the `widths` of tensors: with as many experts as features, neither may be cut.
    """
    out: dict[int, list[int]] = {}
    for length in {repeat.length for repeat in lists if not own[repeat.signature]}.difference(widths):
        places = stacks_like([repeat for repeat in lists if repeat.length == length], spec, columns)
        if places:
            out[length] = places
    return out


def _kept(
    columns: Sequence[Column], cut: Sequence[Repeat], stacked: Collection[int], sizes: Collection[int]
) -> dict[int, int]:
    """For each length of lists that are cut, the length that stays: another one than any other list has.

    Where stacks are cut as well (lists of the lengths `stacked`), one that is not among the `sizes` of tensors.
    """
    lengths = {repeat.length for repeat in cut}
    others = {len(numbers) for column in columns for numbers in column.counted} - lengths
    out: dict[int, int] = {}
    for length in sorted(lengths):
        early = {0, *(repeat.early for repeat in cut if repeat.length == length)}
        few = STACKED if length in stacked else KEPT
        taken = others.union(out.values(), sizes if length in stacked else ())
        while any(few + before in taken for before in early):
            few += 1
        out[length] = few
    return out


def _half(
    spec: StateDictSpec,
    columns: Sequence[Column],
    repeats: Sequence[Repeat],
    lone: Sequence[Repeat],
    stacks: dict[int, list[int]],
    kept: dict[int, int],
) -> Half:
    places: dict[str, Place] = {}
    stay: list[int] = []
    for column in columns:
        axes = tuple(
            Axis(len(repeat.prefix) - 1, repeat.first, repeat.length, kept[repeat.length], repeat in lone)
            for repeat in sorted((*repeats, *lone), key=lambda repeat: len(repeat.prefix))
            if len(repeat.prefix) < len(column.texts) and column.texts[: len(repeat.prefix)] == repeat.prefix
        )
        if not axes:
            stay += column.places.values()
            continue
        for axes_here, left in _by_axes(column, axes):
            ranks = [(axis.at, {str(axis.first + rank): rank for rank in range(axis.kept)}) for axis in axes_here]
            for numbers, place in _in_reach(left, ranks):
                if axes_here:
                    own = tuple(kept_here[numbers[at]] for at, kept_here in ranks)
                    places[spec.tensors[place].key] = Place(column, axes_here, numbers, own)
                stay.append(place)
    heights = {place: kept[length] for length, own in stacks.items() for place in own}
    tensors = tuple(_lowered(spec.tensors[place], heights.get(place)) for place in sorted(stay))
    lowered = {spec.tensors[place].key: heights[place] for place in stay if place in heights}
    return Half(replace(spec, tensors=tensors), spec, places, lowered)


def _in_reach(left: dict[Numbers, int], ranks: Sequence[tuple[int, dict[str, int]]]) -> list[tuple[Numbers, int]]:
    """The keys whose numbers are all among those that stay."""
    at_all = [kept for _, kept in ranks]
    if [at for at, _ in ranks] == list(range(len(next(iter(left), ())))):  # few of very many
        return [(numbers, left[numbers]) for numbers in product(*at_all) if numbers in left]
    return [(numbers, place) for numbers, place in left.items() if all(numbers[at] in kept for at, kept in ranks)]


def _by_axes(column: Column, axes: tuple[Axis, ...]) -> Iterator[tuple[tuple[Axis, ...], dict[Numbers, int]]]:
    """The keys of a column, apart by the axes on which they are cut: items before the equal ones stay as they are."""
    early = [(axis, {str(number) for number in range(axis.first)}) for axis in axes if axis.first]
    groups: dict[tuple[Axis, ...], dict[Numbers, int]] = {}
    if not any(numbers[axis.at] in before for axis, before in early for numbers in column.places):
        yield axes, column.places
        return
    for numbers, place in column.places.items():
        own = tuple(axis for axis in axes if int(numbers[axis.at]) >= axis.first)
        groups.setdefault(own, {})[numbers] = place
    yield from groups.items()


def _lowered(tensor: TensorSpec, height: int | None) -> TensorSpec:
    """A stack of fewer items."""
    return tensor if height is None else tensor._replace(shape=(height, *tensor.shape[1:]))
