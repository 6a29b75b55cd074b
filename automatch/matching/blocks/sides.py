"""One side of a match: its leaves, and the tree over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from automatch.describing.tree import Node, Tree
from automatch.matching.basis.leaves import Leaf


class Order(NamedTuple):
    """What the order of the keys is worth.

    Attributes:
        trust: in [0, 1]; small where one side is sorted by name.
        by_name: of the checkpoint and the model, whether it is.
    """

    trust: float
    by_name: tuple[bool, bool]


@dataclass(slots=True)
class Side:
    """One side while it is matched: its leaves and their tree."""

    leaves: list[Leaf]
    tree: Tree

    def places(self, top: Node) -> list[int]:
        """Where the items of a list begin in the state_dict."""
        return [self.leaves[self.tree.order[item.start]].place for item in top.children]

    def below(self, node: Node) -> list[Leaf]:
        """The leaves under a node, in the tree's order."""
        return [self.leaves[i] for i in self.tree.order[node.start : node.end]]

    def at(self, leaves: Sequence[Leaf]) -> list[int]:
        """The places of some leaves in the tree's order."""
        place = {id(self.leaves[i]): at for at, i in enumerate(self.tree.order)} if leaves else {}
        return [place[id(leaf)] for leaf in leaves]
