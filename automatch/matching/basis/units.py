"""Modules as they are matched: weight, bias and statistics travel together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from automatch.describing.tokens import ROLES, words_of
from automatch.describing.tree import Node
from automatch.matching.basis.adapters import SECOND, half_of
from automatch.matching.basis.leaves import Leaf, has_digits
from automatch.matching.basis.names import Names, Word
from automatch.matching.basis.parts import role_in
from automatch.spec import Shape

_CANON = {
    "a_2": "weight",
    "b_2": "bias",
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "weights": "weight",
    "gamma": "weight",
    "w": "weight",
    "g": "weight",
    "scale": "weight",
    "beta": "bias",
    "biases": "bias",
    "b": "bias",
    "offset": "bias",
    "shift": "bias",
    "moving_mean": "running_mean",
    "mean": "running_mean",
    "stored_mean": "running_mean",
    "moving_variance": "running_var",
    "var": "running_var",
    "stored_var": "running_var",
    "original0": "weight_g",
    "original1": "weight_v",
}


_MAIN = ("weight", "weight_v", "weight_orig", "*", SECOND)
Sort = tuple[bool, Shape]
"""Whether it is a bias alone, and its shape."""


@dataclass(slots=True)
class Unit:
    """One module and the leaves it holds, by role; a bare parameter has the role `*`.

    `rank` of `peers` modules that are called alike, by their `numbers`, `falling` if the first of them stands last,
    `steady` if they stand in the order of these; `grid` if several numbers tell them apart: `cells` are the
    numbers of all of them, `turned` the same turned round. `turn`: the first (1) or the second (2) `of`
    two, or of three norms, 0 for others; `placed` if a word of its name says so. `further`: whether it is the one of
    two projections of one part that is called by more (`k_img` beside `k`); None for others. `full` is the path from
    the root on, `told` the one in the scope with the name of what stands beside the module.
    """

    path: tuple[str, ...]
    words: tuple[Word, ...]
    leaves: dict[str, Leaf] = field(default_factory=dict)
    place: int = 0
    rank: int = 0
    peers: int = 1
    falling: bool = False
    numbers: tuple[int, ...] = ()
    grid: bool = False
    cells: frozenset[tuple[int, ...]] = frozenset()
    turned: frozenset[tuple[int, ...]] = frozenset()
    steady: bool = True
    turn: int = 0
    of: int = 2
    placed: bool = False
    further: bool | None = None
    full: tuple[str, ...] = ()
    told: tuple[str, ...] = ()

    def main(self) -> Sort | None:
        """What stands for the module in the order of shapes: the shape of its weight, or of what it has without one.

        A bias alone is no norm: the rest of its module is missing, which has another shape.
        """
        for role in _MAIN:
            if role in self.leaves and not self.leaves[role].integer:
                return False, self.leaves[role].shape
        for leaf in self.leaves.values():
            if not leaf.integer:
                return self.leaves.keys() == {"bias"}, leaf.shape
        return None

    @property
    def of_batches(self) -> bool:
        """Whether it is a norm that keeps running statistics."""
        return not _RUNNING.isdisjoint(self.leaves)


_RUNNING = frozenset({"running_mean", "running_var", "num_batches_tracked"})


@dataclass(frozen=True, slots=True)
class Context:
    """What `assign_units` may know about the whole.

    Attributes:
        names: compares words.
        order_trust: in [0, 1]; small where one side is sorted by name.
        astray: 0 where two left-over leaves lie in modules that belong together, 1 where they lie in
            other containers, 2 where they are parts of other modules.
        learnt: (path of a checkpoint module in its block, path of a model module) -> support.
        same: says whether two full paths are one and the same name, wrappers apart.
        forbidden: says whether two leaves must not be put together.
    """

    names: Names
    order_trust: float
    learnt: Callable[[tuple[str, ...], tuple[str, ...]], float]
    forbidden: Callable[[Leaf, Leaf], bool] | None = None
    same: Callable[[tuple[str, ...], tuple[str, ...]], bool] | None = None
    astray: Callable[[Leaf, Leaf], int] | None = None

    @property
    def names_trust(self) -> float:
        """What names are worth before they are measured: all, or nothing where they are silent."""
        return 0.0 if self.names.silent else 1.0


@lru_cache(maxsize=1 << 16)
def module_path(path: tuple[str, ...]) -> tuple[str, ...]:
    """The path of the module that a leaf's path leads into; a bare parameter is a module of its own."""
    return path[: role_of(path)[0]]


_STATISTICS = frozenset("mean var variance mu sigma std avg average".split())


def is_no_statistic(one: Leaf, other: Leaf) -> bool:
    """Is one of two the running mean or variance of a norm, and the other called nothing of the kind?"""
    kept = [role_of(leaf.path)[1] in ("running_mean", "running_var") for leaf in (one, other)]
    return any(kept) and any(_STATISTICS.isdisjoint(words_of(leaf.path[-1])) for leaf in (one, other))


def block_of(module: tuple[str, ...]) -> tuple[str, ...]:
    """The innermost numbered container that a module stands in, itself included; () for none."""
    for depth in range(len(module), 0, -1):
        if module[depth - 1].isdecimal():
            return module[:depth]
    return ()


@lru_cache(maxsize=1 << 16)
def role_of(path: tuple[str, ...]) -> tuple[int, str]:
    """(length of the module's path, role of the leaf in it); asked of the same paths by one stage after the other."""
    last = path[-1]
    half = half_of(path)
    if half is not None:
        return half
    if last in ROLES and len(path) > 1:
        return len(path) - 1, _CANON.get(last, last)
    return len(path), "*"


def pair_leaves(a: Unit, b: Unit, ctx: Context) -> tuple[list[tuple[Leaf, Leaf]], float]:
    """Which leaves of two modules go together, and the share of them that fits (0: they must not)."""
    pairs: list[tuple[Leaf, Leaf]] = []
    left, right = dict(a.leaves), dict(b.leaves)
    for role in [r for r in left if r in right]:
        mine, theirs = left[role], right[role]
        if mine.shape != theirs.shape or mine.integer != theirs.integer or unlike(mine, theirs):
            return [], 0.0
        if ctx.forbidden is not None and ctx.forbidden(mine, theirs):
            return [], 0.0
        pairs.append((left.pop(role), right.pop(role)))
    for one, other in (("weight_orig", "weight"), ("weight", "weight_orig")):  # pruned or normalised on one side only
        if one in left and other in right and left[one].shape == right[other].shape:
            pairs.append((left.pop(one), right.pop(other)))
    pairs += _bare(left, right, ctx)
    if ctx.astray is not None and any(ctx.astray(m, t) == 2 for m, t in pairs):
        return [], 0.0
    solid = sum(not m.integer for m, _ in pairs)
    size = max(sum(not x.integer for x in a.leaves.values()), sum(not x.integer for x in b.leaves.values()))
    if solid < size and any(_is_table(m, t) for m, t in pairs):
        return [], 0.0  # an embedding [1, d] is no weight of a norm
    if solid == 1 < size and (_left_of_part(a, b, ctx.names) or _left_of_part(b, a, ctx.names)):
        return [], 0.0
    if not solid:  # counters alone
        steps = any(_counts_steps(m, t) for m, t in pairs)
        return (pairs, 1.0) if pairs and not size and not steps else ([], 0.0)
    return pairs, solid / size


def _counts_steps(one: Leaf, other: Leaf) -> bool:
    """Is one of two counters outside of all modules, as an `epoch` is, and the other a norm's?"""
    alone = [len(leaf.path) == 1 and not has_digits(leaf.path) for leaf in (one, other)]
    return any(alone) and not all(alone)


def is_mask(leaf: Leaf) -> bool:
    """Is a tensor a mask over pairs of places, as its name and its shape say? Such are made by the network.

    GPT-2 calls its own `bias`; a `mask` [1, 1, d] is a token.
    """
    if len(leaf.raw) < 2 or leaf.raw[-1] != leaf.raw[-2]:
        return False
    return words_of(leaf.path[-1])[-1:] in (("mask",), ("tril",)) or (leaf.path[-1] == "bias" and len(leaf.raw) == 4)


def unlike(m: Leaf, t: Leaf) -> bool:
    """Is one of two called a mask and the other not, or holds it whole numbers alone? A mask is no weight."""
    if is_mask(m) != is_mask(t):
        return True
    if m.whole == t.whole:
        return False
    roles = [role if role != "*" else leaf.path[-1] for leaf in (m, t) for _, role in (role_of(leaf.path),)]
    return roles[0] != roles[1]


def _left_of_part(bias: Unit, norm: Unit, names: Names) -> bool:
    """Is the one but the bias of a query or a value, of which the weight stands elsewhere, and the other a norm?"""
    if bias.leaves.keys() != {"bias"} or role_in(bias.leaves["bias"].path) is None:
        return False
    called = [any("norm" in word.concepts for word in names.token_words(unit.full[-1])) for unit in (bias, norm)]
    return called == [False, True]


def _is_table(m: Leaf, t: Leaf) -> bool:
    """Is one of two that are taken as vectors stored as [1, d], and no bias?"""
    return len(m.shape) == 1 and {m.raw, t.raw} == {m.shape, (1, *m.shape)} and "bias" not in words_of(m.path[-1])


def _bare(left: dict[str, Leaf], right: dict[str, Leaf], ctx: Context) -> list[tuple[Leaf, Leaf]]:
    """A bare parameter on one side that is a module's weight on the other."""
    out: list[tuple[Leaf, Leaf]] = []
    for bare, others, turned in ((left.get("*"), right, False), (right.get("*"), left, True)):
        other = others.get("weight") or others.get("weight_v")
        if bare is None or other is None or other.shape != bare.shape or bare.integer or unlike(bare, other):
            continue
        pair = (other, bare) if turned else (bare, other)
        if ctx.forbidden is None or not ctx.forbidden(*pair):
            out.append(pair)
    return out


def depth_of(node: Node, leaves: Sequence[Leaf]) -> int:
    """How many path tokens the leaves of a node have in common because of the node itself.

    A gathered list and its item are one token of a path: `attn2` is the second of a list `attn`.
    """
    depth, at = len(node.tokens()), node
    while at.parent is not None:
        depth -= at.is_list and at.gathered
        at = at.parent
    return in_common(leaves, depth)


def in_common(leaves: Sequence[Leaf], most: int | None = None) -> int:
    """How many leading tokens, `most` at the most, all these leaves share."""
    first = leaves[0].path if leaves else ()
    depth = max(len(first) - 1, 0)
    depth = depth if most is None else min(most, depth)
    for leaf in leaves:
        while leaf.path[:depth] != first[:depth]:
            depth -= 1
    return depth
