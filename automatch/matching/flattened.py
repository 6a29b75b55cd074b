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


@dataclass(frozen=True, slots=True)
class _Layer:
    """A kernel or a matrix of the side with channels first, its bias, and the other side's leaf of either."""

    kernel: bool
    shape: tuple[int, ...]
    weight: Leaf
    bias: Leaf | None


def reorder_flattened(found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf]) -> None:
    """Have such layers take, or give, the features in the order of the other side (in place).

    One behind a convolution reads so many features as that has channels, several times over, and no layer gives as many
    as it reads: else they are no places of a map. And the same the other way round for one in front of a convolution.
    """
    partners_of = {id(t): s for s, t, _ in found}, {id(s): t for s, t, _ in found}
    for side, partners in zip((target, source), partners_of, strict=True):
        layers = list(_layers(side, partners))
        if not any(layer.kernel for layer in layers):
            continue
        given = {leaf.raw[0] for leaf in side if leaf.raw}
        taken = {leaf.raw[1] for leaf in side if len(leaf.raw) > 1}
        channels = read = 0
        for layer, after in zip(layers, [*layers[1:], None], strict=True):
            if layer.kernel:
                channels = layer.shape[0]
                continue
            rows, columns = layer.shape
            if columns not in given and (columns == read or _is_map(columns, channels)):
                read = columns
                _weave(layer.weight, 1, channels)
            elif after is not None and after.kernel and rows not in taken:
                widths = [size for size in after.shape[1::-1] if _is_map(rows, size)]
                widths.sort(key=lambda size: isqrt(rows // size) ** 2 != rows // size)
                if widths:
                    _weave(layer.weight, 0, widths[0])
                    _weave(layer.bias, 0, widths[0])
            channels = channels if columns == read else 0


def _layers(side: Iterable[Leaf], partners: Mapping[int, Leaf]) -> Iterable[_Layer]:
    """The kernels that the other side holds with channels last, and the matrices, in order."""
    biases = {leaf.path[:-1]: leaf for leaf in side if len(leaf.raw) == 1 and leaf.path[-1] == "bias"}
    for leaf in side:
        other = partners.get(id(leaf))
        if len(leaf.raw) < 2 or other is None or leaf.ops or leaf.layers or other.layers:
            continue
        bias = biases.get(leaf.path[:-1])
        turned = "transpose" in other.ops and other.perm in _LAST
        if len(leaf.raw) > 2 and turned:
            yield _Layer(True, leaf.raw, other, None)
        elif (
            leaf.path[-1] in ROLES
            and len(leaf.raw) == 2
            and (other.ops == () or (other.ops == ("transpose",) and other.perm == (1, 0)))
        ):
            yield _Layer(False, leaf.raw, other, None if bias is None else partners.get(id(bias)))


def _is_map(features: int, channels: int) -> bool:
    """Are features those of so many channels at several places?"""
    return channels > 1 and features > channels and features % channels == 0


def _weave(leaf: Leaf | None, dim: int, channels: int) -> None:
    if leaf is not None and leaf.woven is None:
        leaf.ops, leaf.dim, leaf.woven = (*leaf.ops, "permute"), dim, (1, -1, channels, 1)
