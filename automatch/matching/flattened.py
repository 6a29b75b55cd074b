"""Linear layers that read or write a flattened map, between a framework with channels last and one with channels first.

A map of features is [height * width * channels] where it was flattened in TensorFlow, flax or MLX, and
[channels * height * width] in torch. So the inputs of a linear layer behind convolutions, and the outputs of one in
front of them, have to be put in another order, which the number of channels says. All of them are flagged: whether
something else stands between the two, no key says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

from automatch.describing.tokens import ROLES
from automatch.matching.evidence import Found
from automatch.matching.leaves import Leaf

_LAST = frozenset({(3, 2, 0, 1), (2, 3, 0, 1), (0, 3, 1, 2), (2, 1, 0), (4, 3, 0, 1, 2), (0, 4, 1, 2, 3)})
"""The orders of dimensions that bring channels from the last place before the places in space."""


_FEWEST = 8
"""Maps that a linear layer writes have so many channels at least: a colour image's three divide too many numbers."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """A kernel or a matrix of the side with channels first, and the other side's leaf.

    Attributes:
        shape: of the tensor.
        other: what the other side has for it.
        is_new: of a matrix: whether nothing that stands before it gives as many features as it reads.
    """

    shape: tuple[int, ...]
    other: Leaf
    is_new: bool

    @property
    def kernel(self) -> bool:
        """Is it a convolution's?"""
        return len(self.shape) > 2


def reorder_flattened(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], by_name: tuple[bool, bool]
) -> None:
    """Have such layers take, or give, the features in the order of the other side (in place).

    One behind a convolution reads as many features as that has channels, several times over; nothing before it gives
    as many: else they are no places of a map. And the same the other way round for one in front of a convolution, with
    the vectors of as many features. Nothing stands behind anything on a side that is sorted `by_name`.
    """
    partners_of = {id(t): s for s, t, _ in found}, {id(s): t for s, t, _ in found}
    for side, partners, is_sorted in zip((target, source), partners_of, by_name[::-1], strict=True):
        layers = list(_layers(side, partners))
        if is_sorted or not any(layer.kernel for layer in layers):
            continue
        taken = {leaf.raw[1] for leaf in side if len(leaf.raw) > 1}
        channels = read = 0
        for layer, after in zip(layers, [*layers[1:], None], strict=True):
            if layer.kernel:
                channels = layer.shape[0]
                continue
            rows, columns = layer.shape
            if columns == read or (layer.is_new and _is_map(columns, channels)):
                read = columns
                _weave(layer.other, 1, channels)
            elif after is not None and after.kernel and rows not in taken:
                widths = [size for size in after.shape[1::-1] if size >= _FEWEST and _is_map(rows, size)]
                widths.sort(key=lambda size: isqrt(rows // size) ** 2 != rows // size)
                if widths:
                    _weave(layer.other, 0, widths[0])
                    for vector in (partners.get(id(leaf)) for leaf in side if leaf.raw == (rows,)):
                        _weave(vector, 0, widths[0])
            channels = channels if columns == read else 0


def _layers(side: Iterable[Leaf], partners: Mapping[int, Leaf]) -> Iterable[_Layer]:
    """The kernels that the other side holds with channels last, and the matrices, in order."""
    given: set[int] = set()
    for leaf in side:
        other = partners.get(id(leaf))
        if len(leaf.raw) > 1 and other is not None and not (leaf.ops or leaf.layers or other.layers):
            turned = "transpose" in other.ops and other.perm in _LAST
            linear = other.ops == () or (other.ops == ("transpose",) and other.perm == (1, 0))
            if (len(leaf.raw) > 2 and turned) or (len(leaf.raw) == 2 and linear and leaf.path[-1] in ROLES):
                yield _Layer(leaf.raw, other, leaf.raw[1] not in given)
        given.update(leaf.raw[:1])


def _is_map(features: int, channels: int) -> bool:
    """Are features those of so many channels at several places?"""
    return channels > 1 and features > channels and features % channels == 0


def _weave(leaf: Leaf | None, dim: int, channels: int) -> None:
    if leaf is not None and leaf.woven is None:
        leaf.ops, leaf.dim, leaf.woven = (*leaf.ops, "permute"), dim, (1, -1, channels, 1)
