"""The tensors of which others may be made, and the walk along the fibres of a whole that names them in their order."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from automatch.learning.arrangement import Arrangement
from automatch.learning.sides import Sides
from automatch.learning.sketch import Sketch, sketch
from automatch.ops import relative_shape
from automatch.spec import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_STEPS = 2_000
"""A walk that takes more steps than this is given up: too many tensors begin alike."""

MERGES = (0, 1, 2)
"""Dimensions of parts that may be seen as one with the next: heads that are kept apart before they are joined."""

SEPARATOR = re.compile(r"[./]")

Start = tuple[str, int, int]
Member = tuple[str, int]
"""A part, and its dimension along which it is joined."""


@dataclass(frozen=True)
class Parts:
    """The tensors of which wholes may be made.

    Attributes:
        sides: both sides.
        converted: whether the parts are the conversion's, so that wholes are cut.
        sketches: (key, form) -> the sketch of a part.
        starts: (form, elements of a fibre, first fibre) -> parts that begin so.
        totals: (form, elements, total) -> parts.
        places: the position of each part in its state_dict.
        dtypes: those that parts have.
        merge: the dimension that is seen as one with the next; None where all are seen as they are.
    """

    sides: Sides
    converted: bool
    sketches: dict[tuple[str, str], Sketch]
    starts: dict[Start, list[Member]]
    totals: dict[Start, list[str]]
    places: dict[str, int]
    dtypes: tuple[str, ...] = ()
    merge: int | None = None

    def shape(self, key: str) -> Shape:
        """The shape as which a part is seen."""
        return merged(self.sides.spec(self.converted).by_key[key].shape, self.merge)

    def stored(self, how: Arrangement, key: str) -> Arrangement:
        """What happens to a part as it is stored, from what happens to it as it is seen."""
        if self.merge is None:
            return how
        stored, seen = self.sides.spec(self.converted).by_key[key].shape, self.shape(key)
        shape = relative_shape(seen, stored) if self.converted else relative_shape(stored, seen)
        words = (*how.words, "reshape") if self.converted else ("reshape", *how.words)
        return replace(how, words=words, view=None if self.converted else seen, shape=shape)


def merged(shape: Shape, at: int | None) -> Shape:
    """A shape with a dimension and the next seen as one."""
    return shape if at is None else (*shape[:at], shape[at] * shape[at + 1], *shape[at + 2 :])


def parts_of(sides: Sides, converted: bool, keys: Sequence[str], merge: int | None = None) -> Parts:
    """The parts under some keys of a side; only those that have the dimensions where two are to be seen as one."""
    starts: dict[Start, list[Member]] = defaultdict(list)
    totals: dict[Start, list[str]] = defaultdict(list)
    by_key = sides.spec(converted).by_key
    wanted = {key for key in keys if merge is None or len(by_key[key].shape) > merge + 1}
    sketches: dict[tuple[str, str], Sketch] = {}
    for (side, key, form), one in sides.sketches.items():
        if side is not converted or key not in wanted:
            continue
        if merge is not None:
            array = sides.arrays(side)(key)
            one = sketch(array.reshape(merged(array.shape, merge)), by_key[key].dtype, form)
        sketches[key, form] = one
        totals[form, one.size, one.total].append(key)
        for dim, fibres in enumerate(one.fibres):
            if len(fibres) and one.size:
                starts[form, one.size // len(fibres), int(fibres[0])].append((key, dim))
    dtypes = tuple(dict.fromkeys(by_key[key].dtype for key in keys if key in wanted))
    places = {key: i for i, key in enumerate(sides.spec(converted).keys)}
    return Parts(sides, converted, sketches, dict(starts), dict(totals), places, dtypes, merge)


def walks(
    parts: Parts, fibres: NDArray[Any], form: str, size: int, known: Set[str]
) -> Iterator[tuple[list[Member], list[str]]]:
    """Rows of two or more parts whose fibres are, one after the other, those given; with what would do as well."""
    import numpy as np

    steps = 0
    paths: list[tuple[list[Member], int, list[str]]] = [([], 0, [])]
    while paths and steps < MOST_STEPS:
        steps += 1
        members, at, rivals = paths.pop()
        if at == len(fibres):
            if len(members) > 1:
                yield members, rivals
            continue
        used = {key for key, _ in members}
        fitting: dict[tuple[int, int], list[str]] = defaultdict(list)
        for key, axis in parts.starts.get((form, size, int(fibres[at])), ()):
            own = parts.sketches[key, form].fibres[axis]
            same_axis = not members or axis == members[0][1]
            fits = at + len(own) <= len(fibres) and np.array_equal(own, fibres[at : at + len(own)])
            if key not in used and key not in known and same_axis and fits:
                fitting[axis, len(own)].append(key)
        for (axis, length), keys in sorted(fitting.items(), reverse=True):
            chosen, others = nearest(parts, keys, [key for key, _ in members])
            paths.append(([*members, (chosen, axis)], at + length, [*rivals, *others]))


def nearest(parts: Parts, options: Sequence[str], members: Sequence[str]) -> tuple[str, list[str]]:
    """The part that stands nearest to the members so far, and those that stand as near: their values are equal."""
    if len(options) == 1:
        return options[0], []
    if not members:
        return options[0], list(options[1:])
    near = [max(_shared(key, member) for member in members) for key in options]
    best = [key for key, n in zip(options, near, strict=True) if n == max(near)]
    best.sort(key=lambda key: (parts.places[key] < parts.places[members[-1]], parts.places[key]))
    return best[0], best[1:]


def _shared(key: str, other: str) -> int:
    """How many modules two keys share."""
    count = 0
    for a, b in zip(SEPARATOR.split(key)[:-1], SEPARATOR.split(other)[:-1], strict=False):
        if a != b:
            break
        count += 1
    return count
