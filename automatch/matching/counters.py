"""Counters of a norm's statistics: they have no shape that could tell them apart, and are as sure as their norm."""

from __future__ import annotations

from automatch.matching.confidence import judge
from automatch.matching.evidence import Evidence, Found
from automatch.matching.units import module_path


def as_their_modules(found: list[Found]) -> list[Found]:
    """The same pairs, those of counters flagged where the other tensors of the two modules are."""
    doubted: dict[tuple[tuple[str, ...], tuple[str, ...]], Evidence] = {}
    for s, t, e in found if any(s.integer for s, _, _ in found) else ():
        if not s.integer and judge(e).ambiguous:
            doubted[module_path(s.path), module_path(t.path)] = e
    return [
        (s, t, doubted.get((module_path(s.path), module_path(t.path)), e) if s.integer and e.level != "pin" else e)
        for s, t, e in found
    ]
