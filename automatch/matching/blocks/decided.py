"""What a pin says of the blocks around its two tensors: as these two belong together, so do they."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from automatch.describing.tree import Node, descend
from automatch.matching.basis.leaves import Path, template

BlockPair = tuple[Node, Node]


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
        self._said: dict[tuple[int, int], tuple[set[tuple[Path, Path]], set[Path], set[Path]]] = {}

    def joins(self, x: Node, y: Node) -> bool:
        """Leads a pin from the one block into the other?"""
        return bool(self._joined([x], [y]))

    def speaks_against(self, x: Node, y: Node) -> bool:
        """Leads a pin from a numbered sibling of the one elsewhere than to a sibling of the other?"""
        mine, theirs = template(x.spelt()), template(y.spelt())
        if not self._pins or "#" not in (*mine, *theirs):
            return False
        depths = len(mine), len(theirs)
        if depths not in self._said:
            pairs = {(template(pin.path[: depths[0]]), template(pin.other_path[: depths[1]])) for pin in self._pins}
            self._said[depths] = pairs, {a for a, _ in pairs}, {b for _, b in pairs}
        pairs, ours, others = self._said[depths]
        return (mine, theirs) not in pairs and (("#" in mine and mine in ours) or ("#" in theirs and theirs in others))

    def joined(self, left: Sequence[Node], right: Sequence[Node]) -> set[tuple[int, int]]:
        """The pairs of several blocks, by their places here, that pins join, each with no other of these."""
        found = self._joined(left, right)
        mine, theirs = Counter(i for i, _ in found), Counter(j for _, j in found)
        return {(i, j) for i, j in found if mine[i] == theirs[j] == 1}

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

    def contradicts(self, blocks: Sequence[BlockPair]) -> bool:
        """Leads a pin from one of some blocks into the partner of another?"""
        return any(i != j for i, j in self._joined([x for x, _ in blocks], [y for _, y in blocks]))

    def aligned(self, blocks: list[BlockPair], a: Node, b: Node) -> tuple[list[BlockPair], bool] | None:
        """The items of two lists as pins want them; None where no pin joins any, or it is the middle of both.

        Args:
            blocks: the items as they were put together.
            a: the checkpoint's list.
            b: the model's list.

        Returns:
            The same pairs, or the lists counted against each other, or all as far apart as the pinned ones; [] where
            pins want none of these. And whether that leaves nothing open: where one list is longer, or the two are a
            square of lists, a pin shows no more than itself.
        """
        left, right = a.children, b.children
        joined = self._joined(left, right)
        if not joined:
            return None
        wanted = {(id(left[i]), id(right[j])) for i, j in joined}
        turned = list(zip(left, reversed(right), strict=True)) if len(left) == len(right) else []
        usual, against = (wanted <= {(id(x), id(y)) for x, y in pairs} for pairs in (blocks, turned))
        if usual and against and len(left) > 1:
            return None  # the one in the middle
        open_ = is_square((*left, *right), len(left))
        if usual:
            return blocks, len(left) == len(right) and not open_
        if against:
            return turned, not open_
        steps = {j - i for i, j in joined}
        step = steps.pop()
        moved = [] if steps else [(x, right[i + step]) for i, x in enumerate(left) if 0 <= i + step < len(right)]
        return moved, False


def is_square(blocks: Sequence[Node], count: int) -> bool:
    """Are blocks made of as many equal parts as there are such blocks? Then rows may be columns.

    Of `enc.0.mab0`, `enc.0.mab1`, `enc.1.mab0` and `enc.1.mab1` the first two may fill `compress`, or the first and
    the third; `critic.q1` and `critic_target.q1` may be `nets.0.online` and `nets.0.slow`, or `nets.1.online`.
    """
    return count > 1 and any(_parts(block) == count for block in blocks)


def _parts(block: Node) -> int:
    """Of how many blocks a list is made, or another block, if these are equal; 0 where it holds anything else."""
    inside = descend(block)
    parts = inside.children
    alike = inside.is_list or len({(part.signature, part.count) for part in parts}) == 1
    return len(parts) if alike and all(part.children for part in parts) else 0
