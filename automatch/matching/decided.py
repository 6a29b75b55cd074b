"""What a pin says of the blocks around its two tensors: as these two belong together, so do they."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from automatch.describing.tree import Node
from automatch.matching.leaves import template

BlockPair = tuple[Node, Node]
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pin:
    """Two tensors that a person put together.

    Attributes:
        place: of the checkpoint's tensor in the tree of its side.
        other: of the model's tensor in the tree of its side.
        path: the path of the checkpoint's tensor.
        other_path: the path of the model's tensor.
    """

    place: int
    other: int
    path: Path
    other_path: Path


class Decided:
    """Which blocks a person's pins join."""

    def __init__(self, pins: Iterable[Pin]) -> None:
        self._pins = sorted(pins, key=lambda pin: pin.place)

    def settles(self, x: Node, y: Node, lists: int) -> bool:
        """Leads a pin from the one block into the other, so that all of the one belongs into the other?

        Not so where the two are among as many lists as they have items: of `enc.0.mab0`, `enc.0.mab1`, `enc.1.mab0` and
        `enc.1.mab1` the first two may fill `compress`, or the first and the third.

        Args:
            x: a block of the checkpoint.
            y: a block of the model.
            lists: how many blocks there are that might be meant instead.
        """
        if x.is_list and y.is_list and 1 < lists == len(x.children):
            return False
        return bool(self._joined([x], [y]))

    def speaks_against(self, x: Node, y: Node) -> bool:
        """Leads a pin from a numbered sibling of the one elsewhere than to a sibling of the other?"""
        mine, theirs = template(x.spelt()), template(y.spelt())
        if not self._pins or "#" not in (*mine, *theirs):
            return False
        pairs = {(template(pin.path[: len(mine)]), template(pin.other_path[: len(theirs)])) for pin in self._pins}
        return (mine, theirs) not in pairs and any(
            ("#" in mine and a == mine) or ("#" in theirs and b == theirs) for a, b in pairs
        )

    def ways(self, left: Sequence[Node], right: Sequence[Node]) -> dict[tuple[int, int], bool]:
        """For pairs of several blocks, by their places in the lists: do pins join them, or keep them apart?

        Pins keep two blocks apart that they join with others of the lists. What is not in the answer is not decided.
        """
        joined = self._joined(left, right)
        mine, theirs = {i for i, _ in joined}, {j for _, j in joined}
        return {
            (i, j): (i, j) in joined
            for i, j in product(range(len(left)), range(len(right)) if joined else ())
            if i in mine or j in theirs
        }

    def _joined(self, left: Sequence[Node], right: Sequence[Node]) -> set[tuple[int, int]]:
        """Which of some blocks, none inside another, pins join; a regex may have pinned every tensor of a file."""
        if not self._pins:
            return set()
        spans = sorted((y.start, y.end, j) for j, y in enumerate(right))
        out: set[tuple[int, int]] = set()
        for i, x in enumerate(left):
            ends = (bisect_left(self._pins, place, key=lambda pin: pin.place) for place in (x.start, x.end))
            for pin in self._pins[slice(*ends)]:
                at = bisect_right(spans, pin.other, key=lambda span: span[0]) - 1
                if at >= 0 and pin.other < spans[at][1]:
                    out.add((i, spans[at][2]))
        return out

    def aligned(self, blocks: list[BlockPair], a: Node, b: Node) -> list[BlockPair] | None:
        """The items of two lists as pins want them; None where no pin joins any.

        Args:
            blocks: the items as they were put together.
            a: the checkpoint's list.
            b: the model's list.

        Returns:
            The same pairs, or the lists counted against each other; [] where a pin wants neither.
        """
        joined = {(id(a.children[i]), id(b.children[j])) for i, j in self._joined(a.children, b.children)}
        if not joined:
            return None
        as_many = len(a.children) == len(b.children)
        turned = list(zip(a.children, reversed(b.children), strict=True)) if as_many else []
        return next((p for p in (blocks, turned) if joined <= {(id(x), id(y)) for x, y in p}), [])
