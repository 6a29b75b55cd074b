"""interleave: the entries along a dimension in another order, as between the two layouts of rotary attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from automatch.errors import RuleError
from automatch.spec import Shape


@dataclass(frozen=True, slots=True)
class Interleave:
    """Sees a dimension as four, [a, b, c, d], and exchanges b and c; the shape stays.

    The rows of queries and keys of a LLaMA checkpoint are [heads, half, 2, 1], real and imaginary parts in turn; in
    Hugging Face's layout they are [heads, 2, half, 1]: shape (-1, half, 2, 1). A fused [heads, 3, size] that shall
    become [3, heads, size] has shape (1, -1, 3, size).

    Attributes:
        shape: a, b, c, d; one may be -1 and takes what is left.
        dim: the dimension.
    """

    shape: Shape | None = None
    dim: int = 0

    name: ClassVar[str] = "interleave"
    reverse: ClassVar[str] = "interleave"

    def forward(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """Each tensor (torch or numpy) with its entries in the new order.

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
        return seen.swapaxes(at + 1, at + 2).reshape(shape)

    def _parts(self, shape: Shape) -> tuple[int, tuple[int, ...]]:
        """Which dimension is meant, and the four that it is seen as."""
        sizes = self.shape or ()
        known = prod(size for size in sizes if size != -1)
        if not -len(shape) <= self.dim < len(shape):
            raise RuleError(f"interleave along dimension {self.dim} does not fit a tensor of shape {list(shape)}")
        at = self.dim % len(shape)
        if len(sizes) != 4 or sizes.count(-1) > 1 or known < 1 or shape[at] % known:
            raise RuleError(
                f"dimension {at} of a tensor of shape {list(shape)} cannot be seen as {list(sizes)} to interleave it"
            )
        parts = tuple(shape[at] // known if size == -1 else size for size in sizes)
        if prod(parts) != shape[at]:
            raise RuleError(f"dimension {at} of a tensor of shape {list(shape)} is not {list(sizes)} in size")
        return at, parts


def exchanged(shape: Shape | None) -> Shape | None:
    """How a dimension of four sizes, (a, b, c, d), is seen on the way back; what else an operation says is kept."""
    return shape if shape is None or len(shape) != 4 else (shape[0], shape[2], shape[1], shape[3])
