"""Which items of two corresponding lists belong together, by shapes, ways and pins, and which are in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from automatch.describing.tree import Node
from automatch.matching.basis.grids import cells_across
from automatch.matching.basis.names import Names
from automatch.matching.blocks.compared import Compared
from automatch.matching.blocks.decided import BlockPair, Decided
from automatch.matching.blocks.lists import align_lists, are_in_doubt
from automatch.matching.blocks.sides import Side
from automatch.matching.blocks.ways import TURNS, Stages, Way, run_apart, way_of

LARGER = 1.25
"""Items of one list that are so much larger than those of the other may be several of them."""

EXPLAINED = 0.999
"""Lists whose items, put together one by one, share less than this of what the whole lists share are cut otherwise."""


@dataclass(frozen=True, slots=True)
class Items:
    """The items of two lists.

    Attributes:
        pairs: the corresponding items; () where these are no two lists, or lists that are cut at other places.
        doubted: those of them that may belong to others.
        across: the items as cells of lists that lie across each other; () where they do not.
    """

    pairs: Sequence[BlockPair] = ()
    doubted: Sequence[BlockPair] = ()
    across: Sequence[BlockPair] = ()


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists of two sides.

    Attributes:
        sides: the checkpoint and the model.
        compared: how similar two blocks are.
        decided: which blocks a person's pins join.
        names: compares words.
        stages: what the path of a list says of its way.
        order_trust: in [0, 1]; small where one side is sorted by name.
    """

    sides: tuple[Side, Side]
    compared: Compared
    decided: Decided
    names: Names
    stages: Stages
    order_trust: float

    def items(self, a: Node, b: Node, turn: bool, turned: bool) -> Items:
        """The items of two corresponding nodes that belong together, if both are lists.

        Args:
            a: the checkpoint's node.
            b: the model's node.
            turn: one of them may run backwards.
            turned: one of them does, as the lists beside it.
        """
        pairs = align_lists(a, b, self.compared.similar, turn) if a.is_list and b.is_list else []
        if not pairs or self._cut_otherwise(a, b, pairs):
            return Items()
        apart = self.order_trust == 1 and run_apart(a, b, (self.sides[0].places(a), self.sides[1].places(b)))
        across = cells_across(a, b)
        if across:
            return Items(across, self._in_doubt(across, apart), across)
        as_many = len(a.children) == len(b.children)
        backwards = list(zip(a.children, reversed(b.children), strict=True)) if as_many else []
        way: Way = "backwards" if turned else way_of(a, b, self.names, self.stages)
        usual = backwards if way == "backwards" else pairs
        pinned = self.decided.aligned(usual, a, b)
        chosen, settled = (usual, False) if pinned is None else pinned
        if settled:
            return Items(chosen)
        if pinned is not None:
            way = ""
        if apart and chosen and len(backwards) >= TURNS:
            chosen = backwards
        return Items(chosen, self._in_doubt(chosen, bool(way) or apart or chosen != usual))

    def _in_doubt(self, items: Sequence[BlockPair], all_: bool) -> list[BlockPair]:
        """Items that are in doubt, all or those that may count from elsewhere; those that a pin joins are not."""
        elsewhere = are_in_doubt([x for x, _ in items], [y for _, y in items])
        return [
            (x, y)
            for (x, y), counted in zip(items, elsewhere, strict=True)
            if (all_ or counted) and not self.decided.joins(x, y)
        ]

    def _cut_otherwise(self, a: Node, b: Node, items: Sequence[BlockPair]) -> bool:
        """Are two lists cut at other places? Then items of one are larger, and do not explain what the lists share."""
        mine, theirs = (side.tree.bag(n)[1] / len(n.children) for side, n in zip(self.sides, (a, b), strict=True))
        if max(mine, theirs) < LARGER * min(mine, theirs):
            return False
        return self.compared.shared(a, b) * EXPLAINED > sum(self.compared.shared(x, y) for x, y in items)
