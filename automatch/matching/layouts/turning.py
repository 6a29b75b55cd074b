"""Layouts that both sides of a pair were seen in: said once, on one side, as rules say them."""

from __future__ import annotations

from dataclasses import replace

from automatch.matching.basis.leaves import Leaf
from automatch.matching.layouts.heads import APART

_MATRIX = frozenset({"transpose", "reshape", "concat"})
_OTHER_WAY = {a: b for pair in APART.items() for a, b in (pair, pair[::-1]) if a and b}
"""How heads are brought together, and how so that the matrix comes out transposed."""


def turned_once(s: Leaf, t: Leaf) -> tuple[Leaf, Leaf]:
    """A pair of which one side brings heads together and the other was turned, with both said on the first side.

    No rule transposes twice, and bringing heads together in the other order comes to the same. What was turned on both
    sides in the same way was not turned.
    """
    if s.ops == t.ops == ("transpose",) and s.perm == t.perm:
        return (replace(s, ops=(), perm=None, shape=s.raw), replace(t, ops=(), perm=None, shape=t.raw))
    if s.perm == t.perm == (1, 0) and all("transpose" in x.ops and set(x.ops) <= _MATRIX for x in (s, t)):
        return _as_stored(s), _as_stored(t)
    for apart, turned in ((s, t), (t, s)):
        if apart.perm in _OTHER_WAY and apart.flat is not None and turned.perm in ((1, 0), (0, 2, 1)):
            if apart.ops[:2] != ("transpose", "reshape") or "transpose" not in turned.ops:
                continue
            ops = tuple(op for op in turned.ops if op != "transpose")
            new = _other_way(apart), replace(turned, perm=None, ops=ops)
            return new if apart is s else new[::-1]
    return s, t


def _other_way(apart: Leaf) -> Leaf:
    """Heads brought together to the transposed matrix; what was joined along one of its sides lies along the other."""
    assert apart.perm is not None and apart.flat is not None
    dim, last = apart.dim, len(apart.flat) - 1
    if dim is not None and dim >= last - 1:
        dim = 2 * last - 1 - dim
    flat = (*apart.flat[:-2], apart.flat[-1], apart.flat[-2])
    return replace(apart, perm=_OTHER_WAY[apart.perm], flat=flat, dim=dim)


def _as_stored(leaf: Leaf) -> Leaf:
    """A matrix that was turned as it was before, its parts along the other dimension."""
    ops = tuple(op for op in leaf.ops if op != "transpose")
    dim = None if leaf.dim is None else 1 - leaf.dim
    return replace(leaf, ops=ops, perm=None, dim=dim, shape=leaf.shape[::-1])
