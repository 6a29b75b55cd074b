"""unstack: one tensor taken apart along a dimension, which disappears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from automatch.errors import RuleError
from automatch.spec import Shape


@dataclass(frozen=True, slots=True)
class Unstack:
    """Takes a tensor apart along a dimension.

    Attributes:
        dim: the dimension that disappears.
    """

    dim: int = 0

    name: ClassVar[str] = "unstack"
    reverse: ClassVar[str] = "stack"

    def forward(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """The members of every tensor (torch or numpy), in order, as views of it."""
        members = []
        for tensor in tensors:
            at = self._at(tuple(tensor.shape))
            members += [_member(tensor, at, i) for i in range(tensor.shape[at])]
        return tuple(members)

    def out_shapes(self, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
        """The shapes of the members of tensors of these shapes.

        Raises:
            RuleError: the dimension does not exist.
        """
        out: list[Shape] = []
        for shape in shapes:
            at = self._at(shape)
            out += [(*shape[:at], *shape[at + 1 :])] * shape[at]
        return tuple(out)

    def _at(self, shape: Shape) -> int:
        if not -len(shape) <= self.dim < len(shape):
            raise RuleError(f"unstack along dimension {self.dim} does not fit a tensor of shape {list(shape)}")
        return self.dim % len(shape)


def _member(tensor: Any, dim: int, i: int) -> Any:
    where: tuple[slice | int, ...] = (slice(None),) * dim
    return tensor[where + (i,)]  # noqa: RUF005 - a star in an index needs Python 3.11
