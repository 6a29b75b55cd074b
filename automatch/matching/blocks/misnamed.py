"""Names that speak against two blocks which their shapes would put together.

A convolution that lost its norm is of the size of another with its norm: `conv3` here, `downsample` there. That `conv3`
stands beside a `shortcut`, and the `downsample` beside a `conv3`, keeps them apart.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from automatch.describing.tree import Node
from automatch.matching.basis.names import Names, Word
from automatch.matching.blocks.compared import Compared
from automatch.matching.blocks.free import beside

Called = Sequence[Word]

CALLED = 0.5
"""By so much a neighbour must be better called to keep two blocks from each other."""

TWIN = 0.7
"""Siblings that are so similar to a block compete with it for its partner."""


def misnamed(
    x: Node, y: Node, tops: tuple[Node, Node], compete: Collection[int], names: Names, compared: Compared
) -> bool:
    """Does a name speak against two blocks, theirs or that of blocks around them?

    Args:
        x: the checkpoint's block.
        y: the model's block.
        tops: the nodes that both lie below.
        compete: identities of the blocks that were weighed against each other; they are no neighbours to be asked.
        names: compares names.
        compared: compares shapes.
    """
    one: Node | None = x
    other: Node | None = y
    while one is not None and other is not None and one is not tops[0] and other is not tops[1]:
        if _confused(one, other, compete, names, compared):
            return True
        one, other = one.parent, other.parent
    return False


def named_apart(x: Node, y: Node, tops: tuple[Node, Node], names: Names) -> bool:
    """Do the names of two blocks exclude each other, if these were single tensors?"""
    mine, theirs = (names.path_words(n.spelt(top)) for n, top in zip((x, y), tops, strict=True))
    return names.contradiction(mine, theirs) > names.contradiction(mine, theirs, blocks=True)


def _confused(x: Node, y: Node, compete: Collection[int], names: Names, compared: Compared) -> bool:
    """Is a neighbour of `x` called what `y` is called, and a neighbour of `y` what `x` is called?

    One of the two will do where that neighbour is of the size of the other block, too.
    """
    mine, theirs = _called(x, names), _called(y, names)
    if not (mine and theirs) or (_is_numbered(x) and _is_numbered(y)):
        return False

    def alike(some: Sequence[Called], others: Sequence[Called]) -> float:
        return max((names.compare(one, other, {}) for one in some for other in others), default=0.0)

    least = alike(mine, theirs) + CALLED

    def around(node: Node, wanted: Sequence[Called]) -> list[Node]:
        return [o for o in beside(node) if id(o) not in compete and alike(_called(o, names), wanted) >= least]

    near_x, near_y = around(x, theirs), around(y, mine)
    if (near_x or not any(theirs)) and (near_y or not any(mine)):
        return True  # who has only a number cannot be called like a neighbour
    return any(compared.similar(o, y) >= TWIN for o in near_x) or any(compared.similar(x, o) >= TWIN for o in near_y)


def _called(node: Node, names: Names) -> list[Called]:
    """What a block is called; one that has but a number, what it holds and no other item of its list does."""
    if not node.spelt():
        return []
    own: list[Node] = []
    if _is_numbered(node) and node.parent is not None:
        other = {child.label for item in node.parent.children if item is not node for child in item.children}
        own = [child for child in node.children if child.children and child.label not in other]
    return [names.path_words(one.spelt()[-1:]) for one in own or [node]]


def _is_numbered(node: Node) -> bool:
    """Has a block but a number?"""
    return node.spelt()[-1].isdecimal()
