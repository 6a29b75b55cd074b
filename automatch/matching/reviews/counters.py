"""Counters of a norm's statistics: they have no shape that could tell them apart, and are as sure as their norm."""

from __future__ import annotations

from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Found
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.units import module_path


def as_their_modules(found: list[Found]) -> list[Found]:
    """The same pairs, those of counters flagged where the other tensors of the two modules are."""
    counters = [n for n, (s, _, e) in enumerate(found) if s.integer and e.level != "pin"]
    if not counters:
        return found
    doubted = {_modules(s, t): e for s, t, e in found if not s.integer and judge(e).ambiguous}
    out = list(found)
    for n in counters:
        s, t, e = found[n]
        out[n] = s, t, doubted.get(_modules(s, t), e)
    return out


def _modules(s: Leaf, t: Leaf) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return module_path(s.path), module_path(t.path)
