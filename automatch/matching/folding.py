"""Groups of tensors that the other side keeps as one: q, k, v of a fused qkv; experts of a stack.

A group is folded into one virtual leaf when the other side has more tensors of the joined shape
than this side, and this side more of the members' shapes than the other. The decision is taken
for a family (all layers) at once, by its weights; the biases follow.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from automatch.describing.tokens import words_of
from automatch.matching.leaves import Leaf, template
from automatch.spec import Shape

_ROLE_WORDS: dict[str, str] = {
    "q": "q", "query": "q", "wq": "q", "queries": "q",
    "k": "k", "key": "k", "wk": "k", "keys": "k",
    "v": "v", "value": "v", "wv": "v", "values": "v",
    "gate": "gate", "w1": "gate", "wg": "gate",
    "up": "up", "w3": "up", "wu": "up",
}  # fmt: skip

PARTS: tuple[tuple[str, ...], ...] = (("q", "k", "v"), ("k", "v"), ("gate", "up"))
"""Which roles are fused, in the order in which they are joined."""

Hole = tuple[str, ...]


def _role(path: tuple[str, ...]) -> tuple[int, str, str] | None:
    """(index of the token, its role, the token with the role taken out); the last such token counts."""
    for i in range(len(path) - 1, -1, -1):
        token = path[i]
        if token.isdigit():
            continue
        words = words_of(token)
        joined = "".join(words)
        if joined in _ROLE_WORDS:
            return i, _ROLE_WORDS[joined], "{}"
        hits = [j for j, w in enumerate(words) if w in _ROLE_WORDS]
        if len(hits) == 1:
            j = hits[0]
            return i, _ROLE_WORDS[words[j]], "_".join((*words[:j], "{}", *words[j + 1 :]))
    return None


def _joined(shapes: Sequence[Shape], dim: int) -> Shape | None:
    first = shapes[0]
    if any(len(s) != len(first) for s in shapes) or not first:
        return None
    if any(s[:dim] != first[:dim] or s[dim + 1 :] != first[dim + 1 :] for s in shapes):
        return None
    return (*first[:dim], sum(s[dim] for s in shapes), *first[dim + 1 :])


def _groups(leaves: list[Leaf], parts: tuple[str, ...]) -> dict[Hole, dict[str, Leaf]]:
    groups: dict[Hole, dict[str, Leaf]] = defaultdict(dict)
    spoilt: set[Hole] = set()
    for leaf in leaves:
        found = _role(leaf.path)
        if found is None or found[1] not in parts or leaf.integer:
            continue
        i, role, hole = found
        name = (*leaf.path[:i], hole, *leaf.path[i + 1 :])
        if role in groups[name]:
            spoilt.add(name)
        groups[name][role] = leaf
    return {k: v for k, v in groups.items() if len(v) == len(parts) and k not in spoilt}


def fold_parts(leaves: list[Leaf], others: list[Leaf]) -> list[Leaf]:
    """Fold q, k, v (k, v; gate, up) into virtual leaves where the other side has them fused.

    Returns the leaves with each folded group replaced by one leaf at the place of its first member.
    """
    for parts in PARTS:
        leaves = _fold(leaves, others, parts)
    return leaves


def _fold(leaves: list[Leaf], others: list[Leaf], parts: tuple[str, ...]) -> list[Leaf]:
    groups = _groups(leaves, parts)
    if not groups:
        return leaves
    mine = Counter(leaf.shape for leaf in leaves)
    theirs = Counter(leaf.shape for leaf in others)
    families: dict[Hole, list[Hole]] = defaultdict(list)
    for name in groups:
        families[template(name[:-1])].append(name)
    gone: dict[int, Leaf | None] = {}
    for names in families.values():
        dim = _agreed_dim([groups[n] for n in names], parts, mine, theirs)
        if dim is None:
            continue
        for name in names:
            members = [groups[name][p] for p in parts]
            axis = dim if len(members[0].shape) > 1 else 0
            joined = _joined([m.shape for m in members], axis)
            if joined is None:
                continue
            first = min(members, key=lambda m: m.place)
            gone.update((id(m), None) for m in members)
            gone[id(first)] = Leaf(
                tuple(token.replace("{}", "".join(parts)) for token in name),
                joined,
                tuple(k for m in members for k in m.keys),
                first.place,
                ops=(*members[0].ops, "concat"),
                dim=axis,
                perm=members[0].perm,
            )
    return [kept for leaf in leaves if (kept := gone.get(id(leaf), leaf)) is not None]


def _agreed_dim(
    groups: list[dict[str, Leaf]], parts: tuple[str, ...], mine: Counter[Shape], theirs: Counter[Shape]
) -> int | None:
    """The dimension along which the groups of a family are fused on the other side, or None."""
    weights = [g for g in groups if len(g[parts[0]].shape) > 1] or groups
    rank = len(weights[0][parts[0]].shape)
    for dim in range(rank):
        fits = 0
        for group in weights:
            shapes = [group[p].shape for p in parts]
            joined = _joined(shapes, dim)
            if joined is None or theirs[joined] <= mine[joined]:
                continue
            if any(mine[s] > theirs[s] for s in shapes):
                fits += 1
        if fits >= 0.3 * len(weights) and fits:
            return dim
    return None


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
        groups[(*leaf.path[:hole], *leaf.path[hole + 1 :])].append((int(leaf.path[hole]), leaf))
    out: list[list[Leaf]] = []
    for group in groups.values():
        group.sort(key=lambda pair: pair[0])
        if [i for i, _ in group] != list(range(len(group))):
            return []
        out.append([leaf for _, leaf in group])
    return out
