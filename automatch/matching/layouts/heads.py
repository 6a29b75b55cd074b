"""Heads that one side keeps apart in a dimension of their own, and the other in one."""

from __future__ import annotations

import math
from collections import Counter

from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.parts import PARTS, role_in
from automatch.matching.basis.units import is_mask
from automatch.spec import Shape

APART: dict[tuple[int, ...] | None, tuple[int, ...]] = {(1, 0, 2): (0, 2, 1), (0, 2, 1, 3): (0, 1, 3, 2)}
"""How heads are brought together that [heads, in, size] keeps apart: to [in, heads * size], and to its transpose."""


def permuted(shape: Shape, perm: tuple[int, ...]) -> Shape:
    """A shape with its dimensions in another order."""
    return tuple(shape[i] for i in perm)


def merge_heads(leaves: list[Leaf], others: list[Leaf]) -> None:
    """Merge [d, heads, size] into [d, heads * size] where only the merged shape is known (in place).

    Known means that the other side has more tensors of it than this side. A bias [heads, size]
    follows the weight of its module, or the other biases where that is missing.
    """
    mine, theirs = (Counter(leaf.shape for leaf in side if not is_mask(leaf)) for side in (leaves, others))
    known: dict[Shape, tuple[Shape, tuple[int, ...] | None] | None] = {}
    experts = {leaf.shape for leaf in others if _of_experts(leaf)}
    modules: set[tuple[str, ...]] = set()
    for leaf in leaves:
        if not 3 <= len(leaf.shape) <= 4 or leaf.shape in theirs or is_mask(leaf):
            continue
        if leaf.shape not in known:
            one_by_one = any(theirs[s] >= leaf.shape[0] + mine[s] for s in (leaf.shape[1:], leaf.shape[:0:-1]))
            of_experts = one_by_one and (_of_experts(leaf) or leaf.shape[1:] in experts or leaf.shape[:0:-1] in experts)
            fused = _is_of_qkv(leaf)
            known[leaf.shape] = None if of_experts else _merged(leaf.shape, mine, theirs, fused)
        way = known[leaf.shape]
        if way is not None:
            modules.add(leaf.path[:-1])
            leaf.shape = leaf.flat = way[0]
            leaf.perm = way[1]
            leaf.ops += ("transpose", "reshape") if leaf.perm else ("reshape",)
    biases = [leaf for leaf in leaves if len(leaf.shape) == 2 and leaf.path[-1] in ("bias", "b")]
    merged = {leaf.shape for leaf in biases if leaf.path[:-1] in modules}
    for leaf in biases:
        if leaf.path[:-1] in modules or (leaf.shape in merged and leaf.shape not in theirs):
            leaf.shape = leaf.flat = (math.prod(leaf.shape),)
            leaf.ops += ("reshape",)


def _of_experts(leaf: Leaf) -> bool:
    return any("expert" in token for token in leaf.path)


def _is_of_qkv(leaf: Leaf) -> bool:
    found = role_in(leaf.path)
    return found is not None and found[1] in PARTS[0]


def _merged(
    shape: Shape, mine: Counter[Shape], theirs: Counter[Shape], fused: bool
) -> tuple[Shape, tuple[int, ...] | None] | None:
    """The shape with its heads merged, and in which order its dimensions must be for that; None where it is unknown.

    `fused`: the other side may have three of them in one.
    """
    rank = len(shape)

    def wanted(form: Shape) -> bool:
        threes = ((3 * form[0], *form[1:]), (*form[:-1], 3 * form[-1])) if fused else ()
        return any(theirs[one] > mine[one] for one in (form, *threes))

    if any(len(other) == rank and sorted(other) == sorted(shape) for other in theirs):
        return None  # a transposed kernel, not merged heads
    for i in range(rank - 1):
        for j in range(i + 2, rank + 1):
            option = (*shape[:i], math.prod(shape[i:j]), *shape[j:])
            forms = [option, option[::-1], *([(option[0], option[2], option[1])] if len(option) == 3 else [])]
            if len(option) >= 2 and any(map(wanted, forms)):
                return option, None
    for perm in APART:
        if perm is not None and len(perm) == rank:
            *first, width, a, b = permuted(shape, perm)
            apart, turned = (*first, width, a * b), (*first, a * b, width)
            if wanted(apart) or wanted(turned):
                return apart, perm
    return None
