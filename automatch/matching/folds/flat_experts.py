"""Experts that lie on each other in one matrix, [experts * out, in], as MegaBlocks, DBRX and OLMoE keep them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from automatch.matching.basis.leaves import Leaf, see_as, template
from automatch.matching.folds.stacks import STACKED, lists_of
from automatch.spec import Shape


def see_as_stacks(leaves: Sequence[Leaf], others: Sequence[Leaf]) -> None:
    """See matrices of all experts as stacks, where the other side has the experts one by one (in place)."""
    there = {leaf.shape for leaf in others}
    flat = [leaf for leaf in leaves if len(leaf.shape) == 2 and _is_of_experts(leaf) and leaf.shape not in there]
    if not flat:
        return
    items = _items(others)
    for leaf in flat:
        rows, columns = leaf.shape
        found = {
            (count, *shape)
            for count, matrix in items
            for shape in (matrix, matrix[::-1])
            if shape[0] * count == rows and shape[1] == columns
        }
        if len(found) == 1:
            see_as(leaf, found.pop())


def _is_of_experts(leaf: Leaf) -> bool:
    """Does a path speak of experts, and of none by its number, nor of one that is shared?"""
    at = next((n for n, token in enumerate(leaf.path) if "expert" in token), None)
    if at is None or any("shared" in token for token in leaf.path):
        return False
    return not any(token.isdecimal() for token in leaf.path[at:])


def _items(leaves: Sequence[Leaf]) -> set[tuple[int, Shape]]:
    """How many experts there are in a layer, and the shape of their matrices."""
    by_template: dict[tuple[tuple[str, ...], Shape], list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        if len(leaf.shape) == STACKED - 1:
            by_template[template(leaf.path), leaf.shape].append(leaf)
    out = set()
    for (name, shape), members in by_template.items():
        holes = [n for n, (home, token) in enumerate(pairwise(name), 1) if token == "#" and "expert" in home]
        stacks = lists_of(members, holes[-1]) if holes else []
        if stacks and len(stacks[0]) > 1:
            out.add((len(stacks[0]), shape))
    return out
