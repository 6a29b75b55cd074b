"""Tensors that differ in one index and are a stack on the other side: the experts of a layer."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

from automatch.matching.leaves import Leaf, template
from automatch.spec import Shape


def fold_stacks(leaves: list[Leaf], others: list[Leaf]) -> list[Leaf]:
    """Fold tensors that differ in one index into a virtual stack where the other side has it stacked."""
    mine = Counter(leaf.shape for leaf in leaves)
    theirs = Counter(leaf.shape for leaf in others)
    counts = {shape[0] for shape in theirs if len(shape) >= 2}
    by_template: dict[tuple[tuple[str, ...], Shape], list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        if leaf.shape and mine[leaf.shape] > theirs[leaf.shape]:
            by_template[(template(leaf.path), leaf.shape)].append(leaf)
    gone: dict[int, Leaf | None] = {}
    for (name, shape), members in by_template.items():
        holes = [i for i, token in enumerate(name) if token == "#"]
        for hole in reversed(holes):
            stacks = _stacks(members, hole)
            count = len(stacks[0]) if stacks else 0
            if count < 2 or count not in counts or any(len(s) != count for s in stacks):
                continue
            joined = (count, *shape)
            if theirs[joined] <= mine[joined] and not _half_known(joined, mine, theirs):
                continue
            for stack in stacks:
                gone.update((id(m), None) for m in stack)
                first = min(stack, key=lambda m: m.place)
                path = (*first.path[:hole], *first.path[hole + 1 :])
                keys = tuple(k for m in stack for k in m.keys)
                gone[id(first)] = replace(first, path=path, shape=joined, keys=keys, ops=(*first.ops, "stack"), dim=0)
            break
    if not gone:
        return leaves
    return [kept for leaf in leaves if (kept := gone.get(id(leaf), leaf)) is not None]


def _half_known(joined: Shape, mine: Counter[Shape], theirs: Counter[Shape]) -> bool:
    """Is the stack one half of a known fused stack (gate and up side by side)?"""
    for dim in range(1, len(joined)):
        doubled = (*joined[:dim], 2 * joined[dim], *joined[dim + 1 :])
        if theirs[doubled] > mine[doubled]:
            return True
    return False


def _stacks(members: list[Leaf], hole: int) -> list[list[Leaf]]:
    """Members grouped by all but the index at `hole`, each group in index order from 0 without gaps."""
    groups: dict[tuple[str, ...], list[tuple[int, Leaf]]] = defaultdict(list)
    for leaf in members:
        rest = leaf.path[:hole] + leaf.path[hole + 1 :]
        groups[rest].append((int(leaf.path[hole]), leaf))
    out: list[list[Leaf]] = []
    for group in groups.values():
        group.sort(key=lambda pair: pair[0])
        if [i for i, _ in group] != list(range(len(group))):
            return []
        out.append([leaf for _, leaf in group])
    return out
