"""reshape: the same elements in the same order under another shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from automatch.errors import RuleError
from automatch.spec import Shape


@dataclass(frozen=True, slots=True)
class Reshape:
    """Gives a tensor another shape.

    Attributes:
        shape: the new sizes, relative to the source as in ONNX: 0 keeps the source's size at the
            same place, one -1 takes what is left. So one rule serves layers of several widths:
            a 1x1 convolution becomes a linear layer by (0, -1). None where it is not known.
    """

    shape: tuple[int, ...] | None = None

    name: ClassVar[str] = "reshape"
    reverse: ClassVar[str] = "reshape"

    def forward(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """Each tensor (torch or numpy) under its new shape; no data is copied where that can be avoided."""
        return tuple(t.reshape(self._sizes(tuple(t.shape))) for t in tensors)

    def out_shapes(self, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
        """The shapes that `forward` gives for tensors of these shapes.

        Raises:
            RuleError: the shape is not known, or holds another number of elements.
        """
        return tuple(self._sizes(shape) for shape in shapes)

    def _sizes(self, source: Shape) -> Shape:
        if self.shape is None:
            raise RuleError("the shape that a reshape gives is not known; it cannot be run without the model")
        wrong = f"reshape to {list(self.shape)} does not fit a tensor of shape {list(source)}"
        if any(size == 0 and i >= len(source) for i, size in enumerate(self.shape)) or self.shape.count(-1) > 1:
            raise RuleError(wrong)
        sizes = [source[i] if size == 0 else size for i, size in enumerate(self.shape)]
        if -1 in self.shape:
            known = prod(size for size in sizes if size != -1)
            if known == 0 or prod(source) % known:
                raise RuleError(wrong)
            sizes[self.shape.index(-1)] = prod(source) // known
        if prod(sizes) != prod(source):
            raise RuleError(wrong)
        return tuple(sizes)


def relative_shape(source: Shape, target: Shape) -> tuple[int, ...] | None:
    """The shape for `Reshape` that turns `source` into `target` and says least about sizes.

    Sizes that stand at the same place become 0 as long as they agree from the left; the
    largest of the others becomes -1; ones stay ones.

    Args:
        source: shape of the checkpoint's tensor.
        target: shape of the model's tensor.

    Returns:
        None where the two hold different numbers of elements.
    """
    if prod(source) != prod(target):
        return None
    kept = 0
    while kept < min(len(source), len(target)) and source[kept] == target[kept] != 1:
        kept += 1
    rest = target[kept:]
    shape = [0] * kept + list(rest)
    if prod(source) and any(size != 1 for size in rest):
        shape[kept + max(range(len(rest)), key=lambda i: rest[i])] = -1
    return tuple(shape)
