"""Equal keys: all that counts where both sides have the same ones, or where nothing else is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.pinned import pinned, refuse_unfit
from automatch.matching.basis.pins import Decisions
from automatch.spec import StateDictSpec


def by_equal_keys(
    source: Sequence[Leaf], target: Sequence[Leaf], decisions: Decisions
) -> tuple[list[Found], list[tuple[Leaf, Leaf]]]:
    """The pairs of equal keys: those of one shape as found, those of different shapes apart."""
    mine = {leaf.keys[0]: leaf for leaf in source}
    same = [(s, t) for t in target if (s := mine.get(t.keys[0])) is not None and not decisions.refuses(s, t)]
    found = [(s, t, Evidence(name=1.0, level="name")) for s, t in same if s.raw == t.raw]
    found, apart = pinned(found, source, target, decisions)
    refuse_unfit(apart, found)
    return found, [(s, t) for s, t in same if s.raw != t.raw]


def have_same_keys(checkpoint: StateDictSpec, model: StateDictSpec) -> bool:
    """Have both sides the same keys with the same shapes?"""
    return len(checkpoint) == len(model) and {(t.key, t.shape) for t in checkpoint.tensors} == {
        (t.key, t.shape) for t in model.tensors
    }
