"""Gates of a recurrent layer that one code base keeps apart and torch in one tensor: `W_ir, W_iz` and `weight_ih_l0`.

torch holds input, forget, cell, output of an LSTM in this order, and reset, update, new of a GRU (`torch.nn.LSTM`,
`torch.nn.GRU`); flax' cells, and many that people write, have a layer for each gate. Which gate is which is read from
names only: where one of them does not say it, nothing is joined.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from automatch.describing.tokens import ROLES, split_key, words_of
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.parts import Hole, joined_shape
from automatch.matching.folds.recurrent import is_torch

_LSTM = {
    "input": ("i", "in", "input"),
    "forget": ("f", "forget"),
    "cell": ("g", "c", "j", "a", "cell", "cand", "candidate", "new", "memory"),
    "output": ("o", "out", "output"),
}
_GRU = {
    "reset": ("r", "reset"),
    "update": ("z", "u", "update"),
    "new": ("n", "h", "c", "g", "new", "cand", "candidate", "tilde", "hat", "hidden", "memory"),
}
_KINDS = tuple(
    (tuple((word, gate) for gate, words in kind.items() for word in words), tuple(kind)) for kind in (_LSTM, _GRU)
)
"""What the gates are called, and torch's order of them."""

READERS = 2
"""A layer has so many matrices: one reads the input, the other the state."""

_LETTERS = re.compile(r"([wubv]?[ixh]?)([a-z])")
"""`ir`, `wxi`, `wi`: a matrix, what it reads, and the gate."""

_READS = (
    ("ih", frozenset("i x ih xh wi wx input inp x2h i2h".split())),
    ("hh", frozenset("h hh wh uh hidden state recurrent h2h".split())),
)
"""What words say of a layer: it reads the input, or the state that the layer had before. `W` and `U` say nothing."""

Gates = tuple[str, ...]
Called = tuple[tuple[str, str], ...]
Joined = tuple[Leaf, list[Leaf], Hole]


def fold_gates(leaves: list[Leaf], others: Sequence[Leaf]) -> list[Leaf]:
    """Fold the gates of recurrent layers into virtual leaves where the other side has torch's fused ones.

    Only where it has as many more of the joined shapes than this side as there are groups, and this side more tensors
    of the shapes of single gates: else these are layers of another kind.

    Returns the leaves with each folded group replaced by one leaf, named as torch would, at the place of its first.
    """
    fused = [leaf for leaf in others if is_torch(leaf)]
    if not fused:
        return leaves
    mine, theirs = Counter(leaf.shape for leaf in leaves), Counter(leaf.shape for leaf in others)
    gates = {leaf.path[:-1]: _gates_of(leaf) for leaf in fused if "weight_hh" in leaf.path[-1]}
    gone: dict[int, Leaf | None] = {}
    for called, order in _KINDS:
        there = Counter(leaf.shape for leaf in fused if gates.get(leaf.path[:-1], len(order)) == len(order))
        there.subtract(leaf.shape for leaf in leaves if is_torch(leaf))
        joined = [
            _joined(hole, members)
            for hole, members in _groups(leaves, called, order)
            if mine[members[0].shape] > theirs[members[0].shape]
        ]
        joined = [one for one in joined if there[one[0].shape] > 0]
        wanted = Counter(one.shape for one, _, _ in joined)
        if sum(len(shape) > 1 for shape in wanted.elements()) < READERS or wanted - there:
            continue
        _name(joined)
        _lay_alike([one for one, _, _ in joined])
        for whole, members, _ in joined:
            if not any(id(member) in gone for member in members):
                gone.update((id(member), None) for member in members)
                gone[id(min(members, key=lambda leaf: leaf.place))] = whole
    return [kept for leaf in leaves if (kept := gone.get(id(leaf), leaf)) is not None] if gone else leaves


def _gates_of(hidden: Leaf) -> int:
    """How many gates a layer has, by the matrix that reads its state; 0 where it is no matrix."""
    rows, columns = hidden.shape if len(hidden.shape) == 2 else (0, 0)
    return rows // columns if columns else 0


def _groups(leaves: Sequence[Leaf], called: Called, order: Gates) -> Iterator[tuple[Hole, list[Leaf]]]:
    """Leaves whose paths differ only in the gate that they name, in torch's order; whole groups of one shape only."""
    groups: dict[Hole, dict[str, Leaf]] = defaultdict(dict)
    spoilt: set[Hole] = set()
    for leaf in leaves:
        if leaf.integer or not leaf.shape:
            continue
        for at, token in enumerate(leaf.path):
            for hole, gate in _readings(token, called):
                name = (*leaf.path[:at], hole, *leaf.path[at + 1 :])
                if gate in groups[name]:
                    spoilt.add(name)
                groups[name][gate] = leaf
    for name, group in groups.items():
        if len(group) == len(order) and name not in spoilt and len({leaf.shape for leaf in group.values()}) == 1:
            yield name, [group[gate] for gate in order]


@lru_cache(maxsize=1 << 16)
def _readings(token: str, called: Called) -> tuple[tuple[str, str], ...]:
    """The gates that a token may name, each with what is left of the token: `W_in` is an input gate, or a new one."""
    names, words = dict(called), words_of(token)
    out = []
    for at, word in enumerate(words):
        before, behind = words[:at], words[at + 1 :]
        if word in names:
            out.append(("_".join((*before, "{}", *behind)), names[word]))
        letters = _LETTERS.fullmatch(word)
        if letters is not None and letters[1] and letters[2] in names:
            out.append(("_".join((*before, letters[1] + "{}", *behind)), names[letters[2]]))
    return tuple(out)


def _joined(hole: Hole, members: list[Leaf]) -> Joined:
    """Gates as one leaf, its members, and what their paths have in common."""
    first = min(members, key=lambda leaf: leaf.place)
    whole = replace(
        first,
        shape=joined_shape([leaf.shape for leaf in members], 0) or (),
        keys=tuple(key for leaf in members for key in leaf.keys),
        ops=(*first.ops, "concat"),
        dim=0,
        sizes=tuple(leaf.shape[0] for leaf in members),
    )
    return whole, members, hole


def _name(joined: Sequence[Joined]) -> None:
    """Give every whole the path that torch would: `cell.W_i{}.weight` is `cell.weight_ih` (in place).

    Which of two matrices reads the state is told by the shape where the input is of another size, else by words, else
    by what layers of an input of another size show of `W` and `U`. Where nothing tells, they keep what they are called.
    """
    reads: dict[Hole, str] = {}
    shown: dict[Hole, set[str]] = defaultdict(set)
    cells: dict[Hole, list[tuple[Hole, bool]]] = defaultdict(list)
    for _, members, hole in joined:
        if len(members[0].shape) > 1:
            cell, inside = _cut(_module(hole))
            cells[cell].append((inside, len(set(members[0].shape)) > 1))
    for cell, own in cells.items():
        if len(own) == READERS and sum(wide for _, wide in own) == 1:
            for inside, wide in own:
                reads[cell + inside] = "ih" if wide else "hh"
                shown[inside].add(reads[cell + inside])
    for whole, members, hole in joined:
        cell, inside = _cut(_module(hole))
        said = reads.get(cell + inside) or _said(inside)
        said = said or (next(iter(shown[inside])) if len(shown[inside]) == 1 else "")
        kept = said or "_".join(token.replace("{}", "") for token in inside).strip("_")
        whole.path = (*cell, "_".join(filter(None, ("weight" if len(members[0].shape) > 1 else "bias", kept))))


def _module(hole: Hole) -> Hole:
    """The path of the layers that are joined; that of a parameter is its own."""
    return hole[:-1] if hole[-1] in ROLES else hole


def _cut(hole: Hole) -> tuple[Hole, Hole]:
    """A path up to the gate, and from there on."""
    at = next(i for i, token in enumerate(hole) if "{}" in token)
    return hole[:at], hole[at:]


def _said(inside: Hole) -> str:
    """What words say of a layer, the first that do: `ih`, `hh` or nothing."""
    words: set[str] = set()
    for token in inside:
        words.update(word for word in words_of(token.replace("{}", "")) if not word.isdecimal())
        words.add("".join(words_of(token)))
    return next((name for name, known in _READS if not known.isdisjoint(words)), "")


def _lay_alike(joined: Sequence[Leaf]) -> None:
    """Take square matrices of a layer as its others are stored, and mark them where it has no others (in place).

    Layers have the layout of torch's; what is a parameter by itself, `U_i`, may lie as `h @ U_i` reads it.
    """
    turned = {leaf.path[:-1]: "transpose" in leaf.ops for leaf in joined if len(set(leaf.raw)) > 1}
    for leaf in joined:
        if len(leaf.raw) != 2 or len(set(leaf.raw)) > 1 or "transpose" in leaf.ops or _is_layer(leaf):
            continue
        known = turned.get(leaf.path[:-1])
        if known:
            leaf.ops, leaf.perm = ("transpose", *leaf.ops), (1, 0)
        leaf.guessed = leaf.guessed or known is None


def _is_layer(leaf: Leaf) -> bool:
    """Are the gates layers, whose weights are called so?"""
    return all(split_key(key)[-1] in ROLES for key in leaf.keys)
