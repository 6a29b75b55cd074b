"""Folds many keys into few lines without losing one of them.

`features.denseblock{1..4}.denselayer{1..6;1..12;1..24;1..16}.norm.1.weight` stands for exactly 58 keys: `{1..4}` is
every number of the range, `{a;b}` one list for each value of the index before it, `{0..4,6}` has a gap, `{0..22..2}` a
step. A fold is only made of numbers that are all there: `Family.expand` gives back what was folded, nothing more.

An item is a tuple of keys that belong together (one key; or a checkpoint key and its model key). Its keys are folded
side by side and read in step: `a.{0..2} => b.{1..3}` pairs 0 with 1, 1 with 2 and 2 with 3.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, repeat

Item = tuple[str, ...]
Values = tuple[int, ...]

# Numbers that survive int() and str(); "007" and very long ones stay text.
NUMBER = re.compile(r"(?<![0-9])(0|[1-9][0-9]{0,8})(?![0-9])")
# `{..;..;..}` with more lists than this is no help to a reader.
MOST_LISTS = 6


@dataclass(frozen=True, slots=True)
class Column:
    """The values of one number: a single list, or one list for each value of the column `on`."""

    lists: tuple[Values, ...]
    on: int | None = None


@dataclass(frozen=True, slots=True)
class FoldedKey:
    """A key with its numbers taken out: texts around columns, one text more than columns."""

    texts: tuple[str, ...]
    columns: tuple[Column, ...]

    def expand(self) -> Iterator[str]:
        """Every key it stands for, in order."""
        for vector in _vectors(self.columns):
            yield self.texts[0] + "".join(f"{n}{text}" for n, text in zip(vector, self.texts[1:], strict=True))


@dataclass(frozen=True, slots=True)
class Family:
    """Items that differ only in their numbers and in the last component of their keys.

    Attributes:
        keys: one for each key of an item; the last component is left out where `leaves` is set.
        leaves: last components that every member has, or () where there is only the one in `keys`.
        members: positions of the items in the sequence that was folded, in the order of `expand`.
    """

    keys: tuple[FoldedKey, ...]
    leaves: tuple[str, ...]
    members: tuple[int, ...]

    def expand(self) -> Iterator[Item]:
        """Every item that the family stands for; a key without indices goes with each of the others."""
        each = len(self.members) // max(1, len(self.leaves))
        sides = [list(key.expand()) for key in self.keys]
        for leaf in self.leaves or ("",):
            steps = [repeat(side[0]) if len(side) == 1 else side for side in sides]
            for item in islice(zip(*steps, strict=False), each):
                yield tuple(key + leaf for key in item)


def fold(items: Sequence[Item], labels: Sequence[Hashable] = ()) -> list[Family]:
    """Fold items whose keys differ only in numbers and in their last component.

    Items that differ in the last component alone (the tensors of a module) are put together first, so that a number is
    folded only over modules that hold the same tensors.

    Args:
        items: tuples of keys, all different.
        labels: one for each item; only items of equal label are folded together.

    Returns:
        Families in the order of their first item; together they stand for every item once.
    """
    modules: dict[tuple[Item, Hashable], dict[str, int]] = {}
    for position, item in enumerate(items):
        stems, leaf = _stems(item)
        modules.setdefault((stems, labels[position] if labels else None), {})[leaf] = position
    groups: dict[Hashable, list[_Row]] = {}
    texts_of: dict[Hashable, tuple[tuple[str, ...], ...]] = {}
    for (stems, label), members in modules.items():
        leaves = tuple(members)
        ends = ("",) if len(leaves) > 1 else leaves
        pieces = [NUMBER.split(stem + ends[0]) for stem in stems]
        texts = tuple(tuple(p[::2]) for p in pieces)
        group = texts, label, leaves
        texts_of[group] = texts
        numbers = tuple(tuple(int(number) for number in p[1::2]) for p in pieces)
        groups.setdefault(group, []).append((numbers, tuple(members.items())))
    families = [family for group, rows in groups.items() for family in _families(texts_of[group], sorted(rows))]
    return sorted(families, key=lambda family: min(family.members))


def _stems(item: Item) -> tuple[Item, str]:
    """The keys without their last component, and that component; as they are, and "", where it is not one word."""
    leaf = item[0].rpartition(".")[2]
    if not leaf or NUMBER.search(leaf) or not all(key.endswith(f".{leaf}") for key in item):
        return item, ""
    return tuple(key.removesuffix(leaf) for key in item), leaf


# The numbers of each key, and for each last component the item's position.
_Row = tuple[tuple[Values, ...], tuple[tuple[str, int], ...]]


def _families(texts: tuple[tuple[str, ...], ...], rows: list[_Row]) -> Iterator[Family]:
    """Families of sorted items that share their texts: one if all keys can be read in step, else part by part."""
    sides = [[numbers[k] for numbers, _ in rows] for k in range(len(texts))]
    boxes = [_boxes(side) for side in sides]
    if all(len(found) == 1 and _reads_as(found[0], side) for found, side in zip(boxes, sides, strict=True)):
        keys = tuple(FoldedKey(text, found[0]) for text, found in zip(texts, boxes, strict=True))
        leaves = tuple(leaf for leaf, _ in rows[0][1])
        members = tuple(row[1][i][1] for i in range(len(leaves)) for row in rows)
        yield Family(keys, leaves if len(leaves) > 1 else (), members)
        return
    for part in _parts(rows, boxes[0]):
        yield from _families(texts, part)


def _parts(rows: list[_Row], boxes: list[tuple[Column, ...]]) -> list[list[_Row]]:
    """The rows of each box of the first key; where that is but one, the rows of each value of an index."""
    if len(boxes) > 1:
        box_of = {vector: b for b, box in enumerate(boxes) for vector in _vectors(box)}
        parts: list[list[_Row]] = [[] for _ in boxes]
        for row in rows:
            parts[box_of[row[0][0]]].append(row)
        return parts
    flat = [[n for key in numbers for n in key] for numbers, _ in rows]
    column = next(c for c, values in enumerate(zip(*flat, strict=True)) if len(set(values)) > 1)
    order = sorted(range(len(rows)), key=lambda i: flat[i][column])
    return [[rows[i] for i in same] for _, same in groupby(order, key=lambda i: flat[i][column])]


def _reads_as(box: tuple[Column, ...], side: list[Values]) -> bool:
    """Whether the box, read in order, is the side; a constant goes with anything."""
    return list(_vectors(box)) == side or all(vector == side[0] for vector in side)


def _boxes(vectors: Sequence[Values]) -> list[tuple[Column, ...]]:
    """Columns that say exactly these vectors; several boxes where one cannot.

    A vector that comes again at once is said once.
    """
    if not vectors[0]:
        return [()]
    below = [(value, _boxes([vector[1:] for vector in rest])) for value, rest in groupby(vectors, key=lambda v: v[0])]
    boxes: list[tuple[Column, ...]] = []
    for alike, run in groupby(below, key=lambda entry: len(entry[1]) == 1):
        children = list(run)
        values = tuple(value for value, _ in children)
        merged = _merge([child[0] for _, child in children]) if alike and len(set(values)) == len(values) else None
        if merged is not None:
            boxes.append((Column((values,)), *merged))
            continue
        for _, same in groupby(children, key=lambda entry: entry[1]):
            equal = list(same)
            outer = Column((tuple(value for value, _ in equal),))
            boxes += [(outer, *map(_deeper, box)) for box in equal[0][1]]
    return boxes


def _merge(boxes: list[tuple[Column, ...]]) -> tuple[Column, ...] | None:
    """One box below an index: equal columns stay, another gets a list for each of its values; None if it cannot be."""
    merged: list[Column] = []
    needed = {column.on for column in boxes[0]}
    for position, columns in enumerate(zip(*boxes, strict=True)):
        if all(column == columns[0] for column in columns):
            merged.append(_deeper(columns[0]))
        elif position not in needed and len(boxes) <= MOST_LISTS and all(column.on is None for column in columns):
            merged.append(Column(tuple(column.lists[0] for column in columns), 0))
        else:
            return None
    return tuple(merged)


def _deeper(column: Column) -> Column:
    """The same column with one more before it."""
    return column if column.on is None else Column(column.lists, column.on + 1)


def _vectors(columns: tuple[Column, ...], chosen: Values = ()) -> Iterator[Values]:
    """Every combination of values, in order."""
    if len(chosen) == len(columns):
        yield chosen
        return
    column = columns[len(chosen)]
    # A column that others depend on has a single list itself.
    which = 0 if column.on is None else columns[column.on].lists[0].index(chosen[column.on])
    for value in column.lists[which]:
        yield from _vectors(columns, (*chosen, value))
