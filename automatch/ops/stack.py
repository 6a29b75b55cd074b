"""stack: tensors of one shape laid on each other along a new dimension."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

from automatch.errors import RuleError
from automatch.spec import Shape


@dataclass(frozen=True, slots=True)
class Stack:
    """Lays tensors on each other in their order.

    Attributes:
        dim: where the new dimension stands.
    """

    dim: int = 0

    name: ClassVar[str] = "stack"
    reverse: ClassVar[str] = "unstack"

    def forward(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """One tensor (torch or numpy) made of all of them.

        Raises:
            RuleError: their shapes differ.
        """
        shapes = self.out_shapes([tuple(t.shape) for t in tensors])
        if hasattr(tensors[0], "permute"):
            import torch

            if tensors[0].is_meta:  # torch would import its compiler first, which takes seconds
                dtype = reduce(torch.promote_types, (t.dtype for t in tensors))
                return (tensors[0].new_empty(shapes[0], dtype=dtype),)
            return (torch.stack(list(tensors), dim=self.dim),)
        import numpy as np

        return (np.stack(list(tensors), axis=self.dim),)

    def out_shapes(self, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
        """The one shape that `forward` gives for tensors of these shapes."""
        first = shapes[0]
        other = next((shape for shape in shapes if shape != first), None)
        if other is not None:
            raise RuleError(f"tensors of shapes {list(first)} and {list(other)} cannot be stacked")
        if not -len(first) - 1 <= self.dim <= len(first):
            raise RuleError(f"stack along dimension {self.dim} does not fit a tensor of shape {list(first)}")
        at = self.dim % (len(first) + 1)
        return ((*first[:at], len(shapes), *first[at:]),)
