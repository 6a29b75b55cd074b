"""Does a block look more like one of the other side's blocks when some of its tensors are joined?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache

from automatch.describing.lexicon import lexicon
from automatch.describing.tokens import words_of
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.parts import GATED, PARTS, Hole, groups_of, joined_shape, role_in
from automatch.matching.basis.units import block_of
from automatch.spec import Shape


def _around(path: Path) -> Path:
    """The innermost numbered block around the module of a leaf; () outside of blocks."""
    return block_of(path[:-2])


def _blocks(path: Path) -> Iterator[int]:
    """Where in a path numbered blocks end: `layers.0`, and `layer_0` if there are modules in it."""
    for i, token in enumerate(path):
        if token.isdecimal() or (token[-1:].isdecimal() and i < len(path) - 2):
            yield i + 1


@lru_cache(maxsize=1 << 16)
def _is_qkv(token: str) -> bool:
    words, known = words_of(token), lexicon().words
    return any("qkv" in known.get(word, ()) for word in ("".join(words), *words))


class Blocks:
    """The blocks of both sides as multisets of shapes: does a fold make a block look like one of theirs?"""

    def __init__(self, leaves: list[Leaf], others: list[Leaf]) -> None:
        self._others = others
        self._paired = {id(leaf) for group in groups_of(leaves, GATED).values() for leaf in group.values()}
        self._mine: dict[Path, list[Leaf]] = defaultdict(list)
        for leaf in leaves:
            self._mine[_around(leaf.path)].append(leaf)
        self._biases = {leaf.path[:-1]: leaf.shape for leaf in leaves if leaf.path[-1] == "bias"}
        named: dict[Path, set[Shape]] = defaultdict(set)
        bags: dict[Path, Counter[Shape]] = defaultdict(Counter)
        for leaf in others:
            for end in _blocks(leaf.path):
                bags[leaf.path[:end]][leaf.shape] += 1
                if any(_is_qkv(t) for t in leaf.path[end - 1 :]):
                    named[leaf.path[:end]].add(leaf.shape)
        self._apart = Counter(leaf.shape for leaf in leaves if role_in(leaf.path) is not None)
        self._apart.subtract(leaf.shape for leaf in others if role_in(leaf.path) is not None)
        self._fused = Counter(leaf.shape for leaf in others if any(map(_is_qkv, leaf.path[-2:])))
        roles = ((role_in(leaf.path), leaf.shape) for leaf in others)
        self._said = Counter((found[1], shape) for found, shape in roles if found is not None)
        whole = Counter(leaf.shape for leaf in others)
        unique = {frozenset(bag.items()): bag for bag in bags.values()}
        self._theirs = [(bag, sum(bag.values())) for bag in unique.values()] or [(whole, len(others))]
        self._named = [(bag, sum(bag.values()), named[path]) for path, bag in bags.items() if named[path]]
        self._whole = [(whole, len(others))]

    def neighbours(self, leaf: Leaf) -> list[tuple[Hole, Leaf]]:
        """The other leaves of the block that play the same role in their modules, by relative path.

        Not those of a gate and an up: they have a fold of their own.
        """
        prefix = _around(leaf.path)
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
        joined = joined_shape([m.shape for m in members], 0)
        bag: Counter[Shape] = Counter(leaf.shape for leaf in self._mine[_around(members[0].path)])
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
        wanted = Counter(joined_shape([group[p].shape for p in parts], 0) for group in groups)
        members = Counter(group[p].shape for group in groups for p in parts)
        return (
            parts == PARTS[0]
            and all(self._fused[shape] - taken[shape] >= n for shape, n in wanted.items() if shape is not None)
            and all(self._apart[shape] >= n for shape, n in members.items())
        )

    def says_joined(self, groups: Sequence[dict[str, Leaf]], parts: tuple[str, ...]) -> bool:
        """Does the other side call as many tensors of the joined shape by what the parts are together: `kv`?

        Not where it keeps any such parts apart: these might be the groups'.
        """
        shapes = {joined_shape([group[part].shape for part in parts], 0) for group in groups}
        shape = shapes.pop() if len(shapes) == 1 else None
        if shape is None or groups_of(self._others, parts):
            return False
        return (self._fused[shape] if parts == PARTS[0] else self._said["".join(parts), shape]) == len(groups)

    def gain(self, members: Sequence[Leaf], dim: int, shared: Sequence[Leaf] = ()) -> float:
        """How much more the block looks like one of the other side's blocks with the members joined (Dice).

        `shared` are tensors that become one as they are.
        """
        before, after = self._likeness(members, dim, shared)
        return after - before

    def likeness(self, members: Sequence[Leaf]) -> float:
        """How much the block looks like one of the other side's blocks with the members joined (Dice)."""
        return self._likeness(members, 0, with_biases=False)[1]

    def _likeness(
        self, members: Sequence[Leaf], dim: int, shared: Sequence[Leaf] = (), with_biases: bool = True
    ) -> tuple[float, float]:
        """How much a block looks like the other side's, as it is and with members joined."""
        joined = joined_shape([m.shape for m in members], dim)
        prefix = _around(members[0].path)
        bag: Counter[Shape] = Counter(leaf.shape for leaf in self._mine[prefix])
        theirs = self._theirs if prefix else self._whole + self._theirs
        before = _best(bag, theirs)
        bag.subtract(m.shape for m in members)
        assert joined is not None
        bag[joined] += 1
        biases = [self._biases.get(m.path[:-1]) for m in members if with_biases and m.path[-1] != "bias"]
        own = [shape for shape in biases if shape is not None]
        both = joined_shape(own, 0) if own and len(own) == len(members) else None
        if both is not None:  # they go with their weights
            bag.subtract(own)
            bag[both] += 1
        if shared:
            bag.subtract(m.shape for m in shared[1:])
        return before, _best(+bag, theirs)


def _best(bag: Counter[Shape], others: Sequence[tuple[Counter[Shape], int]]) -> float:
    """How much a block looks like the one of the others that it looks like most (Dice)."""
    size = sum(bag.values())
    best = 0.0
    for other, count in others:
        shared = sum(min(n, other[s]) for s, n in bag.items() if s in other)
        best = max(best, 2.0 * shared / (size + count))
    return best
