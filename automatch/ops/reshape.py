"""reshape: the same elements in the same order under another shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from automatch.errors import RuleError
from automatch.spec import Shape

FEW = 3
"""So many, or fewer, are parts beside each other (q, k, v) in models of every size."""


@dataclass(frozen=True, slots=True)
class Reshape:
    """Gives a tensor another shape.

    Attributes:
        shape: the new sizes, relative to the source, much as in ONNX: 0 keeps the source's size at the
            same place, counted from the end where it stands behind the one -1, which takes what is left. So
            one rule serves layers of several widths: a 1x1 convolution becomes a linear layer by (0, -1), heads
            [n, size, width] are merged by (-1, 0). None where it is not known.
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
        if self.shape.count(-1) > 1:
            raise RuleError(wrong)
        places = kept_places(self.shape)
        if any(not -len(source) <= place < len(source) for place in places.values()):
            raise RuleError(wrong)
        sizes = [source[places[i]] if size == 0 else size for i, size in enumerate(self.shape)]
        if -1 in self.shape:
            known = prod(size for size in sizes if size != -1)
            if known == 0 or prod(source) % known:
                raise RuleError(wrong)
            sizes[self.shape.index(-1)] = prod(source) // known
        if prod(sizes) != prod(source):
            raise RuleError(wrong)
        return tuple(sizes)


def kept_places(shape: Sequence[int]) -> dict[int, int]:
    """For each 0 in a `shape` as `Reshape` has it, by its place: which size of the source it keeps, as an index."""
    last = shape.index(-1) if -1 in shape else len(shape)
    return {i: i if i < last else i - len(shape) for i, size in enumerate(shape) if size == 0}


def relative_shape(source: Shape, target: Shape) -> tuple[int, ...] | None:
    """The shape for `Reshape` that turns `source` into `target` and says least about sizes.

    Sizes that agree from the left become 0, and so do those that agree from the right behind the one that becomes -1:
    the first of the others that is no count of a few parts. Where heads stand before what each has, that leaves their
    number free: larger models have more heads of the same size. Ones stay ones.

    Args:
        source: shape of the checkpoint's tensor.
        target: shape of the model's tensor.

    Returns:
        None where the two hold different numbers of elements.
    """
    if prod(source) != prod(target):
        return None
    front = 0
    while front < min(len(source), len(target)) and source[front] == target[front] != 1:
        front += 1
    back = 0
    while back < min(len(source), len(target)) - front and source[-1 - back] == target[-1 - back]:
        back += 1
    shape = [0] * front + list(target[front:])
    free = [i for i in range(front, len(target)) if target[i] != 1]
    if not prod(source) or not free:
        return tuple(shape)
    middle = [i for i in free if i < len(target) - back]
    rest = next((i for i in middle if target[i] > FEW), max(middle, key=target.__getitem__)) if middle else free[0]
    for i in free:
        if i > rest and i >= len(target) - back:
            shape[i] = 0
    shape[rest] = -1
    return tuple(shape)
