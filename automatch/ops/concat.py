"""concat: several tensors joined along one of their dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

from automatch.errors import RuleError
from automatch.spec import Shape


@dataclass(frozen=True, slots=True)
class Concat:
    """Joins tensors in their order.

    Attributes:
        dim: the dimension along which they are joined.
    """

    dim: int = 0

    name: ClassVar[str] = "concat"
    reverse: ClassVar[str] = "chunk"

    def forward(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """One tensor (torch or numpy) made of all of them.

        Raises:
            RuleError: their shapes differ in another dimension than `dim`.
        """
        shapes = self.out_shapes([tuple(t.shape) for t in tensors])
        if hasattr(tensors[0], "permute"):
            import torch

            if tensors[0].is_meta:  # torch would import its compiler first, which takes seconds
                dtype = reduce(torch.promote_types, (t.dtype for t in tensors))
                return (tensors[0].new_empty(shapes[0], dtype=dtype),)
            return (torch.cat(list(tensors), dim=self.dim),)
        import numpy as np

        return (np.concatenate(list(tensors), axis=self.dim),)

    def out_shapes(self, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
        """The one shape that `forward` gives for tensors of these shapes."""
        first = shapes[0]
        if not -len(first) <= self.dim < len(first):
            raise RuleError(f"concat along dimension {self.dim} does not fit a tensor of shape {list(first)}")
        at = self.dim % len(first)
        for shape in shapes:
            if shape[:at] + shape[at + 1 :] != first[:at] + first[at + 1 :]:
                raise RuleError(f"shapes {list(first)} and {list(shape)} cannot be joined along dimension {at}")
        return ((*first[:at], sum(shape[at] for shape in shapes), *first[at + 1 :]),)
