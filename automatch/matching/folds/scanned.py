"""Layers that one side stacks along a dimension of their own (flax' `nn.scan`) and the other keeps in a list.

What differs inside a layer (transposed kernels, heads apart, parts laid on each other) can only be seen without that
dimension, which is the first, or the second as T5X and MaxText have it. So both sides are compared as if they had one
such layer, and get the dimension back afterwards. It is done for a whole scope of stacked tensors and a whole list,
where their numbers and sizes leave no doubt; no single tensor that happens to be as long as a list is taken apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from automatch.matching.basis.leaves import Leaf, Path, numbered, squeeze

LEAST = 4
"""So many kinds of tensors have a scope and a list at least."""

EXPLAINED = 0.8
"""So many of the stacked tensors, and of those of a layer, must have a counterpart of as many elements."""

Unify = Callable[[list[Leaf], list[Leaf]], tuple[list[Leaf], list[Leaf]]]


@dataclass(frozen=True, slots=True)
class _Scope:
    """Tensors below one path that are all stacked along one dimension, the first or the second, of one length."""

    path: Path
    axis: int
    layers: int
    leaves: tuple[Leaf, ...]

    def elements(self) -> list[int]:
        """How many elements one layer of each has."""
        return [prod(leaf.raw) // self.layers for leaf in self.leaves]


@dataclass(frozen=True, slots=True)
class _List:
    """A list of equal items: for each kind of tensor its members in the order of the items."""

    layers: int
    kinds: tuple[tuple[Leaf, ...], ...]

    def elements(self) -> list[int]:
        """How many elements each tensor of an item has."""
        return [prod(members[0].raw) for members in self.kinds]


@dataclass(frozen=True, slots=True)
class _Group:
    """Scopes of one side and lists of the other that hold as many layers, and the same ones."""

    layers: int
    scopes: tuple[_Scope, ...]
    lists: tuple[_List, ...]

    def leaves(self) -> Iterator[Leaf]:
        """All tensors of both sides."""
        for scope in self.scopes:
            yield from scope.leaves
        for own in self.lists:
            for members in own.kinds:
                yield from members

    def sides(self) -> tuple[list[Leaf], list[Leaf]]:
        """One layer of the stacks, and one of the lists."""
        stacked = [leaf for scope in self.scopes for leaf in _one_of_a_stack(scope)]
        return stacked, [leaf for own in self.lists for leaf in _one_of_a_list(own)]


def unify_scanned(source: list[Leaf], target: list[Leaf], unify: Unify) -> tuple[list[Leaf], list[Leaf]]:
    """Bring both sides into one form, stacked layers and lists of them as single layers.

    Args:
        source: leaves of one side.
        target: leaves of the other side.
        unify: brings two sides into one form.

    Returns:
        Both sides, in order.
    """
    groups = [(group, False) for group in _groups(source, target)]
    groups += [(group, True) for group in _groups(target, source)]
    if not groups:
        return unify(source, target)
    gone = {id(leaf) for group, _ in groups for leaf in group.leaves()}
    rest = unify([s for s in source if id(s) not in gone], [t for t in target if id(t) not in gone])
    sides = list(rest[0]), list(rest[1])
    for group, backwards in groups:
        stacked, apart = group.sides()
        for side, leaves in zip(sides, unify(apart, stacked) if backwards else unify(stacked, apart), strict=True):
            side += [replace(leaf, shape=(group.layers, *leaf.shape), layers=group.layers) for leaf in leaves]
    return sorted(sides[0], key=lambda leaf: leaf.place), sorted(sides[1], key=lambda leaf: leaf.place)


def _one_of_a_stack(scope: _Scope) -> Iterator[Leaf]:
    """The first layer of a stack, numbered as in a list: what goes through a number is taken for a repeated block."""
    for leaf in scope.leaves:
        path = (*scope.path, "0", *leaf.path[len(scope.path) :])
        shape = squeeze((*leaf.raw[: scope.axis], *leaf.raw[scope.axis + 1 :]))
        yield replace(leaf, path=path, shape=shape, layers=scope.layers, axis=scope.axis)


def _one_of_a_list(own: _List) -> Iterator[Leaf]:
    """The first item of a list, with the keys of all."""
    for members in own.kinds:
        keys = tuple(member.keys[0] for member in members)
        yield replace(members[0], shape=squeeze(members[0].raw), keys=keys, layers=own.layers)


def _groups(stacked: Sequence[Leaf], apart: Sequence[Leaf]) -> Iterator[_Group]:
    """Scopes of one side with the lists of the other that hold the same layers, by the number of these.

    Where more of one side agree, lists or scopes with some of the same tensors follow: a copy that lacks its biases.
    """
    lists = list(_lists(apart))
    known = {leaf.raw for leaf in apart}
    both = {(leaf.path, leaf.raw) for leaf in apart} if lists else set()  # a router beside its experts is no stack
    stacked = [leaf for leaf in stacked if (leaf.path, leaf.raw) not in both]
    scopes = [s for s in _scopes(stacked, {own.layers for own in lists}) if not _known(s, known)] if lists else []
    for layers in dict.fromkeys(scope.layers for scope in scopes):
        shares = {
            (i, j): _agreement(scope, own)
            for i, scope in enumerate(scopes)
            for j, own in enumerate(lists)
            if scope.layers == own.layers == layers
        }
        alike = [at for at, share in shares.items() if min(share) >= EXPLAINED and len(lists[at[1]].kinds) >= LEAST]
        mine, theirs = {i for i, _ in alike}, {j for _, j in alike}
        if len(mine) > len(theirs):
            theirs |= {j for (i, j), share in shares.items() if i in mine and share[1] >= EXPLAINED}
        elif len(mine) < len(theirs):
            mine |= {i for (i, j), share in shares.items() if j in theirs and share[0] >= EXPLAINED}
        if mine:
            yield _Group(layers, tuple(scopes[i] for i in sorted(mine)), tuple(lists[j] for j in sorted(theirs)))


def _known(scope: _Scope, shapes: set[tuple[int, ...]]) -> bool:
    """Does the other side have most of these tensors stacked as well?"""
    return 2 * sum(leaf.raw in shapes for leaf in scope.leaves) > len(scope.leaves)


def _scopes(leaves: Sequence[Leaf], lengths: set[int]) -> Iterator[_Scope]:
    """The widest scopes in which all tensors have one first dimension, as long as a list of the other side."""
    below: dict[Path, list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        for end in range(len(leaf.path)):
            below[leaf.path[:end]].append(leaf)
    taken: set[int] = set()
    for axis in (0, 1):
        uniform = {
            scope: own
            for scope, own in below.items()
            if len(own) >= LEAST and not numbered(scope) and _length(own, axis) in lengths
        }
        for scope, own in uniform.items():
            if (not scope or scope[:-1] not in uniform) and taken.isdisjoint(map(id, own)):
                taken.update(map(id, own))
                yield _Scope(scope, axis, _length(own, axis), tuple(own))


def _length(leaves: Sequence[Leaf], axis: int) -> int:
    """How long a dimension of all tensors is; 0 where they differ in that."""
    lengths = {leaf.raw[axis] if axis < len(leaf.raw) else 0 for leaf in leaves}
    return lengths.pop() if len(lengths) == 1 else 0


def _lists(leaves: Sequence[Leaf]) -> Iterator[_List]:
    """The outermost lists of equal items, numbered from 0."""
    items: dict[Path, dict[str, dict[Path, Leaf]]] = defaultdict(lambda: defaultdict(dict))
    for leaf in leaves:
        for hole, token in enumerate(leaf.path):
            if token.isdecimal():
                items[leaf.path[:hole]][token][leaf.path[hole + 1 :]] = leaf
    taken: set[Path] = set()
    for prefix, own in sorted(items.items(), key=lambda item: len(item[0])):
        layers = len(own)
        inside = any(prefix[:end] in taken for end in range(len(prefix)))
        if inside or layers < 2 or any(str(i) not in own for i in range(layers)):
            continue
        taken.add(prefix)
        rows = [own[str(i)] for i in range(layers)]
        everything = {(suffix, leaf.raw) for row in rows for suffix, leaf in row.items()}
        kinds = tuple(
            tuple(row[suffix] for row in rows)
            for suffix, first in rows[0].items()
            if not first.integer and all(suffix in row and row[suffix].raw == first.raw for row in rows)
        )
        if kinds and len(kinds) >= EXPLAINED * len(everything):
            yield _List(layers, kinds)


def _agreement(scope: _Scope, own: _List) -> tuple[float, float]:
    """Which share of the tensors of a scope, and of a list, has a counterpart of as many elements on the other side.

    Tensors of a list that are one of the scope (gate and up; query, key and value; experts) are counterparts of it.
    """
    theirs, mine = Counter(scope.elements()), Counter(own.elements())
    whole = theirs.total(), mine.total()
    both = theirs & mine
    theirs, mine = theirs - both, mine - both
    for size in sorted(theirs.elements(), reverse=True):
        parts = next((p for p in _sums(size, mine) if not Counter(p) - mine), None)
        if parts is not None:
            theirs[size] -= 1
            mine -= Counter(parts)
    return 1 - theirs.total() / whole[0], 1 - mine.total() / whole[1]


def _sums(size: int, mine: Counter[int]) -> Iterator[tuple[int, ...]]:
    """Sizes that make up another one: some that are alike, or two that are and one more."""
    for one, count in mine.items():
        if 0 < one < size and size % one == 0 and size // one <= count:
            yield (one,) * (size // one)
    for single in mine:
        if size > single and (size - single) % 2 == 0:
            yield single, (size - single) // 2, (size - single) // 2
