"""Lists beside each other, item by item one list: `block.0`, `block.1` and `attn.0`, `attn.1` are two layers there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from automatch.describing.tree import Node, Tree, below
from automatch.matching.basis.leaves import Leaf, Path

ZIPPED = "·"
"""How the list is called of which lists beside each other are the parts: it says nothing."""

MOST = 6
"""So many lists beside each other are looked at, at most."""

ALIKE = 3
"""Names of lists that begin with so many letters alike belong together."""

_MASK = (1 << 61) - 1

Sizes = Counter[tuple[int, int]]


def zip_lists(leaves: Sequence[Leaf], mine: Tree, theirs: Tree) -> list[tuple[Leaf, Path]]:
    """Give the items of lists beside each other the paths of one list's (in place), where the other side has it so.

    It has it where each item, of all these lists together, holds just the shapes of a block there, and the lists
    alone do not. Of a list with one item more the first may stand for itself, or the last.

    Args:
        leaves: those of one side.
        mine: the tree over them.
        theirs: the other side's.

    Returns:
        The leaves that moved, with the paths that they had.
    """
    before: list[tuple[Leaf, Path]] = []
    blocks = Counter((node.signature, node.count) for node in (theirs.root, *below(theirs.root)))
    for columns in [found for node in (mine.root, *below(mine.root)) for found in _beside(node, blocks)]:
        for own in columns:
            for number, item in enumerate(own.items, int(columns[0].items[0].label)):
                depth = len(item.spelt())
                home = depth - (1 if own.list.gathered else 2)
                for leaf in (leaves[i] for i in mine.order[item.start : item.end]):
                    before.append((leaf, leaf.path))
                    leaf.path = (*leaf.path[:home], ZIPPED, str(number), own.list.label, *leaf.path[depth:])
    return before


class _Column(NamedTuple):
    """A list, and those of its items that are parts of one list's."""

    list: Node
    items: Sequence[Node]


def _beside(node: Node, blocks: Sizes) -> Iterator[Sequence[_Column]]:
    """The lists below a node, of as many items, that are one list on the other side.

    As many as may be; of several that are as many, those whose names begin alike: `own_fc` and `own_norm`.
    """
    lists = [child for child in node.children if child.is_list and len(child.children) > 1 and _is_counted(child)]
    if node.is_list or not 1 < len(lists) <= MOST:
        return
    free = {*map(id, lists)}
    for count in sorted({len(own.children) for own in lists}):
        columns = [column for own in lists if id(own) in free for column in _columns(own, count)]
        found = _zipped(columns, blocks) if len(columns) > 1 else None
        if found:
            free -= {id(column.list) for column in found}
            yield found


def _is_counted(own: Node) -> bool:
    """Do the numbers of a list leave out none, as those of a network do that has activations between its layers?"""
    numbers = [int(item.label) for item in own.children]
    return numbers[-1] - numbers[0] == len(numbers) - 1


def _columns(own: Node, count: int) -> Iterator[_Column]:
    """A list of so many items; or one of one more, without the last or the first."""
    if len(own.children) in (count, count + 1):
        yield _Column(own, own.children[:count])
    if len(own.children) == count + 1:
        yield _Column(own, own.children[1:])


def _zipped(columns: Sequence[_Column], blocks: Sizes) -> Sequence[_Column] | None:
    for many in range(min(len(columns), MOST), 1, -1):
        ways = [
            some
            for some in combinations(columns, many)
            if len({id(column.list) for column in some}) == many and _are_one(some, blocks)
        ]
        if len(ways) > 1:
            ways = [some for some in ways if len({column.list.label[:ALIKE] for column in some}) == 1]
        if ways:
            return ways[0] if len(ways) == 1 else None
    return None


def _are_one(columns: Sequence[_Column], blocks: Sizes) -> bool:
    """Is each item of some lists, taken together, as large as a block of the other side, and not each list?"""
    items = Counter(
        (sum(item.signature for item in items) & _MASK, sum(item.count for item in items))
        for items in zip(*(column.items for column in columns), strict=True)
    )
    if len({len(column.list.children) for column in columns}) == 1 and all(
        blocks[column.list.signature, column.list.count] for column in columns
    ):
        return False
    return all(blocks[item] >= many for item, many in items.items())
