"""Where a left-over module may find its partner: next to the partners of its neighbours."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from automatch.describing.tree import Node, Tree, is_block, is_module
from automatch.matching.basis.evidence import Evidence
from automatch.matching.basis.leaves import Leaf

Placed = tuple[int, int, Evidence]
"""Two leaves as places relative to the starts of the two nodes, with the evidence."""


class Coherence:
    """Do two left-over leaves lie in modules that belong together?

    The nearest module around a leaf that holds matched leaves is its home. The partners of those
    leaves span a region on the other side, and there the leaf's own partner must be. Lists and
    the whole scope are no homes, and whole blocks are free: they may have been regrouped.
    """

    def __init__(
        self,
        source: Tree,
        target: Tree,
        a: Node,
        b: Node,
        blocks: Sequence[tuple[Node, Node]],
        done: Sequence[Placed],
        at_a: dict[int, int],
        at_b: dict[int, int],
        waiting: Collection[tuple[int, int]] = (),
    ) -> None:
        self._trees, self._tops, self._at = (source, target), (a, b), (at_a, at_b)
        self._waiting = waiting
        self._partners = ([-1] * (a.end - a.start), [-1] * (b.end - b.start))
        self._tried: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for number, pair in enumerate(blocks):
            for tried, node, top in zip(self._tried, pair, (a, b), strict=True):
                tried.update((i - top.start, number) for i in range(node.start, node.end))
        for i, j, _ in done:
            self._partners[0][i] = j
            self._partners[1][j] = i
        self._regions: tuple[dict[int, tuple[int, int, int] | None], dict[int, tuple[int, int, int] | None]] = ({}, {})

    def __call__(self, mine: Leaf, theirs: Leaf) -> int:
        """0: they do; 1: their containers do not; 2: their very modules have other partners."""
        at = (self._at[0][id(mine)], self._at[1][id(theirs)])
        number = self._tried[0].get(at[0])
        if number is not None and number == self._tried[1].get(at[1]) and at not in self._waiting:
            return 2  # they were side by side in a pair of blocks, and were not put together there
        worst = 0
        for which in (0, 1):
            region = self._region(which, at[which])
            if region is not None and not region[0] <= at[1 - which] < region[1]:
                worst = max(worst, region[2])
        return worst

    def _region(self, which: int, at: int) -> tuple[int, int, int] | None:
        cache = self._regions[which]
        if at not in cache:
            cache[at] = self._find(which, at)
        return cache[at]

    def _find(self, which: int, at: int) -> tuple[int, int, int] | None:
        top, tree = self._tops[which], self._trees[which]
        node: Node | None = tree.node_of[tree.order[top.start + at]]
        untouched = node
        while node is not None and node is not top:
            low, high = node.start - top.start, node.end - top.start
            partners = [p for p in self._partners[which][low:high] if p >= 0]
            if partners:
                if node.is_list and self._is_surplus(which, node, untouched):
                    return self._full(1 - which, partners)
                if node.is_list or is_block(untouched):
                    return None
                if is_module(node):
                    return self._span(1 - which, partners, 0)
                parts = sum(self._served(which, child) for child in node.children)
                return self._span(1 - which, partners, 1 if parts > 1 else 2)
            untouched, node = node, node.parent
        return None

    def _is_surplus(self, which: int, layers: Node, item: Node | None) -> bool:
        """Is an untouched item of a list a block whose like has been matched whole?"""
        return is_block(item) and any(
            child is not item
            and item is not None
            and child.signature == item.signature
            and not self._has_free(which, child)
            for child in layers.children
        )

    def _full(self, which: int, partners: Sequence[int]) -> tuple[int, int, int] | None:
        """The part of a side that a list's items went to, where nothing is free in it.

        Then what is left over of the list are layers that the other side does not have, and they lend it no tensors.
        """
        low, high = min(partners), max(partners) + 1
        return (low, high, 1) if all(p >= 0 for p in self._partners[which][low:high]) else None

    def _has_free(self, which: int, node: Node) -> bool:
        start = self._tops[which].start
        return any(p < 0 for p in self._partners[which][node.start - start : node.end - start])

    def _served(self, which: int, node: Node) -> bool:
        start = self._tops[which].start
        return any(p >= 0 for p in self._partners[which][node.start - start : node.end - start])

    def _span(self, which: int, partners: Sequence[int], up: int) -> tuple[int, int, int]:
        """The smallest node of a side around the partners.

        `up` 0: the module itself. 1: the container they share. 2: the container above the one
        part that they are (only one part of the home has been matched, so the home is larger).
        """
        top, tree = self._tops[which], self._trees[which]
        low, high = min(partners) + top.start, max(partners) + top.start
        node = tree.node_of[tree.order[low]]
        while node is not top and node.parent is not None and not (node.children and node.end > high):
            node = node.parent
        if not up and node is not top and node.parent is not None and not self._has_free(which, node):
            beside = node.parent  # the module is complete; its last part may stand beside it (GCN: lin.weight, bias)
            if any(child.leaf >= 0 and self._has_free(which, child) for child in beside.children):
                node = beside
        if up == 2 and node is not top and node.parent is not None and not is_module(node):
            node = node.parent
        if up:
            node = _container(node, top)
        return node.start - top.start, node.end - top.start, 1 if up else 2


def _container(node: Node, top: Node) -> Node:
    """Up past modules, lists and wrappers to a node that holds different parts."""
    while node is not top and node.parent is not None and (node.is_list or len(node.children) < 2 or is_module(node)):
        node = node.parent
    return node
