"""Lists of one name in two builds of one model, of which one is deeper, or lost tensors.

A `stages.2` of six blocks is the first half of the `stages.2` of twelve, and not the `stages.3` of six of that width.
"""

from __future__ import annotations

from automatch.describing.tree import Node, below
from automatch.matching.basis.leaves import Path
from automatch.matching.blocks.sides import Side
from automatch.spec import Shape

NEARLY = 0.8
"""Two sides are nearly the same if so many keys are."""


def of_one_name(top_a: Node, top_b: Node, sides: tuple[Side, Side], least: int, same: float) -> list[tuple[Node, Node]]:
    """The lists below two nodes with one path of which one holds all of the other under its own names.

    It may be longer, or the other one lost a tensor of every item, and looks more like another list.

    Args:
        top_a: a node of the checkpoint.
        top_b: that of the model that has the same name.
        sides: the checkpoint and the model.
        least: lists of fewer tensors are left out.
        same: the share of the keys that the two sides have in common; where it is not nearly all, a list of as many
            items may have been counted anew.
    """
    theirs = {tuple(node.spelt(top_b)): node for node in below(top_b) if node.is_list and node.count >= least}
    out: list[tuple[Node, Node]] = []
    end = -1
    for x in below(top_a):
        y = theirs.get(tuple(x.spelt(top_a))) if x.is_list and x.start >= end else None
        if y is None or x.count < least:
            continue
        mine, others = (_named(node, side) for node, side in zip((x, y), sides, strict=True))
        longer = len(x.children) != len(y.children)
        if (longer or (same >= NEARLY and mine != others)) and (mine <= others or others <= mine):
            out.append((x, y))
            end = x.end
    return out


def _named(node: Node, side: Side) -> set[tuple[Path, Shape]]:
    """What a node holds: paths from there, and shapes."""
    depth = len(node.spelt())
    return {(leaf.path[depth:], leaf.shape) for leaf in side.below(node)}
