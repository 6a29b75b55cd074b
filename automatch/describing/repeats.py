"""Lists of equal items in a key list: the layers of a transformer, the experts of a layer.

An item is equal to the others when it has the same tensors under the same names in the same order. A hundred experts
that are equal say no more than a dozen of them. The first items of a list may be others: dense layers before the
mixtures of experts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from operator import itemgetter
from typing import NamedTuple

from automatch.spec import StateDictSpec, TensorSpec

_FLOATING = ("float", "bfloat")
_INDEX = re.compile(r"\.(\d+)(?![^.])")

Texts = tuple[str, ...]
Numbers = tuple[str, ...]
Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Column:
    """The keys that differ in nothing but their numbers.

    Attributes:
        texts: what stands before, between and after the numbers.
        places: numbers -> the place of the key in the state_dict, in that order.
        even: all have one shape, dtype and kind, and none shares its tensor with another key.
        counted: the numbers that stand at each place.
    """

    texts: Texts
    places: dict[Numbers, int]
    even: bool
    counted: list[set[str]]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The lists of equal items at one place of the keys, e.g. the experts of all layers.

    Attributes:
        prefix: the texts up to the number of the item.
        first: the lowest number of an equal item; those before it are others.
        length: how many equal items each list has.
        signature: length, how many lists, and how many numbers an item holds (those of floating point): what does not
            change where q, k and v are joined, experts are stacked or kernels transposed.
        early: how many other items stand before the equal ones.
    """

    prefix: Texts
    first: int
    length: int
    signature: Signature
    early: int = 0


def columns_of(spec: StateDictSpec) -> list[Column]:
    """The keys by what they are without their numbers, in order of first appearance.

    Keys that differ in digits alone are cut at the same places, found once for all of them.
    """
    found: dict[Texts, dict[Numbers, int]] = {}
    cuts: dict[str, _Cut] = {}
    for place, (key, plain) in enumerate(zip(spec.keys, spec.plain_keys, strict=True)):
        cut = cuts.get(plain)
        if cut is None:
            cut = cuts[plain] = _cut_of(plain)
        texts, numbers = cut.texts(key), cut.numbers(key)
        places = found.get(texts)
        if places is None:
            places = found[texts] = {}
        places[numbers] = place
    shared = {key for tensor in spec.tensors if tensor.tied for key in (tensor.key, tensor.tied)}
    kinds = list(map(itemgetter(1, 2, 3), spec.tensors))  # shape, dtype, kind
    return [
        Column(
            texts,
            places,
            even=len(set(map(kinds.__getitem__, places.values()))) == 1
            and not (shared and any(spec.tensors[place].key in shared for place in places.values())),
            counted=list(map(set, zip(*places, strict=True))),
        )
        for texts, places in found.items()
    ]


class _Cut(NamedTuple):
    """Where keys are cut that differ in digits alone: to the texts between their numbers, and to the numbers."""

    texts: Callable[[str], Texts]
    numbers: Callable[[str], Numbers]


def _cut_of(plain: str) -> _Cut:
    """Where a key is cut, told by the key without its digits."""
    numbers = [slice(*found.span(1)) for found in _INDEX.finditer(plain)]
    ends = [0, *(cut.stop for cut in numbers)]
    starts = [*(cut.start - 1 for cut in numbers), len(plain)]
    texts = [slice(start, stop) for start, stop in zip(ends, starts, strict=True)]
    fixed = tuple(plain[text] for text in texts)
    if any("0" in text for text in fixed):
        return _Cut(_picked(texts), _picked(numbers))
    return _Cut(lambda key: fixed, _picked(numbers))


def _picked(pieces: list[slice]) -> Callable[[str], tuple[str, ...]]:
    """The pieces of a key."""
    if len(pieces) > 1:
        return itemgetter(*pieces)
    return lambda key: tuple([key[piece] for piece in pieces])


def repeats_of(spec: StateDictSpec, columns: list[Column], least: int) -> list[Repeat]:
    """The lists of equal items that have at least so many of them, in order of first appearance."""
    under: dict[Texts, list[Column]] = defaultdict(list)
    for column in columns:
        for depth in range(1, len(column.texts)):
            under[column.texts[:depth]].append(column)
    found = []
    for prefix, own in under.items():
        if any(column.even and len(column.places) >= least for column in own):
            repeat = _repeat(spec, prefix, own, least)
            if repeat is not None:
                found.append(repeat)
    return found


def stacks_like(lists: Sequence[Repeat], spec: StateDictSpec, columns: Iterable[Column]) -> list[int]:
    """The places of the tensors that hold, in stacks, what lists of one length hold item by item.

    A stack's first size is the length of the lists. All stacks of one item of an outer list (a layer) must hold as much
    as one of the lists does; vectors are among them if they stand beside stacks of matrices.
    """
    length = lists[0].length
    wanted = {length * repeat.signature[2] for repeat in lists}
    layers: dict[Texts, list[tuple[Column, TensorSpec]]] = defaultdict(list)
    for column in columns:
        tensor = spec.tensors[next(iter(column.places.values()))]
        if column.even and len(tensor.shape) > 1 and tensor.shape[0] == length and tensor.dtype.startswith(_FLOATING):
            layers[column.texts[:-1]].append((column, tensor))
    out: list[int] = []
    for own in layers.values():
        stacks = [(column, tensor) for column, tensor in own if len(tensor.shape) > 2]
        beside = {column.texts[-1].rpartition(".")[0] for column, _ in stacks}
        vectors = [(c, t) for c, t in own if len(t.shape) == 2 and c.texts[-1].rpartition(".")[0] in beside]
        for chosen in (stacks, stacks + vectors):
            if chosen and sum(prod(tensor.shape) for _, tensor in chosen) in wanted:
                out += [place for column, _ in chosen for place in column.places.values()]
                break
    return out


def _repeat(spec: StateDictSpec, prefix: Texts, own: Sequence[Column], least: int) -> Repeat | None:
    """What repeats at one number of the columns that share the texts before it, if the same does in all its lists."""
    at = len(prefix) - 1
    equal = _equal_items([column.counted[at] for column in own])
    if equal is None or equal.length < least:
        return None
    first, chosen = equal.first, [own[n] for n in equal.columns]
    if any(not column.even or len(column.places) < least for column in chosen):
        return None
    items = [column.places for column in chosen]
    if equal.early:
        numbers = frozenset(map(str, range(first, first + equal.length)))
        items = [{key: place for key, place in places.items() if key[at] in numbers} for places in items]
    starts: dict[Numbers, int] = {}
    for key, place in items[0].items():
        starts.setdefault(key[: at + 1], place)
    lists = len({item[:-1] for item in starts})
    if len(starts) != lists * equal.length:
        return None
    size = 0
    for places in items:
        if not _at_equal_distances(places, starts, at):
            return None
        tensor = spec.tensors[next(iter(places.values()))]
        if tensor.shape and tensor.dtype.startswith(_FLOATING):
            size += prod(tensor.shape) * (len(places) // len(starts))
    return Repeat(prefix, first, equal.length, (equal.length, lists, size), equal.early)


def _at_equal_distances(places: dict[Numbers, int], starts: dict[Numbers, int], at: int) -> bool:
    """Does a column have the same keys in all items, at the same distances from where each item starts?

    Args:
        places: numbers -> place of the keys of the column.
        starts: numbers of an item -> the place of its first key.
        at: which number is that of the item.
    """
    count, rest = divmod(len(places), len(starts))
    if rest or not count:
        return False
    after = [key[at + 1 :] for key in islice(places, count)]
    if list(places) == [item + key for item in starts for key in after]:  # item by item, as nearly all are
        values, begins = list(places.values()), list(starts.values())
        return all(
            len({value - begin for value, begin in zip(values[n::count], begins, strict=True)}) == 1
            for n in range(count)
        )
    distances: dict[Numbers, int] = {}
    for key, place in places.items():
        start = starts.get(key[: at + 1])
        if start is None or distances.setdefault(key[at + 1 :], place - start) != place - start:
            return False
    return len(distances) == count


class _Equal(NamedTuple):
    """Items that have the same columns: the lowest number, how many there are, which columns, how many stand before."""

    first: int
    length: int
    columns: Sequence[int]
    early: int


def _equal_items(numbers: Sequence[set[str]]) -> _Equal | None:
    """The items of a list that are equal up to its end: all of them, or all behind the first few (dense layers).

    Args:
        numbers: for each column, the numbers of the items that have it.
    """
    widest = max(numbers, key=len)
    lowest = first = min(map(int, widest))
    end = first + len(widest)
    if widest != set(map(str, range(first, end))):
        return None
    last = str(end - 1)
    if all(own == widest for own in numbers):
        return _Equal(first, len(widest), range(len(numbers)), 0)
    columns = [n for n, own in enumerate(numbers) if last in own]
    for own in numbers:
        own_first = min(map(int, own))
        if last not in own:
            first = max(first, 1 + max(map(int, own)))
        elif own != set(map(str, range(own_first, end))):
            return None
        else:
            first = max(first, own_first)
    return _Equal(first, end - first, columns, first - lowest)
