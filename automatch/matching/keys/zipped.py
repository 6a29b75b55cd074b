"""Lists beside each other, item by item one list: `block.0`, `block.1` and `attn.0`, `attn.1` are two layers there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from os.path import commonprefix

from automatch.describing.tree import Interner, Node, Tree, below
from automatch.matching.basis.leaves import Leaf, Path

ZIPPED = "·"
"""How the list is called of which lists beside each other are the parts: it says nothing."""

MOST = 6
"""So many lists beside each other are looked at, at most."""

ALIKE = 3
"""Names of lists that begin with so many letters alike belong together."""

_MASK = (1 << 61) - 1

Sizes = Counter[tuple[int, int]]


def zip_lists(leaves: Sequence[Leaf], others: Sequence[Leaf]) -> list[tuple[Leaf, Path]]:
    """Give the items of lists beside each other the paths of one list's (in place), where `others` have it so.

    They have it where each item, of all these lists together, holds just the shapes of a block of theirs, and the
    lists alone do not.

    Returns:
        The leaves with the paths that they had.
    """
    before: list[tuple[Leaf, Path]] = []
    mine, theirs = _trees(leaves, others)
    blocks = Counter((node.signature, node.count) for node in (theirs.root, *below(theirs.root)))
    for lists in [found for node in (mine.root, *below(mine.root)) for found in _beside(node, blocks)]:
        for own in lists:
            for item in own.children:
                depth = len(item.spelt())
                home = depth - (1 if own.gathered else 2)
                for leaf in (leaves[number] for number in mine.order[item.start : item.end]):
                    before.append((leaf, leaf.path))
                    leaf.path = (*leaf.path[:home], ZIPPED, item.label, own.label, *leaf.path[depth:])
    return before


def _trees(*sides: Sequence[Leaf]) -> Iterator[Tree]:
    shapes, structs = Interner(), Interner()
    for leaves in sides:
        numbers = [-1 if leaf.integer else shapes(leaf.shape) for leaf in leaves]
        yield Tree([leaf.path for leaf in leaves], numbers, structs)


def _beside(node: Node, blocks: Sizes) -> Iterator[Sequence[Node]]:
    """The lists below a node, of the same numbers, that are one list on the other side.

    As many as may be; of several that are as many, those whose names begin alike: `own_fc` and `own_norm`.
    """
    if node.is_list:
        return
    alike: dict[tuple[str, ...], list[Node]] = defaultdict(list)
    for child in node.children:
        if child.is_list and len(child.children) > 1:
            alike[tuple(item.label for item in child.children)].append(child)
    for lists in alike.values():
        if len(lists) <= MOST:
            ways = ([x for x in combinations(lists, n) if _are_one(x, blocks)] for n in range(len(lists), 1, -1))
            found = next(filter(None, ways), [])
            if len(found) > 1:
                found = [some for some in found if len(commonprefix([own.label for own in some])) >= ALIKE]
            if len(found) == 1:
                yield found[0]


def _are_one(lists: Sequence[Node], blocks: Sizes) -> bool:
    """Is each item of some lists, taken together, as large as a block of the other side, and not each list?"""
    items = Counter(
        (sum(item.signature for item in items) & _MASK, sum(item.count for item in items))
        for items in zip(*(own.children for own in lists), strict=True)
    )
    if all(blocks[own.signature, own.count] for own in lists):
        return False
    return all(blocks[item] >= many for item, many in items.items())
