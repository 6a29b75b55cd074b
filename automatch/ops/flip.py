"""flip: blocks along a dimension in the opposite order, as where scale and shift change places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from automatch.errors import RuleError
from automatch.spec import Shape


@dataclass(frozen=True, slots=True)
class Flip:
    """Sees a dimension as n blocks of one size and reverses the blocks; each stays as it is.

    Scale and shift in one tensor, which become shift and scale, have shape (2, -1); (-1, 1) reverses single entries.

    Attributes:
        shape: the number of blocks and their size; one may be -1 and takes what is left.
        dim: the dimension.
    """

    shape: tuple[int, ...] | None = None
    dim: int = 0

    name: ClassVar[str] = "flip"
    reverse: ClassVar[str] = "flip"

    def forward(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """Each tensor (torch or numpy) with its blocks in the opposite order.

        Raises:
            RuleError: the dimension cannot be seen so.
        """
        return tuple(self._one(tensor) for tensor in tensors)

    def out_shapes(self, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
        """The same shapes.

        Raises:
            RuleError: the dimension cannot be seen so.
        """
        for shape in shapes:
            self._parts(shape)
        return tuple(shapes)

    def _one(self, tensor: Any) -> Any:
        shape = tuple(tensor.shape)
        at, parts = self._parts(shape)
        seen = tensor.reshape((*shape[:at], *parts, *shape[at + 1 :]))
        if hasattr(seen, "permute"):
            return seen.flip(at).reshape(shape)
        import numpy as np

        return np.flip(seen, at).reshape(shape)

    def _parts(self, shape: Shape) -> tuple[int, tuple[int, int]]:
        """Which dimension is meant, and the number and the size of its blocks."""
        if not -len(shape) <= self.dim < len(shape):
            raise RuleError(f"flip along dimension {self.dim} does not fit a tensor of shape {list(shape)}")
        at = self.dim % len(shape)
        sizes = self.shape or ()
        known = prod(size for size in sizes if size != -1)
        if len(sizes) == 2 and sizes != (-1, -1) and known > 0 and shape[at] % known == 0:
            blocks, size = (shape[at] // known if one == -1 else one for one in sizes)
            if blocks * size == shape[at]:
                return at, (blocks, size)
        raise RuleError(f"dimension {at} of a tensor of shape {list(shape)} cannot be seen as {list(sizes)} to flip it")
