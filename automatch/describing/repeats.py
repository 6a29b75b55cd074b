"""Lists of equal items in a key list: the layers of a transformer, the experts of a layer.

An item is equal to the others when it has the same tensors under the same names in the same order. A hundred experts
that are equal say no more than a dozen of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from math import prod

from automatch.spec import StateDictSpec

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
        first: the lowest number of an item.
        length: how many items each list has.
        signature: length, how many lists, and how many numbers an item holds (those of floating point): what does not
            change where q, k and v are joined, experts are stacked or kernels transposed.
    """

    prefix: Texts
    first: int
    length: int
    signature: Signature


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
    own = [spec.tensors[place] for place in places.values()]
    return len({(t.shape, t.dtype, t.kind) for t in own}) == 1 and not any(t.key in shared for t in own if shared)


def repeats_of(spec: StateDictSpec, columns: list[Column], least: int) -> list[Repeat]:
    """The lists of equal items that have at least so many of them, in order of first appearance."""
    under: dict[Texts, list[Column]] = defaultdict(list)
    for column in columns:
        for depth in range(1, len(column.texts)):
            under[column.texts[:depth]].append(column)
    found = []
    for prefix, own in under.items():
        if all(column.even and len(column.places) >= least for column in own):
            repeat = _repeat(spec, prefix, own)
            if repeat is not None and repeat.length >= least:
                found.append(repeat)
    return found


def _repeat(spec: StateDictSpec, prefix: Texts, own: list[Column]) -> Repeat | None:
    """What repeats at one number of the columns that share the texts before it, if the same does in all its lists."""
    at = len(prefix) - 1
    numbers = {key[at] for key in own[0].places}
    if any({key[at] for key in column.places} != numbers for column in own):
        return None
    first = min(map(int, numbers))
    if numbers != set(map(str, range(first, first + len(numbers)))):
        return None
    starts: dict[Numbers, int] = {}
    for key, place in own[0].places.items():
        starts.setdefault(key[: at + 1], place)
    lists = len({item[:-1] for item in starts})
    if len(starts) != lists * len(numbers):
        return None
    for column in own:
        distances: dict[Numbers, int] = {}
        for key, place in column.places.items():
            start = starts.get(key[: at + 1])
            if start is None or distances.setdefault(key[at + 1 :], place - start) != place - start:
                return None
        if len(column.places) != len(distances) * len(starts):
            return None
    size = 0
    for column in own:
        tensor = spec.tensors[next(iter(column.places.values()))]
        if tensor.shape and tensor.dtype.startswith(_FLOATING):
            size += prod(tensor.shape) * (len(column.places) // len(starts))
    return Repeat(prefix, first, len(numbers), (len(numbers), lists, size))
