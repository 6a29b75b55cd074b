"""Groups of tensors that the other side keeps as one: q, k, v of a fused qkv; experts of a stack.

A group is folded into one virtual leaf where the other side has more tensors of the joined shape,
this side more of the members' shapes, and the block, with the group joined, looks more like one of
the other side's blocks. The decision is taken for a family (all layers) at once, by its weights;
the biases follow.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from automatch.describing.lexicon import lexicon
from automatch.describing.tokens import words_of
from automatch.matching.leaves import Leaf, template
from automatch.spec import Shape

_ROLES = {"query": "q", "key": "k", "value": "v", "gate": "gate", "up": "up"}
"""The lexicon's concepts that name a part of something fused, and what they are called in `PARTS`."""

PARTS: tuple[tuple[str, ...], ...] = (("q", "k", "v"), ("k", "v"), ("gate", "up"))
"""Which roles are fused, in the order in which they are joined."""

NEAR = 4
"""So many tokens of a path, from its end, are looked at for a role: `q_proj.lora_A.default.weight`."""

Hole = tuple[str, ...]


def _role(path: tuple[str, ...]) -> tuple[int, str, str] | None:
    """(index of the token, its role, the token with the role taken out); the last such token counts.

    A token that has a list below it is a container: `up_blocks.0` is no up-projection.
    """
    for i in range(len(path) - 1, max(len(path) - 1 - NEAR, -1), -1):
        found = _token_role(path[i])
        if found is not None and not (found[0] == "up" and i + 1 < len(path) and path[i + 1].isdecimal()):
            return i, *found
    return None


@lru_cache(maxsize=1 << 16)
def _token_role(token: str) -> tuple[str, str] | None:
    if token.isdecimal():
        return None
    words = words_of(token)
    joined = "".join(words)
    roles = _role_words()
    if joined in roles:
        return roles[joined], "{}"
    hits = [j for j, w in enumerate(words) if w in roles]
    if len(hits) != 1:
        return None
    j = hits[0]
    return roles[words[j]], "_".join((*words[:j], "{}", *words[j + 1 :]))


@lru_cache(maxsize=1)
def _role_words() -> dict[str, str]:
    """The lexicon's single words for the parts; what it knows as several words (`gate_proj`) is taken word by word."""
    words = lexicon().words
    several = {word.replace("_", "") for word in words if "_" in word}
    return {
        word: _ROLES[concept]
        for word, concepts in words.items()
        if "_" not in word and word not in several
        for concept in concepts & _ROLES.keys()
    }


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


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to join a group: its members in order, and the dimension."""

    members: tuple[Leaf, ...]
    dim: int


def fold_parts(leaves: list[Leaf], others: list[Leaf]) -> list[Leaf]:
    """Fold q, k, v (k, v; gate, up; q, k, v and an mlp) into virtual leaves where the other side has them fused.

    Returns the leaves with each folded group replaced by one leaf at the place of its first member.
    """
    for parts in PARTS:
        groups = _groups(leaves, parts)
        if not groups:
            continue
        mine = Counter(leaf.shape for leaf in leaves)
        theirs = Counter(leaf.shape for leaf in others)
        whole = Counter(leaf.shape for leaf in leaves if _role(leaf.path) is None)
        fused = Counter(leaf.shape for leaf in others if _role(leaf.path) is None)  # a k_proj is no fused kv
        families: dict[Hole, list[Hole]] = defaultdict(list)
        for name in groups:
            families[template(name[:-1])].append(name)
        gone: dict[int, Leaf | None] = {}
        looked_at = [
            names for names in families.values() if _worth_a_look([groups[n] for n in names], parts, mine, theirs)
        ]
        if not looked_at:
            continue
        blocks = _Blocks(leaves, others)
        orders = _orders(others, parts)
        apart: list[list[Hole]] = []
        for names in looked_at:
            joined = [
                (_in_order(members, parts, orders.get(_joined([m.shape for m in members], dim))), dim, path)
                for members, dim, path in _decide(names, groups, parts, whole, fused, blocks)
            ]
            for members, dim, path in joined:
                _join(members, dim, path, gone)
                whole[_joined([m.shape for m in members], dim) or ()] += (
                    1  # what one family takes is not there for the next
                )
            if not joined:
                apart.append(names)
        for names in apart:
            for members, path in _biases(names, groups, parts, blocks, gone):
                said = orders.get(_joined([m.shape for m in members], 0))
                _join(_in_order(members, parts, said), 0, path, gone)
        leaves = [kept for leaf in leaves if (kept := gone.get(id(leaf), leaf)) is not None]
    return leaves


def _orders(others: Sequence[Leaf], parts: tuple[str, ...]) -> dict[Shape | None, tuple[str, ...]]:
    """The order of the parts that the names of fused tensors say, by shape: `up_gate_proj` begins with the up half.

    Where two of one shape say different orders, none is known.
    """
    said: dict[Shape | None, set[tuple[str, ...]]] = defaultdict(set)
    for leaf in others:
        for token in leaf.path[-2:]:
            order = _said_order(token)
            if len(order) == len(parts) and set(order) == set(parts):
                said[leaf.shape].add(order)
    return {shape: next(iter(orders)) for shape, orders in said.items() if len(orders) == 1}


@lru_cache(maxsize=1 << 16)
def _said_order(token: str) -> tuple[str, ...]:
    words, roles = words_of(token), _role_words()
    letters = next((tuple(word) for word in words if len(word) > 1 and set(word) <= {"q", "k", "v"}), ())
    return letters or tuple(roles[word] for word in words if word in roles)


def _in_order(members: tuple[Leaf, ...], parts: tuple[str, ...], order: tuple[str, ...] | None) -> tuple[Leaf, ...]:
    """The members of a group, which stand in the order of the parts, in another order; what is beyond them stays."""
    if order is None:
        return members
    return (*(members[parts.index(part)] for part in order), *members[len(parts) :])


def _worth_a_look(
    groups: list[dict[str, Leaf]], parts: tuple[str, ...], mine: Counter[Shape], theirs: Counter[Shape]
) -> bool:
    """Does the other side lack members' shapes that this side has?"""
    return any(mine[g[p].shape] > theirs[g[p].shape] for g in groups for p in parts)


def _decide(
    names: list[Hole],
    groups: dict[Hole, dict[str, Leaf]],
    parts: tuple[str, ...],
    mine: Counter[Shape],
    theirs: Counter[Shape],
    blocks: _Blocks,
) -> Iterator[tuple[tuple[Leaf, ...], int, Hole]]:
    """The groups of one family that are to be joined, with how: weights first, biases the same way."""
    weights = [n for n in names if len(groups[n][parts[0]].shape) > 1] or names
    gains: Counter[tuple[int, Hole]] = Counter()
    for name in _sample(weights):
        for way, relative in _ways(groups[name], parts, mine, theirs, blocks):
            gains[way.dim, relative] += round(1000 * blocks.gain(way.members, way.dim))
    best = max(gains.items(), key=lambda item: (item[1], -len(item[0][1])), default=None)
    if best is None or best[1] <= 0:
        return
    dim, relative = best[0]
    for name in names:
        members = tuple(groups[name][p] for p in parts)
        if relative:
            extra = blocks.neighbour(members[0], relative)
            if extra is None:
                continue
            members = (*members, extra)
        word = "".join(parts) + ("_mlp" if relative else "")
        yield members, dim if len(members[0].shape) > 1 else 0, _filled(name, word)


def _biases(
    names: list[Hole],
    groups: dict[Hole, dict[str, Leaf]],
    parts: tuple[str, ...],
    blocks: _Blocks,
    gone: Mapping[int, Leaf | None],
) -> Iterator[tuple[tuple[Leaf, ...], Hole]]:
    """The biases of a family whose weights are not joined, if the other side's fused ones ask for them."""
    biases = [name for name in names if len(groups[name][parts[0]].shape) == 1]
    taken = Counter(leaf.shape for leaf in gone.values() if leaf is not None)
    if biases and blocks.called_fused([groups[name] for name in biases], parts, taken):
        for name in biases:
            yield tuple(groups[name][p] for p in parts), _filled(name, "".join(parts))


def _filled(name: Hole, word: str) -> Hole:
    return tuple(token.replace("{}", word) for token in name)


def _sample(names: list[Hole]) -> list[Hole]:
    return names if len(names) <= 3 else [names[0], names[len(names) // 2], names[-1]]


def _ways(
    group: dict[str, Leaf], parts: tuple[str, ...], mine: Counter[Shape], theirs: Counter[Shape], blocks: _Blocks
) -> Iterator[tuple[_Way, Hole]]:
    members = tuple(group[p] for p in parts)
    for dim in range(len(members[0].shape)):
        joined = _joined([m.shape for m in members], dim)
        if joined is not None and theirs[joined] > mine[joined]:
            yield _Way(members, dim), ()
    if parts != PARTS[0]:
        return
    plain = _joined([m.shape for m in members], 0)
    for relative, leaf in blocks.neighbours(members[0]):
        if leaf in members or leaf.shape == members[0].shape:
            continue
        joined = _joined([m.shape for m in (*members, leaf)], 0)
        if joined is None or theirs[joined] <= mine[joined] or blocks.has_qkv((*members, leaf), plain):
            continue
        yield _Way((*members, leaf), 0), relative


def _join(members: tuple[Leaf, ...], dim: int, path: Hole, gone: dict[int, Leaf | None]) -> None:
    joined = _joined([m.shape for m in members], dim)
    if joined is None or any(id(m) in gone for m in members):
        return
    first = min(members, key=lambda m: m.place)
    gone.update((id(m), None) for m in members)
    gone[id(first)] = Leaf(
        path,
        joined,
        tuple(k for m in members for k in m.keys),
        first.place,
        ops=(*members[0].ops, "concat"),
        dim=dim,
        perm=members[0].perm,
        raw=members[0].raw,
        flat=members[0].flat,
        sizes=tuple(m.shape[dim] for m in members),
    )


def _block(path: tuple[str, ...]) -> tuple[str, ...]:
    """The path of the innermost numbered block around a leaf; () outside of blocks."""
    last = max((i for i, token in enumerate(path[:-2]) if token.isdecimal()), default=-1)
    return path[: last + 1]


@lru_cache(maxsize=1 << 16)
def _is_qkv(token: str) -> bool:
    words, known = words_of(token), lexicon().words
    return any("qkv" in known.get(word, ()) for word in ("".join(words), *words))


class _Blocks:
    """The blocks of both sides as multisets of shapes: does a fold make a block look like one of theirs?"""

    def __init__(self, leaves: list[Leaf], others: list[Leaf]) -> None:
        self._paired = {id(leaf) for group in _groups(leaves, PARTS[-1]).values() for leaf in group.values()}
        self._mine: dict[tuple[str, ...], list[Leaf]] = defaultdict(list)
        for leaf in leaves:
            self._mine[_block(leaf.path)].append(leaf)
        named: dict[tuple[str, ...], set[Shape]] = defaultdict(set)
        bags: dict[tuple[str, ...], Counter[Shape]] = defaultdict(Counter)
        for leaf in others:
            for i, token in enumerate(leaf.path):
                if token.isdecimal():
                    bags[leaf.path[: i + 1]][leaf.shape] += 1
                    if any(_is_qkv(t) for t in leaf.path[i:]):
                        named[leaf.path[: i + 1]].add(leaf.shape)
        self._apart = Counter(leaf.shape for leaf in leaves if _role(leaf.path) is not None)
        self._apart.subtract(leaf.shape for leaf in others if _role(leaf.path) is not None)
        self._fused = Counter(leaf.shape for leaf in others if any(map(_is_qkv, leaf.path[-2:])))
        whole = Counter(leaf.shape for leaf in others)
        unique = {frozenset(bag.items()): bag for bag in bags.values()}
        self._theirs = [(bag, sum(bag.values())) for bag in unique.values()] or [(whole, len(others))]
        self._named = [(bag, sum(bag.values()), named[path]) for path, bag in bags.items() if named[path]]
        self._whole = [(whole, len(others))]

    def neighbours(self, leaf: Leaf) -> list[tuple[Hole, Leaf]]:
        """The other leaves of the block that play the same role in their modules, by relative path.

        Not those of a gate and an up: they have a fold of their own.
        """
        prefix = _block(leaf.path)
        if not prefix:
            return []
        return [
            (other.path[len(prefix) : -1], other)
            for other in self._mine[prefix]
            if other is not leaf and other.path[-1] == leaf.path[-1] and len(other.shape) == len(leaf.shape)
            if id(other) not in self._paired
        ]

    def neighbour(self, leaf: Leaf, relative: Hole) -> Leaf | None:
        """The neighbour at a relative path."""
        return next((other for path, other in self.neighbours(leaf) if path == relative), None)

    def has_qkv(self, members: Sequence[Leaf], plain: Shape | None) -> bool:
        """Is there, in the block that looks most like this one with the members joined, a qkv of the plain shape?"""
        joined = _joined([m.shape for m in members], 0)
        bag: Counter[Shape] = Counter(leaf.shape for leaf in self._mine[_block(members[0].path)])
        bag.subtract(m.shape for m in members)
        assert joined is not None
        bag[joined] += 1
        bag = +bag
        best = _best(bag, self._theirs)
        return any(plain in shapes and _best(bag, [(other, n)]) >= best for other, n, shapes in self._named)

    def called_fused(self, groups: Sequence[dict[str, Leaf]], parts: tuple[str, ...], taken: Counter[Shape]) -> bool:
        """Has the other side, for every one of these groups, a qkv of the joined shape, and none apart?

        Those that are `taken` by other groups do not count. Biases whose weights are not there have little weight among
        the shapes of a block.
        """
        wanted = Counter(_joined([group[p].shape for p in parts], 0) for group in groups)
        members = Counter(group[p].shape for group in groups for p in parts)
        return (
            parts == PARTS[0]
            and all(self._fused[shape] - taken[shape] >= n for shape, n in wanted.items() if shape is not None)
            and all(self._apart[shape] >= n for shape, n in members.items())
        )

    def gain(self, members: Sequence[Leaf], dim: int) -> float:
        """How much more the block looks like one of the other side's blocks with the members joined (Dice)."""
        joined = _joined([m.shape for m in members], dim)
        prefix = _block(members[0].path)
        bag: Counter[Shape] = Counter(leaf.shape for leaf in self._mine[prefix])
        theirs = self._theirs if prefix else self._whole + self._theirs
        before = _best(bag, theirs)
        bag.subtract(m.shape for m in members)
        assert joined is not None
        bag[joined] += 1
        return _best(+bag, theirs) - before


def _best(bag: Counter[Shape], others: Sequence[tuple[Counter[Shape], int]]) -> float:
    """How much a block looks like the one of the others that it looks like most (Dice)."""
    size = sum(bag.values())
    best = 0.0
    for other, count in others:
        shared = sum(min(n, other[s]) for s, n in bag.items() if s in other)
        best = max(best, 2.0 * shared / (size + count))
    return best


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
