"""transpose: another order of the dimensions, the last two exchanged unless told otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from automatch.errors import RuleError
from automatch.spec import Shape


@dataclass(frozen=True, slots=True)
class Transpose:
    """Exchanges the last two dimensions, or orders them by `perm`.

    Attributes:
        perm: which dimension of the source comes first, second, ...; None for the last two exchanged.
    """

    perm: tuple[int, ...] | None = None

    name: ClassVar[str] = "transpose"
    reverse: ClassVar[str] = "transpose"

    def forward(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """Each tensor (torch or numpy) with its dimensions in the new order; no data is copied."""
        return tuple(self._one(tensor) for tensor in tensors)

    def out_shapes(self, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
        """The shapes that `forward` gives for tensors of these shapes.

        Raises:
            RuleError: a shape has another number of dimensions than the order asks for.
        """
        return tuple(tuple(shape[i] for i in self._order(len(shape))) for shape in shapes)

    def _one(self, tensor: Any) -> Any:
        order = self._order(len(tensor.shape))
        return tensor.permute(*order) if hasattr(tensor, "permute") else tensor.transpose(order)

    def _order(self, dims: int) -> tuple[int, ...]:
        if self.perm is None:
            if dims < 2:
                raise RuleError(f"transpose needs a tensor of two or more dimensions, not {dims}")
            return (*range(dims - 2), dims - 1, dims - 2)
        if sorted(self.perm) != list(range(dims)):
            raise RuleError(f"transpose by {list(self.perm)} does not fit a tensor of {dims} dimensions")
        return self.perm
