"""Recurrent layers of another framework, whose gates lie in another order than torch's.

Keras' GRU holds them as update, reset, new (z, r, h) and torch's as reset, update, new; ONNX has its own order for both
GRU (z, r, h) and LSTM (i, o, f, c against torch's i, f, g, o). Keras' LSTM lies as torch's. The shapes are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from automatch.describing.tokens import split_key
from automatch.matching.basis.evidence import Found
from automatch.matching.basis.leaves import Leaf, template

_TORCH = re.compile(r"(?:weight|bias)_(?:ih|hh)(?:_l\d+)?(?:_reverse)?")
_KERAS = frozenset({"kernel", "recurrent_kernel", "bias"})
_GRU = 3
"""How many gates it has."""


def doubt_gates(found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf]) -> list[Found]:
    """The same pairs, those flagged that hold gates which the two sides keep in different orders."""
    if not any(is_torch(leaf) for side in (source, target) for leaf in side):
        return found
    gru = _grus(source), _grus(target)
    out = []
    for s, t, e in found:
        apart = (is_torch(t) and _is_other(s, gru[0])) or (is_torch(s) and _is_other(t, gru[1]))
        unnamed = (is_torch(t) and _are_unsaid(s)) or (is_torch(s) and _are_unsaid(t))
        level = "gates" if apart else "unnamed" if unnamed else e.level
        out.append((s, t, replace(e, level=level) if e.level != "pin" else e))
    return out


def is_torch(leaf: Leaf) -> bool:
    """Is it called as a parameter of torch's recurrent layers and cells, `weight_ih_l0`?"""
    return _TORCH.fullmatch(leaf.path[-1]) is not None


def _is_other(leaf: Leaf, gru: set[tuple[str, ...]]) -> bool:
    """Is it of a GRU of Keras, or does it have ONNX' dimension for the directions in front?"""
    of_keras = leaf.path[-1] in _KERAS and leaf.path[:-1] in gru
    return of_keras or (len(leaf.raw) == 3 and leaf.raw[0] == 1)


def _are_unsaid(leaf: Leaf) -> bool:
    """Are gates joined that differ in a number only, as `gates.0` and `gates.1`, or that may read input or state?"""
    if "concat" not in leaf.ops:
        return False
    either = leaf.path[-1].startswith("weight") and not leaf.path[-1].endswith(("_ih", "_hh"))
    return either or len({template(split_key(key)) for key in leaf.keys}) == 1


def _grus(leaves: Iterable[Leaf]) -> set[tuple[str, ...]]:
    """The modules with a kernel from three gates to their inputs."""
    return {
        leaf.path[:-1]
        for leaf in leaves
        if leaf.path[-1] == "recurrent_kernel" and len(leaf.raw) == 2 and max(leaf.raw) == _GRU * min(leaf.raw)
    }
