"""permute: another order of the dimensions, given in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from automatch.errors import RuleError
from automatch.spec import Shape


@dataclass(frozen=True, slots=True)
class Permute:
    """Orders the dimensions by `perm`.

    Attributes:
        perm: which dimension of the source comes first, second, ... None stands for a reordering
            inside the tensor that names and shapes do not show (the rows of rotary attention);
            such a rule says so and cannot be run.
    """

    perm: tuple[int, ...] | None = None

    name: ClassVar[str] = "permute"
    reverse: ClassVar[str] = "permute"

    def forward(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """Each tensor (torch or numpy) with its dimensions in the new order; no data is copied.

        Raises:
            RuleError: the order is not known or does not fit.
        """
        return tuple(
            t.permute(*self._order(len(t.shape))) if hasattr(t, "permute") else t.transpose(self._order(len(t.shape)))
            for t in tensors
        )

    def out_shapes(self, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
        """The shapes that `forward` gives for tensors of these shapes."""
        return tuple(tuple(shape[i] for i in self._order(len(shape))) for shape in shapes)

    def _order(self, dims: int) -> tuple[int, ...]:
        if self.perm is None:
            raise RuleError("which elements a permute reorders is not known from names and shapes; it cannot be run")
        if sorted(self.perm) != list(range(dims)):
            raise RuleError(f"permute by {list(self.perm)} does not fit a tensor of {dims} dimensions")
        return self.perm
