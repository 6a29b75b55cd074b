"""The stages of matching, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from automatch.describing.lexicon import lexicon
from automatch.describing.tree import Interner, Tree
from automatch.matching.assignment import Assignment, Match
from automatch.matching.blocks import Side, Solver
from automatch.matching.cleanup import Cleaned, drop_copies, drop_slots
from automatch.matching.completion import drop_half_matched, flagged, kinship, mismatches, tie, to_mismatch
from automatch.matching.confidence import judge
from automatch.matching.folding import fold_parts, fold_stacks
from automatch.matching.layout import merge_heads, unify_layout
from automatch.matching.leaves import Leaf, leaves_of, to_squeeze
from automatch.matching.names import Names
from automatch.matching.units import Evidence
from automatch.spec import StateDictSpec

UNRELATED, DOUBTFUL = 0.4, 0.5
"""Below these kinships nothing is matched, or all of it is flagged."""

By = Literal["all", "name", "topology"]


def match(
    checkpoint: StateDictSpec,
    model: StateDictSpec,
    *,
    by: By = "all",
    pin: Sequence[tuple[str, str]] = (),
    forbid: Sequence[tuple[str, str]] = (),
) -> Assignment:
    """Find which checkpoint keys serve which model keys."""
    squeezed = to_squeeze(checkpoint, model)
    source, target = leaves_of(checkpoint, squeezed), leaves_of(model, squeezed)
    slots = drop_slots(source, target)
    copies = drop_copies(slots.leaves, target)
    source = copies.leaves
    merge_heads(source, target)
    merge_heads(target, source)
    unify_layout(source, target)
    unify_layout(target, source)
    source, target = fold_stacks(source, target), fold_stacks(target, source)
    source, target = fold_parts(source, target), fold_parts(target, source)
    names = Names(lexicon())
    trust = 0.15 if is_sorted(checkpoint.keys) != is_sorted(model.keys) else 1.0
    found = _solve(source, target, names, trust, 0.0 if by == "topology" else 1.0)
    found = drop_half_matched(found, source, target)
    kin = kinship(found, source, target)
    if kin < UNRELATED:
        found = []
    elif kin < DOUBTFUL or copies.undecided:
        found = [(s, t, flagged(e)) for s, t, e in found]
    found += tie(found, source, target, names)
    return _report(checkpoint, model, found, source, target, names, slots, copies)


def _solve(
    source: list[Leaf], target: list[Leaf], names: Names, order_trust: float, names_trust: float
) -> list[tuple[Leaf, Leaf, Evidence]]:
    shapes, structs = Interner(), Interner()
    sides = []
    for leaves in (source, target):
        numbers = [-1 if leaf.integer else shapes(leaf.shape) for leaf in leaves]
        sides.append(Side(leaves, Tree([leaf.path for leaf in leaves], numbers, structs)))
    return Solver(sides[0], sides[1], names, order_trust, names_trust).solve_roots()


def _report(
    checkpoint: StateDictSpec,
    model: StateDictSpec,
    found: list[tuple[Leaf, Leaf, Evidence]],
    source: list[Leaf],
    target: list[Leaf],
    names: Names,
    slots: Cleaned,
    copies: Cleaned,
) -> Assignment:
    served: dict[str, Match] = {}
    used: set[str] = set()
    for mine, theirs, evidence in found:
        for m in _matches(mine, theirs, evidence):
            used.update(m.checkpoint_keys)
            for key in m.model_keys:
                served[key] = m
    matches = tuple({id(m): m for key in model.keys if (m := served.get(key))}.values())
    wrong = [to_mismatch(p) for p in mismatches(found, source, target, names)]
    return Assignment(
        matches,
        tuple(k for k in model.keys if k not in served),
        tuple(k for k in checkpoint.keys if k not in used),
        tuple(wrong),
        slots.notes + copies.notes,
        {**slots.dropped, **copies.dropped},
    )


def is_sorted(keys: Sequence[str]) -> bool:
    """Are the keys in alphabetical order (TF, flax, safetensors written from a dict)?"""
    return len(keys) > 8 and all(a <= b for a, b in zip(keys, keys[1:], strict=False))


def _matches(mine: Leaf, theirs: Leaf, evidence: Evidence) -> list[Match]:
    ops = list(mine.ops)
    for op in theirs.ops:
        ops.append({"concat": "chunk", "stack": "unstack"}.get(op, op))
    if not ops and mine.raw != theirs.raw:
        ops.append("reshape")
    op = "+".join(dict.fromkeys(ops)) or "rename"
    confidence, ambiguous, reason = judge(evidence)
    return [Match(theirs.keys, mine.keys, op, confidence, ambiguous, (), reason, mine.dim or theirs.dim, mine.perm)]
