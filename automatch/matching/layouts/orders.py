"""Kernels: in which orders their dimensions may lie, and in which of these one does."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from automatch.matching.basis.leaves import Leaf
from automatch.matching.layouts.heads import permuted
from automatch.matching.layouts.stored import ITEMS, is_transposed
from automatch.spec import Shape

Perm = tuple[int, ...]

_PERMS: dict[int, tuple[Perm, ...]] = {
    2: ((1, 0),),
    3: ((2, 1, 0), (1, 2, 0)),
    4: ((3, 2, 0, 1), (2, 3, 0, 1), (0, 3, 1, 2), (3, 0, 1, 2)),
    5: ((4, 3, 0, 1, 2), (0, 4, 1, 2, 3)),
}

OF_MLX = ((0, 3, 1, 2), (3, 0, 1, 2))
"""A convolution's [out, height, width, in], and a transposed one's."""

_FLAX = re.compile(r"(?:Conv|Conv1D|Conv2D|Conv3D)Transpose(?:_[0-9]+)?")
"""What flax calls transposed convolutions that were given no name."""


def perms_of(shape: Shape, stacks: set[Shape]) -> tuple[Perm, ...]:
    """The orders of dimensions that another layout may have; kernels laid on each other are turned one by one."""
    if len(shape) == 3 and permuted(shape, (0, 2, 1)) in stacks:
        return ITEMS
    return _PERMS.get(len(shape), ())


def is_kernel(leaf: Leaf) -> bool:
    """Is a tensor called as libraries call those that they store [in, out]? Haiku says `linear_1/w`."""
    haiku = leaf.path[-1] == "w" and "/" in leaf.keys[0] and len(leaf.path) > 1 and leaf.path[-2].startswith("linear")
    return haiku or leaf.path[-1] in ("kernel", "depthwise_kernel")


def in_space(shape: Shape, fitting: Sequence[Perm]) -> Shape:
    """The sizes of a kernel in space; those that make maps larger are often of another size than the others."""
    return permuted(shape, fitting[0])[2:] if fitting else ()


def fitting_orders(leaf: Leaf, perms: Iterable[Perm], theirs: Counter[Shape]) -> list[Perm]:
    """Those of several orders in which the other side has such a tensor.

    Of MLX' two, a kernel of an odd size has a convolution's where that fits: the layers that lead down in a U-Net have
    the shapes of those that lead up, in and out exchanged.
    """
    shape = leaf.shape
    fitting = [perm for perm in perms if theirs[permuted(shape, perm)]]
    plain, transposed = OF_MLX
    if plain in fitting and in_space(shape, [plain])[0] % 2 and not is_transposed(leaf):
        fitting = [perm for perm in fitting if perm != transposed]
    return [perm for perm in fitting if perm[0] or permuted(shape, perm) != shape]  # [out, 3, 3, 3] shows nothing


def known_order(members: list[Leaf], fitting: list[Perm], shown: set[Perm], every: set[Perm]) -> Perm | None:
    """The order of dimensions that fits; of several the one that others of its kind show, or that the name says.

    The members are marked as guessed where others show several of them, as flax stores a transposed convolution
    [size, in, out] as any other, and torch does not; and where nothing shows which of two frameworks' orders it is, or,
    in MLX, whether a kernel of an even size is that of a transposed convolution.

    Args:
        members: the tensors of one name and shape.
        fitting: the orders in which the other side has such a tensor.
        shown: those that tensors of this kind and size show.
        every: those that tensors of this kind and any size show.
    """
    if len(shown.intersection(fitting)) > 1:
        return _guessed(members, fitting[0])
    if len(fitting) < 2 or shown:
        return next((perm for perm in fitting if shown == {perm}), next(iter(fitting), None))
    name = members[0].path[-2] if len(members[0].path) > 1 else ""
    if _FLAX.fullmatch(name) and fitting[1] in ((2, 3, 0, 1), (1, 2, 0)):
        return fitting[1]
    if len(fitting[0]) != 4 or is_kernel(members[0]):
        return fitting[0]
    mlx = [perm for perm in fitting if perm in OF_MLX]
    if len(mlx) == 2 and is_transposed(members[0]):
        return mlx[1]
    if len(mlx) == 2 and in_space(members[0].shape, mlx)[0] % 2 == 0 and every & {*OF_MLX}:
        return _guessed(members, mlx[0])
    if len(every) == 1:
        return next((perm for perm in fitting if every == {perm}), fitting[0])
    return _guessed(members, fitting[0]) if 0 < len(mlx) < len(fitting) else fitting[0]


def _guessed(members: Sequence[Leaf], perm: Perm) -> Perm:
    for leaf in members:
        leaf.guessed = True
    return perm


def shows_nothing(shape: Shape, perms: Iterable[Perm]) -> bool:
    """Has a kernel like [out, 3, 3, 3] the same shape in another layout, or one like [1, 16, 1, 1] another kernel's?"""
    return len(shape) > 3 and (sum(d > 1 for d in shape) < 2 or any(permuted(shape, perm) == shape for perm in perms))
