"""How one tensor may become another of the same elements: the arrangements that rules can say, simplest first.

Each is a view of the source with more dimensions, in another order of them; so an arrangement is tested without
copying a tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from math import prod
from typing import TYPE_CHECKING, Any

from automatch.learning.sketch import Sketch
from automatch.ops import relative_shape
from automatch.spec import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEEPEST = 5
"""Tensors of more dimensions are not turned: there are too many ways."""

Quad = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Arrangement:
    """One way from a source to a target of as many elements.

    Attributes:
        rank: how simple it is; of two that hold, the one of lower rank is meant.
        words: its operations in the words of rules, in their order; () where nothing happens.
        view: the sizes as which the source is seen; None for those that it has.
        order: the dimensions of the view in the order of the target.
        perm: for transpose.
        shape: for reshape as rules hold it; for interleave the four sizes.
        dim: the dimension that is interleaved or flipped.
        flipped: the dimension of the view that is reversed; None where none is.
    """

    rank: int
    words: tuple[str, ...]
    view: Shape | None
    order: tuple[int, ...]
    perm: tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None
    dim: int | None = None
    flipped: int | None = None

    def views(self, source: NDArray[Any], target: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Both tensors in the shape in which their elements must be equal."""
        seen = source if self.view is None else source.reshape(self.view)
        if self.flipped is not None:
            seen = seen[(slice(None),) * self.flipped + (slice(None, None, -1),)]
        seen = seen.transpose(self.order)
        return seen, target.reshape(seen.shape)


def same(dims: int) -> Arrangement:
    """Nothing happens to a tensor of so many dimensions."""
    return Arrangement(0, (), None, tuple(range(dims)))


def arrangements(source: Shape, target: Shape) -> Iterator[Arrangement]:
    """All that turn and reshape, simplest first."""
    if source == target:
        yield same(len(source))
    elif prod(source) == prod(target):
        yield Arrangement(1, ("reshape",), (prod(source),), (0,), shape=relative_shape(source, target))
    yield from transposes(source, target)
    if len(source) <= DEEPEST:
        for perm in _turns(len(source)):
            turned = tuple(source[i] for i in perm)
            if turned != target and prod(turned) == prod(target):
                shape = relative_shape(turned, target)
                yield Arrangement(3, ("transpose", "reshape"), source, perm, perm, shape)
    if len(target) <= DEEPEST:
        for perm in _turns(len(target)):
            middle = [0] * len(target)
            for place, dim in enumerate(perm):
                middle[dim] = target[place]
            if tuple(middle) != source and prod(middle) == prod(source):
                shape = relative_shape(source, tuple(middle))
                yield Arrangement(4, ("reshape", "transpose"), tuple(middle), perm, perm, shape)


def transposes(source: Shape, target: Shape) -> Iterator[Arrangement]:
    """All that only turn."""
    if len(source) != len(target) or len(source) > DEEPEST:
        return
    for perm in _turns(len(source)):
        if tuple(source[i] for i in perm) == target:
            yield Arrangement(2, ("transpose",), None, perm, perm)


def _turns(dims: int) -> Iterator[tuple[int, ...]]:
    return (perm for perm in permutations(range(dims)) if perm != tuple(range(dims)))


def interleaved(source: Shape, target: Shape, before: Sketch, after: Sketch) -> Iterator[Arrangement]:
    """All that bring the entries along one dimension into another order, perhaps after a turn; fibres tell which."""
    import numpy as np

    if len(source) != len(target) or not before.fibres or not after.fibres:
        return
    orders = [tuple(range(len(source))), *(a.order for a in transposes(source, target))]
    for perm in orders:
        if tuple(source[i] for i in perm) != target:
            continue
        fibres = [before.fibres[i] for i in perm]
        moved = [i for i, (a, b) in enumerate(zip(fibres, after.fibres, strict=True)) if not np.array_equal(a, b)]
        if len(moved) != 1:
            continue
        (dim,) = moved
        for quad in unweavings(fibres[dim], after.fibres[dim]):
            yield _interleave(source, perm, dim, quad)
        for blocks in flips(fibres[dim], after.fibres[dim]):
            yield _flip(source, perm, dim, blocks)


def _interleave(source: Shape, perm: tuple[int, ...], dim: int, quad: Quad) -> Arrangement:
    """The source is seen with four dimensions instead of the one that becomes `dim`."""
    at = perm[dim]
    view = (*source[:at], *quad, *source[at + 1 :])
    places = [(i,) if i < at else (at, at + 2, at + 1, at + 3) if i == at else (i + 3,) for i in perm]
    order = tuple(place for group in places for place in group)
    turned = perm != tuple(range(len(perm)))
    words = ("transpose", "interleave") if turned else ("interleave",)
    return Arrangement(5 + turned, words, view, order, perm if turned else None, quad, dim)


def _flip(source: Shape, perm: tuple[int, ...], dim: int, blocks: int) -> Arrangement:
    """The source is seen with two dimensions instead of the one that becomes `dim`, the first of them reversed."""
    at = perm[dim]
    view = (*source[:at], blocks, source[at] // blocks, *source[at + 1 :])
    order = tuple(place for i in perm for place in ((i,) if i < at else (at, at + 1) if i == at else (i + 1,)))
    turned = perm != tuple(range(len(perm)))
    words = ("transpose", "flip") if turned else ("flip",)
    shape = (-1, 1) if blocks == source[at] > 2 else (blocks, -1)
    return Arrangement(7 + turned, words, view, order, perm if turned else None, shape, dim, at)


def flips(before: NDArray[Any], after: NDArray[Any]) -> Iterator[int]:
    """Into how many blocks a dimension can be cut so that, reversed, they give the other row of fibres."""
    import numpy as np

    for blocks in range(2, len(before) + 1):
        if len(before) % blocks == 0 and np.array_equal(before.reshape(blocks, -1)[::-1].reshape(-1), after):
            yield blocks


def unweavings(before: NDArray[Any], after: NDArray[Any]) -> Iterator[Quad]:
    """The ways to see a dimension as four, exchange the middle two, and so get from one row of fibres to the other."""
    import numpy as np

    if not np.array_equal(np.sort(before), np.sort(after)):
        return
    for quad in quads(len(before)):
        if np.array_equal(unwoven(before, quad), after):
            yield quad


def unwoven(fibres: NDArray[Any], quad: Quad) -> NDArray[Any]:
    """A row of fibres after the exchange."""
    seen: NDArray[Any] = fibres.reshape(quad).swapaxes(1, 2).reshape(-1)
    return seen


def quads(size: int) -> Iterator[Quad]:
    """All a, b, c, d with a product, b and c being at least 2; d the smallest first, as single rows move most often."""
    divisors = [n for n in range(1, size + 1) if size % n == 0] if size else []
    for d in divisors:
        for c in divisors[1:]:
            if size % (d * c):
                continue
            for b in divisors[1:]:
                if size % (d * c * b) == 0:
                    yield size // (d * c * b), b, c, d
