"""Modules as they are matched: weight, bias and statistics travel together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType

from automatch.describing.tokens import ROLES, stem_index, words_of
from automatch.describing.tree import Node
from automatch.matching.adapters import BIAS, FIRST, SECOND, half_of
from automatch.matching.leaves import Leaf
from automatch.matching.names import Names, Word
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
    "b": "bias",
    "offset": "bias",
    "shift": "bias",
    "moving_mean": "running_mean",
    "mean": "running_mean",
    "moving_variance": "running_var",
    "var": "running_var",
    "original0": "weight_g",
    "original1": "weight_v",
}


_MAIN = ("weight", "weight_v", "weight_orig", "*", SECOND)
Sort = tuple[bool, Shape]
"""Whether it is a bias alone, and its shape."""


@dataclass(slots=True)
class Unit:
    """One module and the leaves it holds, by role; a bare parameter has the role `*`.

    `rank` of `peers` modules that are called alike, `falling` if the first of them stands last; `turn`: the first (1)
    or the second (2) of two, 0 for others.
    """

    path: tuple[str, ...]
    words: tuple[Word, ...]
    leaves: dict[str, Leaf] = field(default_factory=dict)
    place: int = 0
    rank: int = 0
    peers: int = 1
    falling: bool = False
    turn: int = 0
    full: tuple[str, ...] = ()

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


def module_path(path: tuple[str, ...]) -> tuple[str, ...]:
    """The path of the module that a leaf's path leads into; a bare parameter is a module of its own."""
    return path[: role_of(path)[0]]


def block_of(module: tuple[str, ...]) -> tuple[str, ...]:
    """The innermost numbered container that a module stands in, itself included; () for none."""
    for depth in range(len(module), 0, -1):
        if module[depth - 1].isdecimal():
            return module[:depth]
    return ()


def role_of(path: Sequence[str]) -> tuple[int, str]:
    """(length of the module's path, role of the leaf in it)."""
    last = path[-1]
    half = half_of(path)
    if half is not None:
        return half
    if last in ROLES and len(path) > 1:
        return len(path) - 1, _CANON.get(last, last)
    return len(path), "*"


def units_of(
    leaves: Sequence[Leaf],
    top: int,
    names: Names,
    apart: bool = False,
    beside: Mapping[tuple[str, ...], str] = MappingProxyType({}),
) -> list[Unit]:
    """Gather leaves into modules; `top` tokens of the path belong to the scope and are left out.

    `apart`: every leaf is a module of its own (one of the sides has no names of roles). `beside`: names of what stands
    beside a module; they count as words of its own.
    """
    units: dict[tuple[tuple[str, ...], bool], Unit] = {}  # an adapter is no part of the module beside it
    for leaf in leaves:
        length, role = (len(leaf.path), "*") if apart else role_of(leaf.path)
        length = max(length, min(top, len(leaf.path)))
        module = leaf.path[:length]
        half = role in (FIRST, SECOND, BIAS)
        unit = units.get((module, half))
        if unit is None or role in unit.leaves:
            if unit is not None:
                module = leaf.path
            shown = module[top:] or module[-1:]
            told = (*shown, beside[module]) if module in beside else shown
            unit = units[module, half] = Unit(shown, names.path_words(told), place=leaf.place, full=module)
        unit.leaves[role] = leaf
        unit.place = min(unit.place, leaf.place)
    found = sorted(units.values(), key=lambda u: u.place)
    _silence_echoes(found)
    _silence_numbers(found, names)
    peers: dict[tuple[object, ...], list[Unit]] = defaultdict(list)
    lettered = _lettered(found)
    for unit in found:
        alike = (unit.main(), *(w for w in _counted(unit, lettered) if isinstance(w, str)))
        peers[alike].append(unit)
    for group in peers.values():
        numbered = sorted(group, key=lambda u: [n for n in _counted(u, lettered) if isinstance(n, int)])
        falling = all(a.place > b.place for a, b in pairwise(numbered))
        for rank, unit in enumerate(numbered):
            unit.rank, unit.peers, unit.falling = rank, len(group), falling and len(group) > 1
    _give_turns(found, peers.values())
    return found


_LETTERS = ("a", "b", "c", "d")


def _lettered(units: Sequence[Unit]) -> Collection[tuple[str, ...]]:
    """The paths of modules that letters count: `norm_a` and `norm_b`, from `a` on, without a gap."""
    runs: dict[tuple[object, ...], dict[str, tuple[str, ...]]] = defaultdict(dict)
    for unit in units:
        *stem, letter = words_of(unit.path[-1]) or ("",)
        if stem and letter and letter in _LETTERS:
            home = (unit.path[:-1], *stem)
            runs[home][letter] = unit.path
    whole = (run for run in runs.values() if len(run) > 1 and tuple(sorted(run)) == _LETTERS[: len(run)])
    return {path for run in whole for path in run.values()}


def is_lettered(unit: Unit) -> bool:
    """Does a name end with a letter that may count it? `in_proj_a` may be the first, or what becomes of alpha."""
    words = words_of(unit.path[-1])
    return len(words) > 1 and words[-1] in _LETTERS


def _counted(unit: Unit, lettered: Collection[tuple[str, ...]]) -> list[str | int]:
    """The words and the numbers of a module's path; letters that count are numbers."""
    out: list[str | int] = [int(w) if w.isdecimal() else w for token in unit.path for w in words_of(token)]
    if unit.path in lettered:
        out[-1] = _LETTERS.index(str(out[-1]))
    return out


_TURNS = {"attention": 1, "selfattn": 1, "mlp": 2}


def _give_turns(units: Sequence[Unit], peers: Iterable[Sequence[Unit]]) -> None:
    """Say which of two modules comes first: 1 and 2, also where one is called the attention's and one the mlp's.

    A transformer's block has its attention first: `layer_scale_1` is the attention's, `norm2` the mlp's, and so is
    BERT's `output.LayerNorm` behind `attention.output.LayerNorm`.
    """
    for group in peers:
        numbers = [stem_index(unit.path[-1]) for unit in group] if len(group) == 2 else []
        if numbers and sorted(number[1] if number else -1 for number in numbers) in ([0, 1], [1, 2]):
            for unit in group:
                unit.turn = unit.rank + 1
    named: dict[tuple[Sort | None, tuple[str, ...]], list[tuple[int, Unit]]] = defaultdict(list)
    for unit in units:
        turns = {_TURNS[c] for word in unit.words for c in word.concepts & _TURNS.keys()}
        if len(turns) <= 1:
            rest = tuple(w.text for w in unit.words if not w.concepts & _TURNS.keys() and w.text[0] != "~")
            named[unit.main(), rest].append((turns.pop() if turns else 0, unit))
    for pair in named.values():
        found = sorted(turn for turn, _ in pair)
        if found == [0, 1]:
            (_, bare), (_, first) = sorted(pair, key=lambda item: item[0])
            found = [1, 2] if bare.place > first.place else []
        if found == [1, 2]:
            for turn, unit in pair:
                unit.turn = turn or 2
    _give_turns_by_last(pair for alike in named.values() for pair in alike)


def _give_turns_by_last(units: Iterable[tuple[int, Unit]]) -> None:
    """The same for two modules whose last names are equal: `window_attn.norm` and `ffn.norm`, whatever a window is."""
    called: dict[tuple[Sort | None, str], list[tuple[int, Unit]]] = defaultdict(list)
    for turn, unit in units:
        called[unit.main(), unit.path[-1]].append((turn, unit))
    for pair in called.values():
        if sorted(turn for turn, _ in pair) == [1, 2]:
            for turn, unit in pair:
                unit.turn = turn


def _silence_echoes(units: Sequence[Unit]) -> None:
    """A token that says more than its words is taken at its word only where one module of the scope bears it.

    Beside a `pre_feedforward_layernorm`, a `post_attention_layernorm` is not the norm before the mlp.
    """
    count = Counter((unit.path[:-1], w.text) for unit in units for w in set(unit.words) if w.text[0] == "~")
    if any(n > 1 for n in count.values()):
        for unit in units:
            unit.words = tuple(w for w in unit.words if count.get((unit.path[:-1], w.text), 0) < 2)


_ORDINALS = (frozenset({"first"}), frozenset({"second"}))


def _silence_numbers(units: Sequence[Unit], names: Names) -> None:
    """`fc1` and `fc2` mean first and second of a pair only where there are no others: not beside `fc3` or `fc0`.

    Nor where the first has no number, as Haiku's `linear` before `linear_1`.
    """
    numbered: dict[tuple[tuple[str, ...], str], set[int]] = defaultdict(set)
    for unit in units:
        found = stem_index(unit.path[-1])
        if found is not None:
            numbered[unit.path[:-1], found[0]].add(found[1])
    bare: set[tuple[str, ...]] = set()
    for unit in units:  # in their order
        stem = unit.path[-1].removesuffix("_1")
        if stem != unit.path[-1] and (*unit.path[:-1], stem) in bare:
            numbered[unit.path[:-1], f"{stem}_"].add(0)
        bare.add(unit.path)
    for unit in units:
        found = stem_index(unit.path[-1])
        only = any(w.concepts in _ORDINALS for w in names.path_words(unit.path[-1:]))
        if only and found is not None and not numbered[unit.path[:-1], found[0]] <= {1, 2}:
            unit.words = names.path_words((*unit.path[:-1], found[0]))


def pair_leaves(a: Unit, b: Unit, ctx: Context) -> tuple[list[tuple[Leaf, Leaf]], float]:
    """Which leaves of two modules go together, and the share of them that fits (0: they must not)."""
    pairs: list[tuple[Leaf, Leaf]] = []
    left, right = dict(a.leaves), dict(b.leaves)
    for role in [r for r in left if r in right]:
        mine, theirs = left[role], right[role]
        if mine.shape != theirs.shape or mine.integer != theirs.integer:
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
    if not solid:
        return (pairs, 1.0) if pairs and not size else ([], 0.0)
    return pairs, solid / size


def _is_table(m: Leaf, t: Leaf) -> bool:
    """Is one of two that are taken as vectors stored as [1, d], and no bias?"""
    return len(m.shape) == 1 and {m.raw, t.raw} == {m.shape, (1, *m.shape)} and "bias" not in words_of(m.path[-1])


def _bare(left: dict[str, Leaf], right: dict[str, Leaf], ctx: Context) -> list[tuple[Leaf, Leaf]]:
    """A bare parameter on one side that is a module's weight on the other."""
    out: list[tuple[Leaf, Leaf]] = []
    for bare, others, turned in ((left.get("*"), right, False), (right.get("*"), left, True)):
        other = others.get("weight") or others.get("weight_v")
        if bare is None or other is None or other.shape != bare.shape or bare.integer:
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
