"""Linear layers that read or write a flattened map, between a framework with channels last and one with channels first.

A map of features is [height * width * channels] where it was flattened in TensorFlow, flax or MLX, and
[channels * height * width] in torch. So the inputs of a linear layer behind convolutions, and the outputs of one in
front of them, have to be put in another order, which the number of channels says. All of them are flagged: whether
something else stands between the two, no key says.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

from automatch.describing.tokens import ROLES
from automatch.matching.basis.evidence import Found
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.units import module_path

_LAST = frozenset({(3, 2, 0, 1), (2, 3, 0, 1), (0, 3, 1, 2), (3, 0, 1, 2), (2, 1, 0), (4, 3, 0, 1, 2), (0, 4, 1, 2, 3)})
"""The orders of dimensions that bring channels from the last place before the places in space."""

_PLACES = 3
"""A map has so many places at least: twice the channels are two pooled maps side by side, or a scale and a shift."""

_FEWEST = 8
"""Maps that a linear layer writes have so many channels at least: a colour image's three divide too many numbers."""


@dataclass(slots=True)
class _Layer:
    """A kernel or a matrix of the side with channels first.

    Attributes:
        leaf: its weight.
        other: what the other side has for it.
        behind: the vectors that follow it, up to the next layer: biases and norms.
        kernel: whether it is a convolution's.
        is_new: of a matrix: whether nothing before gives as many features as it reads, what is behind a kernel apart.
    """

    leaf: Leaf
    other: Leaf
    kernel: bool
    is_new: bool
    behind: list[Leaf] = field(default_factory=list)


def put_in_order(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], by_name: tuple[bool, bool]
) -> None:
    """Have what reads or writes a flattened map do it in the order of the other side (in place).

    Nothing stands behind anything on a side that is sorted `by_name`.
    """
    _as_layers(found)
    partners_of = {id(t): s for s, t, _ in found}, {id(s): t for s, t, _ in found}
    for side, partners, is_sorted in zip((target, source), partners_of, by_name[::-1], strict=True):
        layers = list(_layers(side, partners))
        if is_sorted or not any(layer.kernel for layer in layers):
            continue
        read = list(_read(layers))
        readers = {id(leaf) for leaf, _, _ in read}
        for leaf, dim, channels in (*read, *_written(layers, readers)):
            _weave(partners.get(id(leaf)), dim, channels)


def _read(layers: Sequence[_Layer]) -> Iterator[tuple[Leaf, int, int]]:
    """What reads a flattened map, along which dimension, and how many channels that has.

    A linear layer behind a convolution reads as many features as that has channels, several times over, and nothing
    before gives as many. Norms between, and other layers that read as much, go along.
    """
    joins = _joins(layers)
    features = channels = 0
    for before, layer in zip([None, *layers], layers, strict=False):
        if layer.kernel:
            continue
        rows, columns = layer.leaf.raw
        if before is not None and before.kernel and layer.is_new and _is_map(columns, before.leaf.raw[0]):
            norms = [leaf for leaf in before.behind if leaf.raw == (columns,)]
            if not (norms and joins):
                features, channels = columns, before.leaf.raw[0]
                yield from ((leaf, 0, channels) for leaf in norms)
        if columns == features:
            yield layer.leaf, 1, channels
            features = 0 if rows == features else features  # who reads as much after this one reads what it gives


def _written(layers: Sequence[_Layer], readers: Container[int]) -> Iterator[tuple[Leaf, int, int]]:
    """What writes a map: it stands in front of a convolution, and gives several times the channels that it takes."""
    for layer, after in pairwise(layers):
        if layer.kernel or id(layer.leaf) in readers or not (after.kernel and _in_one_place(layer.leaf, after.leaf)):
            continue
        rows, channels = layer.leaf.raw[0], _taken(after)
        if channels >= _FEWEST and _is_map(rows, channels):
            yield from ((leaf, 0, channels) for leaf in (layer.leaf, *layer.behind) if leaf.raw[0] == rows)


def _as_layers(found: Sequence[Found]) -> None:
    """Have a kernel that covers a whole map become a linear layer as torch flattens maps (in place): slim's `fc6`."""
    for s, t, _ in found:
        for kernel, linear in ((s, t), (t, s)):
            whole = len(kernel.raw) == 4 and kernel.raw[0] * kernel.raw[1] > 1 and "transpose" in kernel.ops
            flat = (kernel.raw[-1], prod(kernel.raw[:-1])) if whole and not (linear.ops or linear.layers) else ()
            if flat and linear.raw == flat:
                kernel.ops, kernel.perm, kernel.flat = ("transpose", "reshape"), (3, 2, 0, 1), linear.raw
                kernel.of_map = True


def _layers(side: Sequence[Leaf], partners: Mapping[int, Leaf]) -> Iterator[_Layer]:
    """The kernels that the other side holds with channels last, and the matrices, in order."""
    layer: _Layer | None = None
    given: set[int] = set()
    for leaf in side:
        other = partners.get(id(leaf))
        if len(leaf.raw) == 1 and layer is not None:
            layer.behind.append(leaf)
        if len(leaf.raw) < 2:
            continue
        is_new = leaf.raw[1] not in given
        given.update((leaf.raw[0], *(vector.raw[0] for vector in (layer.behind if layer is not None else ()))))
        if other is None or leaf.ops or leaf.layers or other.layers:
            continue
        turned = "transpose" in other.ops and other.perm in _LAST
        linear = other.ops == () or (other.ops == ("transpose",) and other.perm == (1, 0))
        if (len(leaf.raw) > 2 and turned) or (len(leaf.raw) == 2 and linear and leaf.path[-1] in ROLES):
            if layer is not None:
                yield layer
            layer = _Layer(leaf, other, len(leaf.raw) > 2, is_new)
    if layer is not None:
        yield layer


def _joins(layers: Sequence[_Layer]) -> bool:
    """Do convolutions stand behind norms of more features than the one before them gives, as where maps are joined?"""
    return any(
        a.kernel and b.kernel and any(leaf.raw[0] > a.leaf.raw[0] for leaf in a.behind) for a, b in pairwise(layers)
    )


def _taken(layer: _Layer) -> int:
    """How many channels a convolution takes, seen from its bias; 0 where nothing tells."""
    a, b = layer.leaf.raw[:2]
    biases = {leaf.raw[0] for leaf in layer.behind if leaf.path[:-1] == layer.leaf.path[:-1]}
    return a if a == b or biases == {b} else b if biases == {a} or not biases else 0


def _in_one_place(linear: Leaf, kernel: Leaf) -> bool:
    """Does a convolution stand in the container of a linear layer, or further inside?"""
    home = module_path(linear.path)[:-1]
    return kernel.path[: len(home)] == home


def _is_map(features: int, channels: int) -> bool:
    """Are features those of so many channels at several places?"""
    return channels > 1 and features % channels == 0 and features >= _PLACES * channels


def _weave(leaf: Leaf | None, dim: int, channels: int) -> None:
    if leaf is not None and leaf.woven is None:
        leaf.ops, leaf.dim, leaf.woven = (*leaf.ops, "permute"), dim, (1, -1, channels, 1)
