"""Lists of equal items in a key list: the layers of a transformer, the experts of a layer.

An item is equal to the others when it has the same tensors under the same names in the same order. A hundred experts
that are equal say no more than a dozen of them. The first items of a list may be others: dense layers before the
mixtures of experts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
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
    """

    texts: Texts
    places: dict[Numbers, int]
    even: bool


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
    """The keys by what they are without their numbers, in order of first appearance."""
    found: dict[Texts, dict[Numbers, int]] = {}
    split = _INDEX.split
    for place, tensor in enumerate(spec.tensors):
        pieces = split(tensor.key)
        found.setdefault(tuple(pieces[::2]), {})[tuple(pieces[1::2])] = place
    shared = {key for tensor in spec.tensors if tensor.tied for key in (tensor.key, tensor.tied)}
    return [Column(texts, places, _is_even(spec, places, shared)) for texts, places in found.items()]


def _is_even(spec: StateDictSpec, places: dict[Numbers, int], shared: set[str]) -> bool:
    tensors = spec.tensors
    if len({tensors[place][1:4] for place in places.values()}) > 1:  # shape, dtype, kind
        return False
    return not (shared and any(tensors[place].key in shared for place in places.values()))


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
    equal = _equal_items([{key[at] for key in column.places} for column in own])
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
        distances: dict[Numbers, int] = {}
        for key, place in places.items():
            start = starts.get(key[: at + 1])
            if start is None or distances.setdefault(key[at + 1 :], place - start) != place - start:
                return None
        if len(places) != len(distances) * len(starts):
            return None
        tensor = spec.tensors[next(iter(places.values()))]
        if tensor.shape and tensor.dtype.startswith(_FLOATING):
            size += prod(tensor.shape) * (len(places) // len(starts))
    return Repeat(prefix, first, equal.length, (equal.length, lists, size), equal.early)


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
