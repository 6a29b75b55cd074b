"""The stages of matching, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from automatch.matching.basis.adapters import drop_adapter_name, is_adapter, name_halves
from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Found
from automatch.matching.basis.identity import Identity
from automatch.matching.basis.leaves import Leaf, Path, counted, leaves_of, to_squeeze
from automatch.matching.basis.names import Names, norms_close
from automatch.matching.basis.parts import as_named
from automatch.matching.basis.pinned import pinned, refuse_unfit
from automatch.matching.basis.pins import Decisions, followed, in_pinned_order, resolve
from automatch.matching.blocks.sides import Order, Side
from automatch.matching.blocks.solver import Solver
from automatch.matching.folds.flat_experts import see_as_stacks
from automatch.matching.folds.folding import fold_parts
from automatch.matching.folds.frames import fold_frames
from automatch.matching.folds.gates import fold_gates
from automatch.matching.folds.latent import fold_latent
from automatch.matching.folds.recurrent import doubt_gates
from automatch.matching.folds.rows import fold_rows
from automatch.matching.folds.scanned import unify_scanned
from automatch.matching.folds.stacks import fold_stacks
from automatch.matching.keys.adopted import adopt
from automatch.matching.keys.equal import by_equal_keys, have_same_keys
from automatch.matching.keys.numbered import by_number
from automatch.matching.keys.unnamed import lay_out
from automatch.matching.keys.zipped import zip_lists
from automatch.matching.layouts.heads import merge_heads
from automatch.matching.layouts.laid import fold_laid
from automatch.matching.layouts.layout import unify_layouts
from automatch.matching.left_overs.extended import with_more_rows
from automatch.matching.left_overs.filled import as_in_other_items
from automatch.matching.left_overs.flattened import put_in_order
from automatch.matching.left_overs.kinship import believed, flagged
from automatch.matching.left_overs.left_over import left_over
from automatch.matching.left_overs.named import by_every_name, not_crossed
from automatch.matching.left_overs.other_shapes import beside_mismatches, mismatches
from automatch.matching.left_overs.sequence import in_one_list, in_sequence
from automatch.matching.left_overs.sharing import again_by_name, in_every_block, share, under_one_name
from automatch.matching.left_overs.summed import add_up
from automatch.matching.left_overs.ties import tie
from automatch.matching.left_overs.towers import in_both_towers
from automatch.matching.left_overs.trained_whole import trained_copies
from automatch.matching.miniature.cutting import miniature
from automatch.matching.miniature.enlarging import enlarged
from automatch.matching.modules.flat import at_one_place
from automatch.matching.modules.halves import by_their_modules, doubt_half_adapters, drop_from_base
from automatch.matching.reviews.counters import beside_norms
from automatch.matching.reviews.reviewed import reviewed
from automatch.matching.reviews.strays import drop_lonely
from automatch.spec import StateDictSpec

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
            tensors must first be put into one form (transposed kernels, fused q, k, v) or set aside (copies, slots).
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


@dataclass(frozen=True)
class Known:
    """What the stages after the folds know besides the two lists of tensors.

    Attributes:
        names: compares words.
        identity: whether the two sides are one model, wrappers apart.
        decisions: what a person pinned or forbade.
        tied: model key -> the key that it shares its tensor with, where a live model says so.
        by_name: of the checkpoint and the model, whether its keys are in alphabetical order.
        order_trust: what order is worth, in [0, 1].
    """

    names: Names
    identity: Identity
    decisions: Decisions
    tied: Mapping[str, str]
    by_name: tuple[bool, bool]
    order_trust: float


def _match(
    checkpoint: StateDictSpec,
    model: StateDictSpec,
    by: By,
    decisions: Decisions,
    times: Callable[[str], int] | None = None,
) -> Assignment:
    """Stages 1 to 10, one after the other (docs/engine.md)."""
    # 1: the keys
    squeezed = to_squeeze(checkpoint, model)
    source, target = leaves_of(counted(checkpoint), squeezed), leaves_of(counted(model), squeezed)
    if by == "name" or (by == "all" and have_same_keys(checkpoint, model)):
        found, pairs = by_equal_keys(source, target, decisions)
        return assignment(checkpoint, model, found, source, pairs, times=times)
    name_halves(source, target)
    several = drop_adapter_name(source, target)
    tied = {t.key: t.tied for t in model.tensors if t.tied}
    listed = by_number(source, target, tied, silent=by == "topology")
    if listed and not any(decisions.refuses(s, t) for s, t, _ in listed):
        listed += share(listed, target, tied)
        return assignment(checkpoint, model, listed, source, times=times)
    adopt(source, target)
    adopt(target, source)

    # 2: what stands beside the network
    target = without_originals(target, source, decisions.spoken_of)
    everything, twins = target, held_twice(target, source, decisions.told)
    target = without(target, twins)
    cleaned = beside_the_model(source, target, decisions.pinned, {key for key, _ in decisions.forbidden})
    source = cleaned.leaves
    halves, mine, theirs = by_their_modules(source, target, decisions.refuses) if by == "all" else ([], [], [])
    source, target = _without(source, mine), _without(target, theirs)

    # 3 and 4: both sides in one form
    lay_out(source, target)
    source, target = unify_scanned(source, target, _unified)

    # 5 to 8: blocks, their modules, and what no block took
    whole = _together(source, mine), _together(target, theirs)
    known = _known(source, target, whole, by, decisions, tied, (checkpoint, model))
    found = _put_together(source, target, known) + halves
    source, target = whole

    # 9: the whole, once more
    found, source, target = _completed(found, source, target, known, several)
    found = believed(found, source, target, known.identity, cleaned.undecided, bool(decisions.pinned))
    found += [f for f in serve_copies(found, everything, twins, tied) if not decisions.forbids(f[0], f[1])]
    found = _served_again(found, source, target, known)
    if not known.names.silent:
        found += as_in_other_items(found, source, target, decisions.refuses)
    rest = left_over(found, source, target, known.names, decisions.refuses)
    found += not_crossed(rest, source, target, known.identity, found)
    found += beside_norms(found, source, target, decisions.refuses)
    put_in_order(found, source, target, known.by_name)
    found = drop_lonely(doubt_gates(found, source, target))
    pairs = mismatches(found, source, target, known.names, known.identity)
    found += beside_mismatches(pairs, found, source, target, decisions.refuses)

    # 10: the answer
    return assignment(checkpoint, model, found, source, pairs, cleaned.notes, cleaned.dropped, times)


def _known(
    source: Sequence[Leaf],
    target: Sequence[Leaf],
    whole: tuple[Sequence[Leaf], Sequence[Leaf]],
    by: By,
    decisions: Decisions,
    tied: Mapping[str, str],
    specs: tuple[StateDictSpec, StateDictSpec],
) -> Known:
    silent = by == "topology"
    tokens = dict.fromkeys(t for x in source for t in x.path), dict.fromkeys(t for x in target for t in x.path)
    close = norms_close(leaf.path for leaf in (*source, *target))
    names = Names(EMPTY if silent else lexicon(), silent=silent, tokens=tokens, norms_close=close)
    by_name = is_sorted(specs[0].keys), is_sorted(specs[1].keys)
    order_trust = SORTED_TRUST if by_name[0] != by_name[1] and not silent else 1.0
    identity = Identity((), ()) if silent else Identity(*whole)
    return Known(names, identity, decisions, tied, by_name, order_trust)


def _unified(source: list[Leaf], target: list[Leaf]) -> tuple[list[Leaf], list[Leaf]]:
    """Both sides in one form: layouts alike, and what only one side has in one tensor joined on the other."""
    source, target = fold_laid(source, target), fold_laid(target, source)
    source, target = fold_frames(source, target), fold_frames(target, source)
    source, target = fold_latent(source, target), fold_latent(target, source)
    merge_heads(source, target)
    merge_heads(target, source)
    unify_layouts(source, target)
    if Counter(leaf.shape for leaf in source) != Counter(leaf.shape for leaf in target):
        see_as_stacks(source, target)
        see_as_stacks(target, source)
        source, target = fold_stacks(source, target), fold_stacks(target, source)
        source, target = fold_rows(source, target), fold_rows(target, source)
        source, target = fold_gates(source, target), fold_gates(target, source)
        for _ in range(2):  # what is fused here and there is seen when the one is folded
            source, target = fold_parts(source, target), fold_parts(target, source, serve=True)
    return source, target


def _put_together(source: list[Leaf], target: list[Leaf], known: Known) -> list[Found]:
    """The pairs of a first look: by whole keys, by place in one list, or else block by block."""
    decided = known.decisions.made
    found = [] if known.names.silent or decided else by_every_name(source, target)
    if not found and known.order_trust == 1 and not decided:
        found = at_one_place(source, target, known.names)
    if not found and source:
        found = _block_by_block(source, target, known)
    if decided:
        return found
    found = in_sequence(found)
    return found if any(known.by_name) else in_one_list(found, source, target)


def _block_by_block(source: list[Leaf], target: list[Leaf], known: Known) -> list[Found]:
    """The pairs of all blocks; of lists beside each other as one list (`zipped`), where so more pairs are sure."""
    mine, theirs = _sides(source, target)
    found = _solve(mine, theirs, known)
    zipped = zip_lists(source, mine.tree, theirs.tree) + zip_lists(target, theirs.tree, mine.tree)
    plain = (len(found), _sure(found)) if zipped else (0, 0)
    most = min(len(source), len(target))
    if not zipped or plain == (most, most):
        return found
    before = [(leaf, leaf.path) for leaf, _ in zipped]
    _move(zipped)
    other = _solve(*_sides(source, target), known)
    if (len(other), _sure(other)) > plain:
        return other
    _move(before)
    return found


def _move(paths: Iterable[tuple[Leaf, Path]]) -> None:
    for leaf, path in paths:
        leaf.path = path


def _solve(mine: Side, theirs: Side, known: Known) -> list[Found]:
    """The pairs of all blocks, from the roots of the two trees down.

    Layers that have less in common than blocks must are put together by their numbers, in a second try, where without
    it a tensor of one goes to another, or fewer pairs are sure.
    """
    by_key = {key: leaf for leaf in theirs.leaves for key in leaf.keys}
    wanted = ((s, other) for s in mine.leaves for key in s.keys for other in known.decisions.pinned.get(key, ()))
    pins = [(s, by_key[other]) for s, other in wanted if other in by_key]
    refuses = known.decisions.refuses if known.decisions.made else None

    def solver(by_layers: bool) -> Solver:
        return Solver(mine, theirs, known.names, order, known.identity, refuses, pins, by_layers)

    order = Order(known.order_trust, known.by_name)
    first = solver(by_layers=False)
    found = first.solve_roots()
    if not first.layers_apart or refuses is not None:
        return found
    again = solver(by_layers=True).solve_roots()
    return again if first.crosses_layers or _sure(again) > _sure(found) else found


def _sides(source: list[Leaf], target: list[Leaf]) -> tuple[Side, Side]:
    shapes, structs = Interner(), Interner()
    return _side(source, shapes, structs), _side(target, shapes, structs)


def _side(leaves: list[Leaf], shapes: Interner, structs: Interner) -> Side:
    numbers = [-1 if leaf.integer else shapes(leaf.shape) for leaf in leaves]
    weights = {n: VECTOR for n, leaf in zip(numbers, leaves, strict=True) if len(leaf.shape) < 2}
    return Side(leaves, Tree([leaf.path for leaf in leaves], numbers, structs, weights))


def _completed(
    found: list[Found], source: list[Leaf], target: list[Leaf], known: Known, several: bool
) -> tuple[list[Found], list[Leaf], list[Leaf]]:
    """The pairs, pinned ones and those that were added included, as a look at all of them leaves them.

    Args:
        found: the pairs of the blocks.
        source: the checkpoint's tensors.
        target: the model's.
        known: names, identity and decisions.
        several: no name says which of several adapters is meant.

    Returns:
        The pairs, and both sides, in which what adds up to one tensor of the other side is one.
    """
    names, decisions = known.names, known.decisions
    as_named((s, t) for s, t, _ in found)
    found, apart = pinned(found, source, target, decisions)
    found = reviewed(found, source, target, names, known.order_trust, known.identity, decisions)
    found, source, target = add_up(found, source, target, decisions.forbids)
    found = drop_from_base(found + with_more_rows(found, source, target, names, decisions.refuses), target)
    found = in_pinned_order(found, decisions)
    refuse_unfit(apart, found)
    found = doubt_half_adapters(found, target)
    if several and not decisions.made:
        found = [(s, t, flagged(e, "adapters") if is_adapter(t) else e) for s, t, e in found]
    return found, source, target


def _served_again(found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf], known: Known) -> list[Found]:
    """The pairs, and what else of the model their tensors serve: tied ones, trained copies, one part of all blocks."""
    forbids = known.decisions.forbids
    found += [f for f in share(found, target, known.tied) if not forbids(f[0], f[1])]
    if not known.decisions.made:
        found = in_both_towers(found, target, known.names)
    found = trained_copies(found, target, forbids)
    found += [f for f in in_every_block(found, target) if not forbids(f[0], f[1])]
    found += [f for f in under_one_name(found, source, target) if not forbids(f[0], f[1])]
    found += [f for f in again_by_name(found, source, target) if not forbids(f[0], f[1])]
    return found + [f for f in tie(found, source, target, known.names) if not forbids(f[0], f[1])]


def _without(leaves: Sequence[Leaf], some: Iterable[Leaf]) -> list[Leaf]:
    gone = set(map(id, some))
    return [leaf for leaf in leaves if id(leaf) not in gone]


def _together(leaves: Sequence[Leaf], more: Iterable[Leaf]) -> list[Leaf]:
    return sorted([*leaves, *more], key=lambda leaf: leaf.place)


def _sure(found: Sequence[Found]) -> int:
    """How many pairs are not flagged."""
    return sum(not judge(evidence).ambiguous for _, _, evidence in found)


def is_sorted(keys: Sequence[str]) -> bool:
    """Are the keys in alphabetical order (TF, flax, safetensors written from a dict)?"""
    return len(keys) > 8 and all(a <= b for a, b in pairwise(keys))
