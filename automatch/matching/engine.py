"""The stages of matching, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

from automatch.collecting import paused
from automatch.describing.lexicon import EMPTY, lexicon
from automatch.describing.tree import Interner, Tree
from automatch.errors import InputError
from automatch.matching.answer.outcome import assignment, gathered
from automatch.matching.aside.cleanup import beside_the_model, without_originals
from automatch.matching.aside.twins import held_twice, serve_copies, without
from automatch.matching.assignment import Assignment, Sample
from automatch.matching.basis.adapters import (
    by_their_modules,
    doubt_half_adapters,
    drop_adapter_name,
    drop_from_base,
    is_adapter,
)
from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.identity import Identity
from automatch.matching.basis.leaves import Leaf, counted, leaves_of, to_squeeze
from automatch.matching.basis.names import Names, norms_close
from automatch.matching.basis.parts import as_named
from automatch.matching.basis.pins import Decisions, followed, in_pinned_order, resolve
from automatch.matching.blocks.sides import Side
from automatch.matching.blocks.solver import Solver
from automatch.matching.folds.folding import fold_parts
from automatch.matching.folds.frames import fold_frames
from automatch.matching.folds.gates import fold_gates
from automatch.matching.folds.latent import fold_latent
from automatch.matching.folds.recurrent import doubt_gates
from automatch.matching.folds.rows import fold_rows
from automatch.matching.folds.scanned import unify_scanned
from automatch.matching.folds.stacks import fold_stacks
from automatch.matching.keys.adopted import adopt
from automatch.matching.keys.numbered import by_number
from automatch.matching.keys.unnamed import lay_out
from automatch.matching.layouts.heads import merge_heads
from automatch.matching.layouts.laid import fold_laid
from automatch.matching.layouts.layout import unify_layouts
from automatch.matching.left_overs.completion import (
    MOSTLY,
    beside_mismatches,
    by_every_name,
    mismatches,
    not_crossed,
)
from automatch.matching.left_overs.extended import with_more_rows
from automatch.matching.left_overs.flattened import put_in_order
from automatch.matching.left_overs.kinship import (
    are_namesakes,
    flagged,
    is_called_the_same,
    is_little,
    kinship,
    read_otherwise,
)
from automatch.matching.left_overs.left_over import left_over
from automatch.matching.left_overs.sequence import in_one_list, in_sequence
from automatch.matching.left_overs.sharing import in_every_block, share, tie, trained_copies
from automatch.matching.left_overs.summed import add_up
from automatch.matching.miniature.cutting import miniature
from automatch.matching.miniature.enlarging import enlarged
from automatch.matching.modules.flat import at_one_place
from automatch.matching.reviews.reviewed import reviewed
from automatch.spec import StateDictSpec

UNRELATED = 0.4
"""Below this kinship nothing is matched."""

SORTED_TRUST = 0.15
"""What order is worth when one side is sorted by name."""

VECTOR = 0.25
"""What a vector counts beside a matrix when blocks are compared: vectors of one size are everywhere."""

By = Literal["all", "name", "topology"]


def match(
    checkpoint: StateDictSpec,
    model: StateDictSpec,
    *,
    by: By = "all",
    pin: Sequence[tuple[str, str]] = (),
    forbid: Sequence[tuple[str, str]] = (),
) -> Assignment:
    """Find which checkpoint keys serve which model keys.

    Args:
        checkpoint: keys, shapes and dtypes of the file.
        model: keys, shapes and dtypes of the model.
        by: the evidence to use: "all"; "name", equal keys only (torch's `strict=False`, Keras'
            `by_name=True`); "topology", shapes and order alone (Keras' `by_name=False`), names only where
            tensors must first be put into one form (transposed kernels, fused q, k, v).
        pin: pairs (checkpoint side, model side) that must be; see `pins.resolve`.
        forbid: pairs that must not be.

    Returns:
        The assignment; every key of both sides stands in exactly one place of it.

    Raises:
        InputError: `by` is none of the three, or a pin speaks of keys that do not exist.
    """
    if by not in ("all", "name", "topology"):
        raise InputError(f"by={by!r} is not known; use 'all', 'name' or 'topology'.")
    decisions = followed(resolve(pin, forbid, checkpoint.keys, model.keys), checkpoint, model)
    with paused():
        halves = miniature(checkpoint, model) if by == "all" and not (pin or forbid) else None
        if halves is not None:
            mine, theirs = halves
            small = _match(mine.spec, theirs.spec, by, decisions, theirs.times)
            matches = enlarged(small, mine, theirs)
            if matches is not None:
                sample = Sample(small.matches, mine.spec.keys, theirs.spec.keys)
                return replace(gathered(checkpoint, model, matches, small.mismatched), sample=sample)
        return _match(checkpoint, model, by, decisions)


def _match(
    checkpoint: StateDictSpec,
    model: StateDictSpec,
    by: By,
    decisions: Decisions,
    times: Callable[[str], int] | None = None,
) -> Assignment:
    squeezed = to_squeeze(checkpoint, model)
    ordered = counted(checkpoint), counted(model)
    source, target = leaves_of(ordered[0], squeezed), leaves_of(ordered[1], squeezed)
    if by == "name" or (by == "all" and _same_keys(checkpoint, model)):
        found, pairs = _equal_names(source, target, decisions)
        return assignment(checkpoint, model, found, source, pairs, times=times)
    several = drop_adapter_name(source, target)
    tied = {t.key: t.tied for t in model.tensors if t.tied}
    listed = by_number(source, target, tied, silent=by == "topology")
    if listed and not any(decisions.refuses(s, t) for s, t, _ in listed):
        listed += share(listed, target, tied)
        return assignment(checkpoint, model, listed, source, times=times)
    adopt(source, target)
    adopt(target, source)
    target = without_originals(target, source, decisions.spoken_of)
    everything, copies = target, held_twice(target, source, decisions.told)
    target = without(target, copies)
    cleaned = beside_the_model(source, target, decisions.pinned, {key for key, _ in decisions.forbidden})
    source = cleaned.leaves
    decided = bool(decisions.pinned or decisions.forbidden)
    halves, mine, theirs = _adapters(source, target, decisions) if by == "all" else ([], [], [])
    source, target = _without(source, mine), _without(target, theirs)
    lay_out(source, target)
    source, target = unify_scanned(source, target, _unified)
    tokens = dict.fromkeys(t for x in source for t in x.path), dict.fromkeys(t for x in target for t in x.path)
    close = norms_close(leaf.path for leaf in (*source, *target))
    silent = by == "topology"
    names = Names(EMPTY if silent else lexicon(), silent=silent, tokens=tokens, norms_close=close)
    order_trust = SORTED_TRUST if is_sorted(checkpoint.keys) != is_sorted(model.keys) and by != "topology" else 1.0
    whole = _together(source, mine), _together(target, theirs)
    identity = Identity(whole[0], whole[1])
    found = _put_together(source, target, names, order_trust, identity, decisions)
    if not (decided or is_sorted(checkpoint.keys) or is_sorted(model.keys)):
        found = in_one_list(found, source, target)
    (source, target), found = whole, found + halves
    as_named((s, t) for s, t, _ in found)
    found, apart = _pinned(found, source, target, decisions)
    found = reviewed(found, source, target, names, order_trust, identity, decisions)
    found, source, target = add_up(found, source, target, decisions.forbids)
    found = drop_from_base(found + with_more_rows(found, source, target, names, decisions.refuses), target)
    found = in_pinned_order(found, decisions)
    _refuse_unfit(apart, found)
    found = doubt_half_adapters(found, target)
    found = _doubt_adapters(found) if several and not decided else found
    found = _believed(found, source, target, identity, cleaned.undecided, bool(decisions.pinned))
    found += [f for f in serve_copies(found, everything, copies, tied) if not decisions.forbids(f[0], f[1])]
    found = _served_again(found, source, target, names, decisions, tied)
    found += not_crossed(left_over(found, source, target, names, decisions.refuses), source, target, identity, found)
    put_in_order(found, source, target, (is_sorted(checkpoint.keys), is_sorted(model.keys)))
    found = doubt_gates(found, source, target)
    pairs = mismatches(found, source, target, names, identity)
    found += beside_mismatches(pairs, found, source, target, decisions.refuses)
    return assignment(checkpoint, model, found, source, pairs, cleaned.notes, cleaned.dropped, times)


def _served_again(
    found: list[Found],
    source: Sequence[Leaf],
    target: Sequence[Leaf],
    names: Names,
    decisions: Decisions,
    tied: Mapping[str, str],
) -> list[Found]:
    """The pairs, and what else of the model their tensors serve: tied ones, trained copies, one part of all blocks."""
    found += share(found, target, tied)
    found = trained_copies(found, target, decisions.forbids)
    found += [f for f in in_every_block(found, target) if not decisions.forbids(f[0], f[1])]
    return found + [f for f in tie(found, source, target, names) if not decisions.forbids(f[0], f[1])]


def _believed(
    found: list[Found],
    source: Sequence[Leaf],
    target: Sequence[Leaf],
    identity: Identity,
    undecided: bool,
    pinned: bool,
) -> list[Found]:
    """The pairs of two networks of one build: none of others, and flagged where they are too few, or of a copy."""
    kin = kinship(found, source, target)
    parted = any(leaf.path[-1] == "weight_g" for leaf in (*source, *target))  # weight norm leaves but the biases
    related = (parted and identity.holds) or is_called_the_same(source, target)
    related = related and are_namesakes(found, identity)
    if kin < UNRELATED and not (pinned or related):
        return []
    if not related and is_little(found, source, target, kin, identity) and identity.of_the_model < MOSTLY:
        return [(s, t, flagged(e, "doubtful")) for s, t, e in found]
    if not related and not are_namesakes(found, identity) and read_otherwise(found, source, target):
        return [(s, t, flagged(e, "inputs")) for s, t, e in found]
    return [(s, t, flagged(e, "copies")) for s, t, e in found] if undecided else found


def _unified(source: list[Leaf], target: list[Leaf]) -> tuple[list[Leaf], list[Leaf]]:
    """Both sides in one form: layouts alike, and what only one side has in one tensor joined on the other."""
    source, target = fold_laid(source, target), fold_laid(target, source)
    source, target = fold_frames(source, target), fold_frames(target, source)
    source, target = fold_latent(source, target), fold_latent(target, source)
    merge_heads(source, target)
    merge_heads(target, source)
    unify_layouts(source, target)
    if Counter(leaf.shape for leaf in source) != Counter(leaf.shape for leaf in target):
        source, target = fold_stacks(source, target), fold_stacks(target, source)
        source, target = fold_rows(source, target), fold_rows(target, source)
        source, target = fold_gates(source, target), fold_gates(target, source)
        for _ in range(2):  # what is fused here and there is seen when the one is folded
            source, target = fold_parts(source, target), fold_parts(target, source, serve=True)
    return source, target


def _put_together(
    source: list[Leaf], target: list[Leaf], names: Names, order_trust: float, identity: Identity, decisions: Decisions
) -> list[Found]:
    """The pairs of a first look: by whole keys, by place in one list, or else block by block."""
    decided = bool(decisions.pinned or decisions.forbidden)
    found = [] if names.silent or decided else by_every_name(source, target)
    if not found and order_trust == 1 and not decided:
        found = at_one_place(source, target, names)
    if not found and source:
        found = _solve(source, target, names, order_trust, identity, decisions)
    return found if decided else in_sequence(found)


def _solve(
    source: list[Leaf], target: list[Leaf], names: Names, order_trust: float, identity: Identity, decisions: Decisions
) -> list[Found]:
    shapes, structs = Interner(), Interner()
    sides = []
    for leaves in (source, target):
        numbers = [-1 if leaf.integer else shapes(leaf.shape) for leaf in leaves]
        weights = {n: VECTOR for n, leaf in zip(numbers, leaves, strict=True) if len(leaf.shape) < 2}
        sides.append(Side(leaves, Tree([leaf.path for leaf in leaves], numbers, structs, weights)))
    by_key = {key: leaf for leaf in target for key in leaf.keys}
    wanted = ((s, other) for s in source for key in s.keys for other in decisions.pinned.get(key, ()))
    pins = [(s, by_key[other]) for s, other in wanted if other in by_key]
    refuses = decisions.refuses if decisions.pinned or decisions.forbidden else None
    solver = Solver(sides[0], sides[1], names, order_trust, identity, refuses, pins)
    found = solver.solve_roots()
    if not solver.layers_apart or refuses is not None:
        return found
    again = Solver(sides[0], sides[1], names, order_trust, identity, refuses, pins, by_layers=True).solve_roots()
    return again if solver.crosses_layers or _sure(again) > _sure(found) else found


def _adapters(
    source: Sequence[Leaf], target: Sequence[Leaf], decisions: Decisions
) -> tuple[list[Found], list[Leaf], list[Leaf]]:
    """The pairs of adapters that their names tell, and what of either side needs no further look."""
    halves, strangers = by_their_modules(source, target)
    if any(decisions.refuses(s, t) for s, t, _ in halves):
        return [], [], []
    return halves, [*(s for s, _, _ in halves), *strangers], [t for _, t, _ in halves]


def _doubt_adapters(found: list[Found]) -> list[Found]:
    return [(s, t, flagged(e, "adapters") if is_adapter(t) else e) for s, t, e in found]


def _without(leaves: Sequence[Leaf], some: Iterable[Leaf]) -> list[Leaf]:
    gone = set(map(id, some))
    return [leaf for leaf in leaves if id(leaf) not in gone]


def _together(leaves: Sequence[Leaf], more: Iterable[Leaf]) -> list[Leaf]:
    return sorted([*leaves, *more], key=lambda leaf: leaf.place)


def _sure(found: Sequence[Found]) -> int:
    """How many pairs are not flagged."""
    return sum(not judge(evidence).ambiguous for _, _, evidence in found)


def _pinned(
    found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf], decisions: Decisions
) -> tuple[list[Found], list[tuple[Leaf, Leaf]]]:
    """The pairs with every pin in place, and the pins of tensors that differ in shape: one may be part of the other.

    Raises:
        InputError: two are pinned to one model key.
    """
    apart: list[tuple[Leaf, Leaf]] = []
    if not decisions.pinned:
        return found, apart
    mine = {key: leaf for leaf in source for key in leaf.keys}
    theirs = {key: leaf for leaf in target for key in leaf.keys}
    pairs: dict[int, Found] = {}
    for key, other in ((key, other) for key, others in decisions.pinned.items() for other in others):
        s, t = mine.get(key), theirs.get(other)
        if s is None or t is None:
            raise InputError(
                f"pin {key}={other}: one of the two is left out of the matching (a slot or a second copy)."
            )
        if s.shape != t.shape:
            apart.append((s, t))
            continue
        first = pairs.setdefault(id(t), (s, t, Evidence(level="pin")))[0]
        if first is not s:
            raise InputError(f"{other} is pinned to {first.keys[0]} and to {key}; take one of the two away.")
    taken = {id(s) for s, _, _ in pairs.values()}
    return [f for f in found if id(f[1]) not in pairs and id(f[0]) not in taken] + list(pairs.values()), apart


def _refuse_unfit(apart: Sequence[tuple[Leaf, Leaf]], found: Sequence[Found]) -> None:
    """Refuse pins of tensors that differ in shape and are no part of each other.

    Raises:
        InputError: names the two keys.
    """
    joined = {(key, other) for s, t, _ in found for key in s.keys for other in t.keys} if apart else set()
    for s, t in apart:
        if (s.keys[0], t.keys[0]) not in joined:
            raise InputError(
                f"pin {s.keys[0]}={t.keys[0]}: the shapes {list(s.raw)} and {list(t.raw)} do not fit each other."
            )


def _equal_names(
    source: Sequence[Leaf], target: Sequence[Leaf], decisions: Decisions
) -> tuple[list[Found], list[tuple[Leaf, Leaf]]]:
    """The pairs of equal keys: those of one shape as found, those of different shapes apart."""
    mine = {leaf.keys[0]: leaf for leaf in source}
    same = [(s, t) for t in target if (s := mine.get(t.keys[0])) is not None and not decisions.refuses(s, t)]
    found = [(s, t, Evidence(name=1.0, level="name")) for s, t in same if s.raw == t.raw]
    found, apart = _pinned(found, source, target, decisions)
    _refuse_unfit(apart, found)
    return found, [(s, t) for s, t in same if s.raw != t.raw]


def _same_keys(checkpoint: StateDictSpec, model: StateDictSpec) -> bool:
    """Have both sides the same keys with the same shapes?"""
    return len(checkpoint) == len(model) and {(t.key, t.shape) for t in checkpoint.tensors} == {
        (t.key, t.shape) for t in model.tensors
    }


def is_sorted(keys: Sequence[str]) -> bool:
    """Are the keys in alphabetical order (TF, flax, safetensors written from a dict)?"""
    return len(keys) > 8 and all(a <= b for a, b in pairwise(keys))
