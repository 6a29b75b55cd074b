"""Blocks that compete with those of one kind for the blocks of the other side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from automatch.describing.tree import Node
from automatch.matching.blocks.compared import Compared
from automatch.matching.blocks.free import Taken
from automatch.matching.blocks.misnamed import TWIN

Kinds = Mapping[int, Sequence[Node]]


def with_rivals(
    compared: Compared, chosen: tuple[list[Node], list[Node]], kinds: tuple[Kinds, Kinds], taken: tuple[Taken, Taken]
) -> tuple[list[Node], list[Node], bool]:
    """The chosen blocks of both sides, and those of other kinds that may be meant instead.

    The last says whether some of these lost tensors.

    Args:
        compared: compares shapes.
        chosen: blocks of one kind of the checkpoint, and those of the model that they are held against.
        kinds: all blocks of both sides, by their struct.
        taken: what is matched already.
    """
    left, right = chosen
    alike = [_of_same_modules(own, side) for own, side in zip(chosen, kinds, strict=True)]
    counts = len(left), len(right)
    added: list[list[Node]] = [[], []]
    if any(alike):
        odd = _odd({nodes[0].signature for side in alike for nodes in side}, kinds)
        more = [
            [node for nodes in side if nodes[0].signature in odd for node in nodes if gone.free(node)]
            for side, gone in zip(alike, taken, strict=True)
        ]
        for which in (0, 1):
            if (more[0] and more[1]) or counts[which] < counts[1 - which]:
                added[which] = more[which]
    left, right = left + added[0], right + added[1]
    left = left + _twins(compared, left, right[0], kinds[0], taken[0], swap=False)
    right = right + _twins(compared, right, left[0], kinds[1], taken[1], swap=True)
    return left, right, any(added)


def _of_same_modules(chosen: Sequence[Node], kinds: Kinds) -> list[Sequence[Node]]:
    """Kinds of the same modules as the chosen blocks with more or fewer tensors; one of the two may have lost some.

    A convolution whose norm has lost its weight is no other convolution.
    """
    skeleton, signature = chosen[0].skeleton, chosen[0].signature
    return [own for own in kinds.values() if own[0].skeleton == skeleton and own[0].signature != signature]


def _odd(signatures: Collection[int], kinds: tuple[Kinds, Kinds]) -> set[int]:
    """Those that the two sides have not equally often; what both have lost nothing, it is built so."""
    counts = [Counter[int](), Counter[int]()]
    for count, side in zip(counts, kinds, strict=True):
        for own in side.values():
            if own[0].signature in signatures:
                count[own[0].signature] += len(own)
    return {signature for signature in signatures if counts[0][signature] != counts[1][signature]}


def _twins(
    compared: Compared, chosen: Sequence[Node], other: Node, kinds: Kinds, taken: Taken, swap: bool
) -> list[Node]:
    """Siblings of the chosen nodes that are nearly as similar to the other side's block: they compete.

    So does `towers.query.encoder` with `towers.document.encoder`.
    """
    parents = {home for n in chosen for home in _homes(n)}
    known = {id(n) for n in chosen}
    out: list[Node] = []
    for nodes in kinds.values():
        near = [n for n in nodes if not parents.isdisjoint(_homes(n)) and id(n) not in known and taken.free(n)]
        if near:
            pair = (other, near[0]) if swap else (near[0], other)
            out += near if compared.similar(*pair) >= TWIN else []
    return out


def _homes(node: Node) -> Iterator[object]:
    """What a node shares with its siblings, and with those of its name that stand in its parent's siblings."""
    home = node.parent
    yield id(home)
    around = home.parent if home is not None and not home.is_list else None
    if home is not None and around is not None and not around.is_list:
        yield id(around), node.label
