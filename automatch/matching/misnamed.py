"""Names that speak against two blocks which their shapes would put together.

A convolution that lost its norm is of the size of another with its norm: `conv3` here, `downsample` there. That `conv3`
stands beside a `shortcut`, and the `downsample` beside a `conv3`, keeps them apart.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from automatch.describing.tree import Node
from automatch.matching.compared import Compared
from automatch.matching.free import beside
from automatch.matching.names import Names, Word

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


def _confused(x: Node, y: Node, compete: Collection[int], names: Names, compared: Compared) -> bool:
    """Is a neighbour of `x` called what `y` is called, and a neighbour of `y` what `x` is called?

    One of the two will do where that neighbour is of the size of the other block, too.
    """
    mine, theirs = x.spelt()[-1:], y.spelt()[-1:]
    if not mine or not theirs or (mine[0].isdecimal() and theirs[0].isdecimal()):
        return False
    said, wanted = names.path_words(mine), names.path_words(theirs)
    least = names.compare(said, wanted, {}) + CALLED

    def called(node: Node, words: Sequence[Word]) -> list[Node]:
        around = [other for other in beside(node) if id(other) not in compete]
        return [other for other in around if names.compare(names.path_words(other.spelt()[-1:]), words, {}) >= least]

    near_x, near_y = called(x, wanted), called(y, said)
    if (near_x or not wanted) and (near_y or not said):
        return True  # who has only a number cannot be called like a neighbour
    return any(compared.similar(o, y) >= TWIN for o in near_x) or any(compared.similar(x, o) >= TWIN for o in near_y)
