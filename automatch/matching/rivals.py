"""Blocks that compete with those of one kind for the blocks of the other side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from automatch.describing.tree import Node
from automatch.matching.compared import Compared
from automatch.matching.free import Taken
from automatch.matching.misnamed import TWIN

Kinds = Mapping[int, Sequence[Node]]


def with_rivals(
    compared: Compared, chosen: tuple[list[Node], list[Node]], kinds: tuple[Kinds, Kinds], taken: tuple[Taken, Taken]
) -> tuple[list[Node], list[Node]]:
    """The chosen blocks of both sides, and those of other kinds that may be meant instead.

    Args:
        compared: compares shapes.
        chosen: blocks of one kind of the checkpoint, and those of the model that they are held against.
        kinds: all blocks of both sides, by their struct.
        taken: what is matched already.
    """
    left, right = chosen
    more = [_damaged(*side) for side in zip(chosen, kinds, taken, strict=True)]
    both, counts = bool(more[0] and more[1]), (len(left), len(right))
    if both or counts[0] < counts[1]:
        left = left + more[0]
    if both or counts[1] < counts[0]:
        right = right + more[1]
    left = left + _twins(compared, left, right[0], kinds[0], taken[0], swap=False)
    right = right + _twins(compared, right, left[0], kinds[1], taken[1], swap=True)
    return left, right


def _damaged(chosen: Sequence[Node], kinds: Kinds, taken: Taken) -> list[Node]:
    """Free blocks of the same modules as the chosen ones that hold more or fewer tensors: one of the two lost some.

    A convolution whose norm has lost its weight is no other convolution.
    """
    skeleton, signature = chosen[0].skeleton, chosen[0].signature
    alike = [nodes for nodes in kinds.values() if nodes[0].skeleton == skeleton and nodes[0].signature != signature]
    return [node for nodes in alike for node in nodes if taken.free(node)]


def _twins(
    compared: Compared, chosen: Sequence[Node], other: Node, kinds: Kinds, taken: Taken, swap: bool
) -> list[Node]:
    """Siblings of the chosen nodes that are nearly as similar to the other side's block: they compete."""
    parents = {id(n.parent) for n in chosen}
    known = {id(n) for n in chosen}
    out: list[Node] = []
    for nodes in kinds.values():
        near = [n for n in nodes if id(n.parent) in parents and id(n) not in known and taken.free(n)]
        if near:
            pair = (other, near[0]) if swap else (near[0], other)
            out += near if compared.similar(*pair) >= TWIN else []
    return out
