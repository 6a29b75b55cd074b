"""chunk: one tensor cut into several along a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, ClassVar

from automatch.errors import RuleError
from automatch.spec import Shape


@dataclass(frozen=True, slots=True)
class Chunk:
    """Cuts a tensor into pieces that lie one after the other.

    Attributes:
        pieces: how many.
        dim: the dimension that is cut.
        sizes: proportions of the pieces, (4, 1, 1) for grouped-query attention with four times as
            many rows for queries; None for equal pieces.
    """

    pieces: int
    dim: int = 0
    sizes: tuple[int, ...] | None = None

    name: ClassVar[str] = "chunk"
    reverse: ClassVar[str] = "concat"

    def forward(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """The pieces of every tensor (torch or numpy), as views of it."""
        pieces = []
        for tensor in tensors:
            at, cuts = self._cuts(tuple(tensor.shape))
            pieces += [_slice(tensor, at, a, b) for a, b in pairwise(cuts)]
        return tuple(pieces)

    def out_shapes(self, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
        """The shapes of the pieces of tensors of these shapes.

        Raises:
            RuleError: the dimension does not exist or cannot be cut in these proportions.
        """
        out: list[Shape] = []
        for shape in shapes:
            at, cuts = self._cuts(shape)
            out += [(*shape[:at], b - a, *shape[at + 1 :]) for a, b in pairwise(cuts)]
        return tuple(out)

    def _cuts(self, shape: Shape) -> tuple[int, list[int]]:
        sizes = self.sizes or (1,) * self.pieces
        if not -len(shape) <= self.dim < len(shape):
            raise RuleError(f"chunk along dimension {self.dim} does not fit a tensor of shape {list(shape)}")
        at = self.dim % len(shape)
        if len(sizes) != self.pieces or shape[at] % sum(sizes):
            raise RuleError(
                f"dimension {at} of a tensor of shape {list(shape)} cannot be cut into {self.pieces} pieces "
                f"in the proportion {':'.join(map(str, sizes))}"
            )
        unit = shape[at] // sum(sizes)
        return at, [0, *accumulate(size * unit for size in sizes)]


def _slice(tensor: Any, dim: int, start: int, stop: int) -> Any:
    where: tuple[slice, ...] = (slice(None),) * dim
    return tensor[where + (slice(start, stop),)]  # noqa: RUF005 - a star in an index needs Python 3.11
