"""Tensors that differ in one index and are a stack on the other side: experts of a layer, critics of an ensemble."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from automatch.describing.tokens import ROLES, stem_index, words_of
from automatch.matching.basis.leaves import Leaf, see_as, template
from automatch.matching.layouts.orders import is_kernel
from automatch.matching.layouts.stored import STACK, named, orientations, tail
from automatch.spec import Shape

STACKED = 3
"""Matrices in a stack have so many dimensions."""


@dataclass(frozen=True, slots=True)
class _Family:
    """Stacks that could be made of the tensors of one name.

    Attributes:
        hole: which token of the path counts the members.
        stacks: the members of each stack, in order.
        straight: the other side has such stacks.
        turned: it has stacks of the members in the other layout, [in, out].
    """

    hole: int
    stacks: list[list[Leaf]]
    straight: bool
    turned: bool


def fold_stacks(leaves: list[Leaf], others: list[Leaf]) -> list[Leaf]:
    """Fold tensors that differ in one index into a virtual stack where the other side has it stacked."""
    _without_ones(others, Counter(leaf.shape for leaf in leaves))
    once = _folded(leaves, others, {leaf.shape for leaf in leaves})
    made = {leaf.shape for leaf in once if "stack" in leaf.ops}
    return _folded(once, others, made) if made else once  # of a stack's shape there are fewer left than there seemed


def _folded(leaves: list[Leaf], others: list[Leaf], shapes: set[Shape]) -> list[Leaf]:
    """The leaves with those of some shapes folded that the other side has stacked."""
    mine = Counter(leaf.shape for leaf in leaves)
    theirs = Counter(leaf.shape for leaf in others if not _is_table(leaf))
    looked_at = [leaf for leaf in leaves if leaf.shape in shapes and "stack" not in leaf.ops]
    called = {(leaf.path[-1], leaf.shape) for leaf in others if len(leaf.shape) == 1}
    families = [f for f in _families(looked_at, mine, theirs, called) if not _listed(f, others)]
    families += _glued_families(looked_at, others, mine, theirs, families)
    families = _without_crowds(families, others, mine, theirs)
    if not families:
        return leaves
    matrices = [family for family in families if len(family.stacks[0][0].shape) == 2]
    turns = sum(f.turned - f.straight for f in matrices)  # a square one does not show it, and goes with the others
    turns = turns or _of_kernels(matrices, others) or _by_number(matrices, mine, theirs)
    turns = turns or (_unlike(matrices, leaves, others) if matrices else 0)
    bare = {leaf.shape for leaf in others if len(leaf.shape) == 3 and leaf.path[-1] not in ROLES}
    gone: dict[int, Leaf | None] = {}
    for family in families:
        turn = family.turned and (not family.straight or turns > 0)
        for stack in family.stacks:
            gone.update((id(m), None) for m in stack)
            first = min(stack, key=lambda m: m.place)
            joined = _joined(first, stack, family.hole, turn)
            square = family.turned and family.straight and first.shape == first.shape[::-1]
            joined.guessed = square and not turns and joined.shape in bare
            gone[id(first)] = joined
    return [kept for leaf in leaves if (kept := gone.get(id(leaf), leaf)) is not None]


_TABLE = frozenset({"embedding", "embeddings", "embed", "emb"})


def _is_table(leaf: Leaf) -> bool:
    """Is it called an embedding? The two rows of a token type's are no norms of two layers."""
    return len(leaf.shape) == 2 and any(word in _TABLE for token in leaf.path for word in words_of(token))


def _by_number(matrices: Sequence[_Family], mine: Counter[Shape], theirs: Counter[Shape]) -> int:
    """Whether all stacks find their own on the other side in one layout only: above 0 where it is the other one.

    Of experts' gate, up and down the other side may hold one [experts, in, 2 * out] and one [experts, out, in].
    """
    layers = {len(family.stacks) for family in matrices}
    if len(layers) != 1 or not all(family.straight and family.turned for family in matrices):
        return 0
    each = layers.pop()
    left: list[int] = []
    for step in (1, -1):
        stacks: Counter[Shape] = Counter((len(f.stacks[0]), *f.stacks[0][0].shape[::step]) for f in matrices)
        there: Counter[Shape] = Counter(
            {shape: (theirs[shape] - mine[shape]) // each for shape in theirs if len(shape) == 3}
        )
        whole = stacks & there
        stacks -= whole
        for count, rows, columns in (there - whole).elements():
            halves = [half for half in ((count, rows // 2, columns), (count, rows, columns // 2)) if stacks[half] > 1]
            if halves and 2 * math.prod(halves[0]) == count * rows * columns:
                stacks[halves[0]] -= 2
        left.append(stacks.total())
    return (not left[1]) - (not left[0])


def _of_kernels(matrices: Sequence[_Family], others: Sequence[Leaf]) -> int:
    """Whether the other side's stacks are kernels, which lie [in, out], and this side's matrices not: above 0 if so.

    What has the name of a matrix shows how it lies in truth.
    """
    called: dict[str, set[Shape]] = defaultdict(set)
    for leaf in others:
        if len(leaf.shape) == STACKED and is_kernel(leaf):
            called[_called(leaf)].add(leaf.shape)
    if not called or any(is_kernel(stack[0]) for family in matrices for stack in family.stacks):
        return 0
    votes, fits = 0, False
    for family in matrices:
        first, count = family.stacks[0][0], len(family.stacks[0])
        standing, lying = (count, *first.shape), (count, *first.shape[::-1])
        own = called.get(_called(first), set())
        votes += (lying in own) - (standing in own)
        fits = fits or any(lying in shapes for shapes in called.values())
    return votes or int(fits)


def _unlike(matrices: Sequence[_Family], leaves: Sequence[Leaf], others: Sequence[Leaf]) -> int:
    """Whether biases, or else names, show the other side's stacks to be of the other layout: above 0 if so.

    Experts lead up and down, and of either layout the other side has a stack of such a shape.
    """
    items = {leaf.path[:-1] for f in matrices for stack in f.stacks for leaf in stack}
    standing = orientations(leaf for leaf in leaves if leaf.path[:-1] in items)
    lying = orientations(leaf for leaf in others if "stack" not in leaf.ops)
    sign = sum(standing.values()) * sum(n for (kind, _), n in lying.items() if kind == STACK)
    if sign:
        return -sign
    called = named(leaf for leaf in others if len(leaf.shape) == 3)
    votes = 0
    for family in matrices:
        first = family.stacks[0][0]
        count, path = len(family.stacks[0]), (*first.path[: family.hole], *first.path[family.hole + 1 :])
        shapes = called.get(tail(path), set())
        votes += ((count, *first.shape[::-1]) in shapes) - ((count, *first.shape) in shapes)
    return votes


def _families(
    leaves: list[Leaf], mine: Counter[Shape], theirs: Counter[Shape], called: Collection[tuple[str, Shape]]
) -> Iterator[_Family]:
    """`called`: names and shapes of the other side's vectors; numbers make one of their own name only."""
    counts = {shape[0] for shape in theirs if shape}
    counted = _experts(leaves)
    by_template: dict[tuple[tuple[str, ...], Shape], list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        if not leaf.integer and mine[leaf.shape] > theirs[leaf.shape]:
            by_template[(template(leaf.path), leaf.shape)].append(leaf)
    for (name, shape), members in by_template.items():
        holes = [i for i, token in enumerate(name) if token == "#"]
        for hole in reversed(holes):
            stacks = lists_of(members, hole)
            count = len(stacks[0]) if stacks else 0
            if count < 2 or count not in counts or any(len(s) != count for s in stacks):
                continue
            inside = (
                own for path, own in counted.items() if path[:-1] == name[: len(path) - 1] and hole < len(path) - 1
            )
            if any(len(own) == count for own in inside):
                continue  # as many layers as experts, which are counted in a name
            straight = _is_known((count, *shape), mine, theirs) and (shape != () or (name[-1], (count,)) in called)
            turned = len(shape) == 2 and _is_known((count, *shape[::-1]), mine, theirs)
            if straight or turned:
                yield _Family(hole, stacks, straight, turned)
                break


def _experts(leaves: Sequence[Leaf]) -> dict[tuple[str, ...], set[int]]:
    """The numbers of experts that are counted in a name, as `expert_0`, by what leads to them in all layers."""
    out: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for leaf in leaves:
        for at, token in enumerate(leaf.path[:-1]):
            if "expert" in token and (found := stem_index(token)) is not None:
                above = (*template(leaf.path[:at]), found[0])
                out[above].add(found[1])
    return out


def _called(leaf: Leaf) -> str:
    """The last name of a module's path that is no number."""
    names = (token for token in reversed(leaf.path[:-1]) if not token.isdecimal() and "expert" not in token)
    return next(names, "")


def _glued_families(
    leaves: list[Leaf], others: Sequence[Leaf], mine: Counter[Shape], theirs: Counter[Shape], told: Sequence[_Family]
) -> list[_Family]:
    """Stacks of modules whose number is part of a name: the critics `Q1` and `Q2`, `attention_0` to `attention_7`.

    Vectors go along with the matrices of their modules: norms are numbered too, and are no table. What the other side
    has under its own name is no member.
    """
    taken = {id(leaf) for family in told for stack in family.stacks for leaf in stack}
    names = {(leaf.path, leaf.shape) for leaf in others}
    groups: dict[tuple[int, tuple[str, ...], Shape], dict[int, list[Leaf]]] = defaultdict(lambda: defaultdict(list))
    for leaf in leaves:
        wanted = not leaf.integer and id(leaf) not in taken and mine[leaf.shape] > theirs[leaf.shape]
        for i, token in enumerate(leaf.path[:-1] if wanted else ()):
            found = stem_index(token)
            if found is not None and found[0]:
                groups[i, (*leaf.path[:i], found[0], *leaf.path[i + 1 :]), leaf.shape][found[1]].append(leaf)
    families: list[_Family] = []
    items: set[tuple[str, ...]] = set()
    for (hole, _, shape), group in sorted(groups.items(), key=lambda item: -len(item[0][2])):
        stack = [leaf for number in sorted(group) for leaf in group[number]]
        own = {leaf.path[: hole + 1] for leaf in stack}
        ways = (len(stack), *shape), (len(stack), *shape[::-1])
        straight, turned = (theirs[joined] > mine[joined] for joined in ways)
        turned = turned and len(shape) == 2
        if not (straight or turned) or not _is_counted(group) or taken & set(map(id, stack)):
            continue
        if (len(shape) > 1 or own <= items) and not any((leaf.path, leaf.shape) in names for leaf in stack):
            families.append(_Family(hole, [stack], straight, turned))
            taken.update(map(id, stack))
            items |= own
    return families


def _is_counted(group: Mapping[int, Sequence[Leaf]]) -> bool:
    """Are these several, counted from 0 or 1 on, each number once and without a gap?"""
    first = min(group)
    each_once = all(len(leaves) == 1 for leaves in group.values())
    return len(group) > 1 and first <= 1 and each_once and sorted(group) == list(range(first, first + len(group)))


def _without_crowds(
    families: list[_Family], others: Sequence[Leaf], mine: Counter[Shape], theirs: Counter[Shape]
) -> list[_Family]:
    """The families without those of vectors that want one stack together: the two rows of a table are none of them.

    Where some are called like the stack, it is theirs, if there are not too many of them. Of matrices, where the
    experts of all layers fill the stacks of the other side, as many layers are no further one.
    """
    wanting: dict[Shape, list[_Family]] = defaultdict(list)
    for family in families:
        members = family.stacks[0]
        joined = (len(members), *members[0].shape)
        if len(joined) == 2:
            wanting[joined].append(family)
    crowds = set(map(id, _beyond_the_experts(families, mine, theirs)))
    for joined, own in wanting.items():
        there = theirs[joined] - mine[joined]
        ends = {leaf.path[-1] for leaf in others if leaf.shape == joined}
        named = [family for family in own if family.stacks[0][0].path[-1] in ends]
        if there <= 0 or sum(len(family.stacks) for family in own) <= there:
            continue
        kept = named if sum(len(family.stacks) for family in named) <= there else []
        crowds.update(id(family) for family in own if family not in kept)
    return [family for family in families if id(family) not in crowds]


def _beyond_the_experts(families: Sequence[_Family], mine: Counter[Shape], theirs: Counter[Shape]) -> Iterator[_Family]:
    """Families of one stack where others, of a stack for every layer, take all that the other side has."""
    full: Counter[Shape] = Counter()
    for family in families:
        first = family.stacks[0][0].shape
        if len(first) == 2 and len(family.stacks) > 1:
            full[tuple(sorted((len(family.stacks[0]), *first)))] += len(family.stacks)
    there: Counter[Shape] = Counter()
    for shape, n in theirs.items():
        there[tuple(sorted(shape))] += n - mine[shape]
    for family in families:
        kind = tuple(sorted((len(family.stacks[0]), *family.stacks[0][0].shape)))
        if len(family.stacks) == 1 and full[kind] and full[kind] >= there[kind]:
            yield family


def _listed(family: _Family, others: list[Leaf]) -> bool:
    """Has the other side a list of this name, item by item, wrappers of an item apart?"""
    first = family.stacks[0][0]
    name = template(first.path)[max(family.hole - 1, 0) : family.hole + 1]
    same = 0
    for leaf in others:
        if leaf.shape == first.shape and leaf.path[-1] == first.path[-1]:
            path = template(leaf.path)
            same += any(path[at : at + len(name)] == name for at in range(len(path)))
    return same >= sum(map(len, family.stacks))


def _joined(first: Leaf, members: list[Leaf], hole: int, turn: bool) -> Leaf:
    """The stack of some leaves, at the place of the first."""
    item = _turned(first) if turn else first
    return replace(
        item,
        path=(*first.path[:hole], *_stem(first.path[hole]), *first.path[hole + 1 :]),
        shape=(len(members), *item.shape),
        keys=tuple(key for member in members for key in member.keys),
        ops=(*item.ops, "stack"),
        dim=0,
    )


def _stem(token: str) -> tuple[str, ...]:
    """What is left of a token without the number that counts it; nothing of a number."""
    found = stem_index(token)
    return () if found is None or token.isdecimal() else (found[0].rstrip("_") or token,)


def _turned(leaf: Leaf) -> Leaf:
    """A matrix in the other layout, in which the other side stacks its like."""
    if leaf.perm == (1, 0) and leaf.ops[-1:] == ("transpose",):
        return replace(leaf, shape=leaf.shape[::-1], ops=leaf.ops[:-1], perm=None)
    return replace(leaf, shape=leaf.shape[::-1], ops=(*leaf.ops, "transpose"), perm=(1, 0))


def _without_ones(leaves: list[Leaf], theirs: Counter[Shape]) -> None:
    """Stacks [n, 1, d] of what the other side has as vectors [d] are taken as [n, d] (in place)."""
    for leaf in leaves:
        if len(leaf.shape) == 3 and leaf.shape[1] == 1 and not leaf.ops and not theirs[leaf.shape]:
            count, one, size = leaf.shape
            if theirs[(size,)] >= count and ("bias" in words_of(leaf.path[-1]) or not theirs[one, size]):
                see_as(leaf, (count, size))


def _is_known(joined: Shape, mine: Counter[Shape], theirs: Counter[Shape]) -> bool:
    return theirs[joined] > mine[joined] or _half_known(joined, mine, theirs)


def _half_known(joined: Shape, mine: Counter[Shape], theirs: Counter[Shape]) -> bool:
    """Is the stack one half of a known fused stack (gate and up side by side)?"""
    for dim in range(1, len(joined)):
        doubled = (*joined[:dim], 2 * joined[dim], *joined[dim + 1 :])
        if theirs[doubled] > mine[doubled]:
            return True
    return False


def lists_of(members: list[Leaf], hole: int) -> list[list[Leaf]]:
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
