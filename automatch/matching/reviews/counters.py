"""Counters of a norm's statistics: they have no shape that could tell them apart, and are as sure as their norm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Evidence, Found
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


def beside_norms(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], refuses: Callable[[Leaf, Leaf], bool]
) -> list[Found]:
    """Further pairs for the counters that are left over of norms that belong together, no surer than these."""
    used, served = {id(s) for s, _, _ in found}, {id(t) for _, t, _ in found}
    mine = {module_path(leaf.path): leaf for leaf in source if leaf.integer and id(leaf) not in used}
    theirs = {module_path(leaf.path): leaf for leaf in target if leaf.integer and id(leaf) not in served}
    if not (mine and theirs):
        return []
    norms: dict[tuple[tuple[str, ...], tuple[str, ...]], Evidence] = {}
    for s, t, e in found:
        a, b = _modules(s, t)
        if a in mine and b in theirs and not (s.ops or t.ops) and ((a, b) not in norms or judge(e).ambiguous):
            norms[a, b] = e  # one that is in doubt counts
    once = [Counter(a for a, _ in norms), Counter(b for _, b in norms)]
    pairs = [(mine[a], theirs[b], e) for (a, b), e in norms.items() if once[0][a] == once[1][b] == 1]
    return [(s, t, e) for s, t, e in pairs if s.raw == t.raw and s.path[-1] == t.path[-1] and not refuses(s, t)]


def _modules(s: Leaf, t: Leaf) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return module_path(s.path), module_path(t.path)
