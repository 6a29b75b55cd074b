"""Groups of tensors that the other side keeps as one: q, k, v of a fused qkv; gate and up.

A group is folded into one virtual leaf where the other side has more tensors of the joined shape,
this side more of the members' shapes, and the block, with the group joined, looks more like one of
the other side's blocks. The decision is taken for a family (all layers) at once, by its weights;
the biases follow.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from automatch.describing.lexicon import lexicon
from automatch.matching.basis.adapters import first_half, is_adapter
from automatch.matching.basis.leaves import SHARED, Leaf, see_as, squeeze, template
from automatch.matching.basis.names import Names, Word, contrast
from automatch.matching.basis.parts import (
    ADAPTED,
    PARTS,
    TWO_NAMED,
    UNRELATED,
    Hole,
    filled,
    groups_of,
    joined_shape,
    may_hold,
    numbered_groups,
    role_in,
)
from automatch.matching.basis.units import block_of
from automatch.matching.folds.resemblance import Blocks
from automatch.spec import Shape

KEPT = PARTS[1]
"""What names may say to be joined where no count of shapes does."""

PARTIAL = ("q", "kv")
"""What an attention that is fused in part keeps, beside one in the same layer that is fused as a whole."""

NAMED = 3
"""So many tokens of two paths alike, at least, are one name."""

APART = 0.2
"""Blocks that look so much less like the other side's (Dice) are of another tower."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to join a group: its members in order, and the dimension."""

    members: tuple[Leaf, ...]
    dim: int


def fold_parts(leaves: list[Leaf], others: list[Leaf], serve: bool = False) -> list[Leaf]:
    """Fold q, k, v (k, v; gate, up; q, k, v and an mlp) into virtual leaves where the other side has them fused.

    Where the leaves are those of the model and `serve` says so, the first halves of adapters go with their second
    ones: what was learnt for a fused tensor has one, which serves all of its parts.

    Returns the leaves with each folded group replaced by one leaf at the place of its first member.
    """
    adapters = any(map(is_adapter, others))
    paths = {leaf.path: leaf for leaf in leaves} if adapters and serve else {}
    there = _standing(others)
    for parts in (PARTS[0], TWO_NAMED, *PARTS[1:], ADAPTED):
        groups = groups_of([leaf for leaf in leaves if adapters or not is_adapter(leaf)], parts)
        if parts == ADAPTED:
            keyed = groups_of(leaves, ("k",))
            groups = {n: own for n, own in groups.items() if n not in keyed and all(map(is_adapter, own.values()))}
        if set(parts) <= set(PARTS[0]):
            numbered = numbered_groups(leaves).items()
            groups = {
                name: {p: group[p] for p in parts} for name, group in numbered if group.keys() >= set(parts)
            } | groups
        groups = {name: group for name, group in groups.items() if not all(map(there, group.values()))}
        if not groups:
            continue
        _without_ones(others, groups.values(), parts, {leaf.shape for leaf in leaves})
        mine = Counter(leaf.shape for leaf in leaves)
        theirs = Counter(leaf.shape for leaf in others)
        whole = Counter(leaf.shape for leaf in leaves if not _is_one_of(leaf, parts))
        fused = Counter(  # a k_proj is no fused kv
            leaf.shape for leaf in others if not _is_one_of(leaf, parts) and may_hold(leaf.path, parts)
        )
        families: dict[Hole, list[Hole]] = defaultdict(list)
        for name in groups:
            families[template(name[:-1])].append(name)
        gone: dict[int, Leaf | None] = {}
        looked_at = [
            names for names in families.values() if _worth_a_look([groups[n] for n in names], parts, mine, theirs)
        ]
        if not looked_at:
            continue
        blocks = Blocks(leaves, others)
        apart: list[list[Hole]] = []
        for names in _best_first(looked_at, groups, parts, others, whole, fused, blocks):
            joined = list(_decide(names, groups, parts, whole, fused, blocks, paths))
            for members, dim, path in joined:
                _join(members, dim, path, gone)
                if paths:
                    _share(members, path, paths, gone)
                whole[joined_shape([m.shape for m in members], dim) or ()] += (
                    1  # what one family takes is not there for the next
                )
            if not joined:
                apart.append(names)
        for names in apart:
            for members, path in _biases(names, groups, parts, blocks, gone):
                _join(members, 0, path, gone)
        leaves = [kept for leaf in leaves if (kept := gone.get(id(leaf), leaf)) is not None]
    return leaves


def _standing(others: Iterable[Leaf]) -> Callable[[Leaf], bool]:
    """Says whether the other side has a leaf as it is, under its name, but for what stands before all of it."""
    whole = {(leaf.path, leaf.shape) for leaf in others}
    inner = {(leaf.path[n:], leaf.shape) for leaf in others for n in (1, 2) if len(leaf.path) > n + NAMED}

    def there(leaf: Leaf) -> bool:
        path, shape = leaf.path, leaf.shape
        outer = any((path[n:], shape) in whole for n in (1, 2) if len(path) > n + NAMED)
        return (path, shape) in whole or (path, shape) in inner or outer

    return there


def _without_ones(
    others: list[Leaf], groups: Iterable[Mapping[str, Leaf]], parts: tuple[str, ...], mine: Container[Shape]
) -> None:
    """What is fused as a 1x1 convolution, and apart as linear layers, is taken as a matrix, or its parts (in place)."""
    theirs = {leaf.shape for leaf in others}
    for members in ([group[p] for p in parts] for group in groups):
        flat = [squeeze(m.shape) for m in members]
        pointwise = all(len(shape) == 2 < len(m.shape) and not m.ops for shape, m in zip(flat, members, strict=True))
        if pointwise and joined_shape(flat, 0) in theirs and not theirs & {m.shape for m in members}:
            for member, shape in zip(members, flat, strict=True):
                see_as(member, shape)
    joined = {joined_shape([group[p].shape for p in parts], 0) for group in groups}
    for leaf in others:
        bare = squeeze(leaf.shape)
        if len(bare) == 2 < len(leaf.shape) and bare in joined and leaf.shape not in mine and not leaf.ops:
            see_as(leaf, bare)


def _is_one_of(leaf: Leaf, parts: tuple[str, ...]) -> bool:
    """Is a leaf called like one of the parts, or like another part that is none of them joined?

    The statistics and scales of a latent are fused under any name: the `q_layers` of a posterior hold no query.
    """
    found = role_in(leaf.path)
    if found is None or found[1] == "".join(parts):
        return False
    return found[1] in parts or parts not in UNRELATED


def _worth_a_look(
    groups: list[dict[str, Leaf]], parts: tuple[str, ...], mine: Counter[Shape], theirs: Counter[Shape]
) -> bool:
    """Does the other side lack members' shapes that this side has?"""
    return any(mine[g[p].shape] > theirs[g[p].shape] for g in groups for p in parts)


def _best_first(
    families: list[list[Hole]],
    groups: Mapping[Hole, Mapping[str, Leaf]],
    parts: tuple[str, ...],
    others: Sequence[Leaf],
    mine: Counter[Shape],
    theirs: Counter[Shape],
    blocks: Blocks,
) -> list[list[Hole]]:
    """The families in the order in which they may take what is fused.

    Where it is not enough for all, the best named are first, beside the names of what the other side has in parts as
    well (`self_attn` is `attn1` where only `attn2` is joined), but for those of which the blocks, when joined, look far
    less like the other side's than those of another family: the other tower.
    """
    joined = [joined_shape([groups[names[0]][p].shape for p in parts], 0) for names in families]
    wanted: Counter[Shape | None] = Counter()
    for shape, names in zip(joined, families, strict=True):
        wanted[shape] += len(names)
    if all(shape is None or n <= theirs[shape] - mine[shape] for shape, n in wanted.items()):
        return families
    compared = Names(lexicon())
    there = [leaf.path for leaf in others if leaf.shape in joined]
    fused = [compared.path_words(path) for path in dict.fromkeys(map(template, there))]
    own = [compared.path_words(names[0]) for names in families]
    weights = contrast(own, fused) if fused else {}
    partial = groups_of(list(others), PARTIAL) if parts == PARTS[0] else ()
    layers = {template(block) for path in there if (block := block_of(path))}
    kept = [*groups_of(list(others), parts), *(name for name in partial if template(block_of(name)) in layers)]
    whole = [compared.path_words(name) for name in kept]

    def closest(words: Sequence[Word], paths: Sequence[Sequence[Word]]) -> float:
        return max((compared.compare(words, path, weights) for path in paths), default=0.0)

    # what is called like parts that the other side keeps apart is none of those that it joins
    alike = [closest(words, fused) - closest(words, whole) for words in own]
    fits = [
        blocks.likeness([groups[names[0]][part] for part in parts]) if joined[i] else 0.0
        for i, names in enumerate(families)
    ]
    return [families[i] for i in sorted(range(len(families)), key=lambda i: (fits[i] < max(fits) - APART, -alike[i]))]


def _decide(
    names: list[Hole],
    groups: dict[Hole, dict[str, Leaf]],
    parts: tuple[str, ...],
    mine: Counter[Shape],
    theirs: Counter[Shape],
    blocks: Blocks,
    paths: Mapping[Hole, Leaf],
) -> Iterator[tuple[tuple[Leaf, ...], int, Hole]]:
    """The groups of one family that are to be joined, with how: weights first, biases the same way."""
    rank = max(len(groups[n][parts[0]].shape) for n in names)
    weights = [n for n in names if len(groups[n][parts[0]].shape) == rank]
    gains: Counter[tuple[int, Hole]] = Counter()
    for name in _sample(weights):
        for way, relative in _ways(groups[name], parts, mine, theirs, blocks):
            gain = blocks.gain(way.members, way.dim, _first_halves(way.members, paths))
            gains[way.dim, relative] += round(1000 * gain)
    (dim, relative), best = max(gains.items(), key=lambda item: (item[1], -len(item[0][1])), default=((0, ()), 0))
    if best <= 0 and not ((gains or parts == KEPT) and blocks.says_joined([groups[n] for n in weights], parts)):
        return
    for name in names:
        members = tuple(groups[name][p] for p in parts)
        if relative:
            extra = blocks.neighbour(members[0], relative)
            if extra is None:
                continue
            members = (*members, extra)
        word = "".join(parts) + ("_mlp" if relative else "")
        yield members, min(dim, len(members[0].shape) - 1), filled(name, word)  # biases lack the dimension `in`


def _biases(
    names: list[Hole],
    groups: dict[Hole, dict[str, Leaf]],
    parts: tuple[str, ...],
    blocks: Blocks,
    gone: Mapping[int, Leaf | None],
) -> Iterator[tuple[tuple[Leaf, ...], Hole]]:
    """The biases of a family whose weights are not joined, if the other side's fused ones ask for them."""
    biases = [name for name in names if len(groups[name][parts[0]].shape) == 1]
    taken = Counter(leaf.shape for leaf in gone.values() if leaf is not None)
    if biases and blocks.called_fused([groups[name] for name in biases], parts, taken):
        for name in biases:
            yield tuple(groups[name][p] for p in parts), filled(name, "".join(parts))


def _sample(names: list[Hole]) -> list[Hole]:
    return names if len(names) <= 3 else [names[0], names[len(names) // 2], names[-1]]


def _ways(
    group: dict[str, Leaf], parts: tuple[str, ...], mine: Counter[Shape], theirs: Counter[Shape], blocks: Blocks
) -> Iterator[tuple[_Way, Hole]]:
    members = tuple(group[p] for p in parts)
    for dim in range(len(members[0].shape)):
        joined = joined_shape([m.shape for m in members], dim)
        if joined is not None and theirs[joined] > mine[joined]:
            yield _Way(members, dim), ()
    if parts != PARTS[0]:
        return
    plain = joined_shape([m.shape for m in members], 0)
    for relative, leaf in blocks.neighbours(members[0]):
        if leaf in members or leaf.shape == members[0].shape:
            continue
        joined = joined_shape([m.shape for m in (*members, leaf)], 0)
        if joined is None or theirs[joined] <= mine[joined] or blocks.has_qkv((*members, leaf), plain):
            continue
        yield _Way((*members, leaf), 0), relative


def _join(members: tuple[Leaf, ...], dim: int, path: Hole, gone: dict[int, Leaf | None]) -> None:
    joined = joined_shape([m.shape for m in members], dim)
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
        guessed=any(m.guessed for m in members),
    )


def _first_halves(members: Sequence[Leaf], paths: Mapping[Hole, Leaf]) -> list[Leaf]:
    """The first halves of the adapters whose second halves these are, all of one shape; [] where they are not all."""
    halves = [first_half(member.path) for member in members]
    first = [paths[half] for half in halves if half is not None and half in paths]
    return first if len(first) == len(members) and len({leaf.shape for leaf in first}) == 1 else []


def _share(members: Sequence[Leaf], path: Hole, paths: Mapping[Hole, Leaf], gone: dict[int, Leaf | None]) -> None:
    """Fold the first halves of adapters, whose second halves are joined, into one leaf that serves them all."""
    first, common = _first_halves(members, paths), first_half(path)
    if common is None or not first or any(id(leaf) in gone for leaf in first):
        return
    gone.update((id(leaf), None) for leaf in first)
    keys = tuple(key for leaf in first for key in leaf.keys)
    gone[id(first[0])] = replace(first[0], path=common, keys=keys, ops=(*first[0].ops, SHARED))
