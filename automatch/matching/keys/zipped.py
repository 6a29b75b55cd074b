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

MOST = 8
"""So many lists beside each other are looked at, at most."""

ALIKE = 3
"""Names of lists that begin with so many letters alike belong together."""

_MASK = (1 << 61) - 1

Sizes = Counter[tuple[int, int]]


def zip_lists(leaves: Sequence[Leaf], mine: Tree, theirs: Tree) -> list[tuple[Leaf, Path]]:
    """The items of lists beside each other, with paths as of one list's items, where the other side has it so.

    It has it where each item, of all these lists together, holds just the shapes of a block there, and the lists
    alone do not. Of a list with one item more the first may stand for itself, or the last.

    Args:
        leaves: those of one side.
        mine: the tree over them.
        theirs: the other side's.

    Returns:
        The leaves of such items, with their paths in the one list.
    """
    out: dict[int, Path] = {}
    blocks = Counter((node.signature, node.count) for node in (theirs.root, *below(theirs.root)))
    without: set[int] = set()  # how nodes are built that hold none: all layers are looked at once
    for node in (mine.root, *below(mine.root)) if leaves else ():
        if node.struct in without or mine.order[node.start] in out:  # what moves does so as a whole
            continue
        zipped = [*_beside(node, blocks)]
        if not zipped:
            without.add(node.struct)
        for columns in zipped:
            for own in columns:
                for number, item in enumerate(own.items, int(columns[0].items[0].label)):
                    depth = len(item.spelt())
                    home = depth - (1 if own.list.gathered else 2)
                    for i in mine.order[item.start : item.end]:
                        path = leaves[i].path
                        called = own.list.label if own.list.gathered else path[home]
                        out[i] = (*path[:home], ZIPPED, str(number), called, *path[depth:])
    return [(leaves[i], path) for i, path in out.items()]


class _Column(NamedTuple):
    """A list, and those of its items that are parts of one list's."""

    list: Node
    items: Sequence[Node]


def _beside(node: Node, blocks: Sizes) -> Iterator[Sequence[_Column]]:
    """The lists below a node, of as many items, that are one list on the other side.

    As many as may be; of several that are as many, those whose names begin alike: `own_fc` and `own_norm`.
    """
    lists = [own for child in node.children for own in _lists(child) if len(own.children) > 1 and _is_counted(own)]
    if node.is_list or not 1 < len(lists) <= MOST:
        return
    free = {*map(id, lists)}
    for count in sorted({len(own.children) for own in lists}):
        columns = [column for own in lists if id(own) in free for column in _columns(own, count)]
        found = _zipped(columns, blocks) if len(columns) > 1 else None
        if found:
            free -= {id(n) for column in found for n in (column.list, column.list.parent, *column.list.children)}
            yield found


def _lists(node: Node) -> Sequence[Node]:
    """A list, and the lists that a number in their names gathers to it, as `gconv1` and `gconv2`."""
    if not node.is_list:
        return ()
    return (node, *node.children) if node.gathered and all(item.is_list for item in node.children) else (node,)


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
    if len({len(column.list.children) for column in columns}) == 1 and all(
        blocks[column.list.signature, column.list.count] for column in columns
    ):
        return False
    items: Sizes = Counter()
    for parts in zip(*(column.items for column in columns), strict=True):
        held = sum(part.signature for part in parts) & _MASK, sum(part.count for part in parts)
        items[held] += 1
        if items[held] > blocks[held]:
            return False
    return True
