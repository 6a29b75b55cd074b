"""From pairs of leaves to the answer: keys, operations, confidence, reasons, what is left."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from automatch.describing.tokens import split_key
from automatch.matching.answer.unsaid import what_is_unsaid
from automatch.matching.answer.unstacked import said_of
from automatch.matching.assignment import Assignment, Match, Mismatch
from automatch.matching.basis.confidence import Judgement, judge
from automatch.matching.basis.evidence import Found
from automatch.matching.basis.leaves import SHARED, Leaf, template
from automatch.matching.layouts.turning import turned_once
from automatch.ops import OPS, exchanged, relative_shape
from automatch.spec import Shape, StateDictSpec, TensorSpec

_REVERSE = {op.name: op.reverse for op in OPS}
_WINDOW = 16
"""How far around a tensor alternatives are looked for."""

COUNTER = "a counter of the statistics; nothing depends on it"
COMPUTED = "the model computes it when it is built; nothing in it was learnt"
_COMPUTED = re.compile(
    r"(?:^|[._])(?:position_ids|token_type_ids|relative_position_index|rel_pos_index|relative_coords_table"
    r"|attention_bias_idxs|inv_freq|cos_cached|sin_cached|masked_bias)$"
)
_MASK = re.compile(r"(?:^|[._])(?:causal|attn|attention)_mask$")
"""Of floating point, and not known to be a buffer, such a mask may be a parameter."""


def assignment(
    checkpoint: StateDictSpec,
    model: StateDictSpec,
    found: Sequence[Found],
    source: Sequence[Leaf],
    pairs: Iterable[tuple[Leaf, Leaf]] = (),
    notes: tuple[str, ...] = (),
    harmless: Mapping[str, str] | None = None,
    times: Callable[[str], int] | None = None,
) -> Assignment:
    """Word the pairs; every key of both sides gets one place.

    `times` says for how many pairs that of a model key stands, where not all are here.
    """
    found = [pair for one in found for pair in _apart(one)]
    named = [(template(s.path), template(t.path)) for s, t, _ in found]
    votes: Counter[tuple[tuple[str, ...], tuple[str, ...]]] = Counter()
    for (_, t, _), names in zip(found, named, strict=True):
        votes[names] += times(t.keys[0]) if times else 1
    judged = {id(e): judge(e) for e in {id(e): e for _, _, e in found}.values()}
    pinned = {id(s) for s, _, e in found if e.level == "pin"}  # what a person gave away is no alternative
    free = [leaf for leaf in source if id(leaf) not in pinned]
    rivals = _by_shape(free) if any(j.ambiguous for j in judged.values()) else {}
    told = {names for (_, _, e), names in zip(found, named, strict=True) if e.level == "pin"}  # and so in all layers
    made = (
        _match(s, t, judged[id(e)], votes[names], rivals, names in told)
        for (s, t, e), names in zip(found, named, strict=True)
    )
    matches = [match for match in made if match is not None]
    whole = ((s, t) for s, t in pairs if not s.layers and not t.layers)
    mismatched = tuple(Mismatch(t.keys[0], s.keys[0], s.raw, t.raw) for s, t in whole)
    return gathered(checkpoint, model, matches, mismatched, notes, harmless or {})


def gathered(
    checkpoint: StateDictSpec,
    model: StateDictSpec,
    matches: Iterable[Match],
    mismatched: tuple[Mismatch, ...] = (),
    notes: tuple[str, ...] = (),
    harmless: Mapping[str, str] = MappingProxyType({}),
) -> Assignment:
    """The matches in the order of the model's keys, and what is left; every key of both sides gets one place."""
    served: dict[str, Match] = {}
    used: set[str] = set()
    for one in matches:
        used.update(one.checkpoint_keys)
        for key in one.model_keys:
            served[key] = one
    missing = tuple(k for k in model.keys if k not in served)
    unexpected = tuple(k for k in checkpoint.keys if k not in used)
    excused = {**harmless, **excuses(model, missing), **excuses(checkpoint, unexpected)}
    return Assignment(
        tuple({id(m): m for key in model.keys if (m := served.get(key))}.values()),
        missing,
        unexpected,
        mismatched,
        notes,
        excused,
    )


def excuses(spec: StateDictSpec, keys: Iterable[str]) -> dict[str, str]:
    """Those of the keys of one side whose being missing or left over does no harm, and why."""
    return {key: why for key in keys if (why := _excuse(spec.by_key[key]))}


def _excuse(tensor: TensorSpec) -> str:
    """Why it does no harm that a buffer of this name is missing or left over; "" where it does."""
    if tensor.kind == "parameter":
        return ""
    if tensor.key.endswith("num_batches_tracked"):
        return COUNTER
    no_weight = tensor.kind == "buffer" or not tensor.dtype.startswith(("float", "bfloat"))
    return COMPUTED if _COMPUTED.search(tensor.key) or (no_weight and _MASK.search(tensor.key)) else ""


def _apart(pair: Found) -> Iterator[Found]:
    """A pair for every key that one tensor serves; and for every part where both sides were joined from as many."""
    s, t, evidence = pair
    if s.ops == t.ops == ("concat",) and (s.dim, s.sizes) == (t.dim, t.sizes) and s.dim is not None and s.sizes:
        for one, other, size in zip(s.keys, t.keys, s.sizes, strict=True):
            shape = (*s.shape[: s.dim], size, *s.shape[s.dim + 1 :])
            yield _part(s, one, shape), _part(t, other, shape), evidence
        return
    if SHARED not in t.ops:
        yield pair
        return
    ops = tuple(op for op in t.ops if op != SHARED)
    for key in t.keys:
        yield s, replace(t, keys=(key,), ops=ops), evidence


def _as_kernels(s: Leaf, t: Leaf) -> tuple[Leaf, Leaf]:
    """A pair of convolutions of size 1 that were both taken as matrices, of which one is joined: joined as they are."""
    for parts, whole in ((s, t), (t, s)):
        if parts.ops == ("reshape", "concat") and whole.ops in ((), ("reshape",)) and len(parts.raw) == len(whole.raw):
            joined = replace(parts, ops=("concat",), shape=whole.raw), replace(whole, ops=(), shape=whole.raw)
            return joined if parts is s else joined[::-1]
    return s, t


def _part(joined: Leaf, key: str, shape: Shape) -> Leaf:
    """One of the tensors that a leaf was joined from."""
    return replace(joined, path=split_key(key), keys=(key,), shape=shape, raw=shape, ops=(), dim=None, sizes=None)


def _by_shape(source: Sequence[Leaf]) -> dict[tuple[int, ...], list[Leaf]]:
    """The checkpoint's leaves by shape: the alternatives of an ambiguous match are among them."""
    out: dict[tuple[int, ...], list[Leaf]] = {}
    for leaf in source:
        out.setdefault(leaf.shape, []).append(leaf)
    for leaves in out.values():
        leaves.sort(key=lambda leaf: leaf.place)
    return out


def _around(s: Leaf, leaves: Sequence[Leaf]) -> Sequence[Leaf]:
    """The leaves of a list in state_dict order that stand nearest to one of them."""
    at = bisect_left(leaves, s.place, key=lambda leaf: leaf.place)
    return leaves[max(0, at - _WINDOW) : at + _WINDOW]


def _alternatives(s: Leaf, t: Leaf, rivals: Mapping[Shape, Sequence[Leaf]]) -> tuple[str, ...]:
    """The keys of the three leaves around that would most likely do as well."""
    same = template(s.path) if "concat" in t.ops else None  # another layer's fused tensor would not do as well
    near = sorted(
        (
            leaf
            for leaf in _around(s, rivals.get(s.shape, ()))
            if leaf is not s and leaf.integer == s.integer and template(leaf.path) != same
            if (leaf.path[-1] == "bias") == (s.path[-1] == "bias")
        ),
        key=lambda leaf: (template(leaf.path[:-1]) == template(s.path[:-1]), abs(leaf.place - s.place)),
    )
    return tuple(leaf.keys[0] for leaf in near[:3])


def _match(
    s: Leaf, t: Leaf, judgement: Judgement, votes: int, rivals: Mapping[Shape, Sequence[Leaf]], told: bool
) -> Match | None:
    """The pair in words; None where a stack of layers would have to become what no rule can say.

    `told`: a person pinned this pair, or its like in another layer.
    """
    confidence, ambiguous, reason = judgement
    if not (s.layers or t.layers):
        s, t = turned_once(*_as_kernels(s, t))
    # what is certain, a person or the model said
    unsaid = what_is_unsaid(s, t) if confidence < 1 and not told else None
    if told and (s.woven or t.woven or s.of_map or t.of_map):
        reason = f"{reason}; a map's features are put in the order of the other side"
    elif told and (s.guessed or t.guessed):
        reason = f"{reason}; {'transposed' if 'transpose' in (*s.ops, *t.ops) else 'taken as it is stored'}"
    if unsaid is not None:
        confidence, ambiguous, reason = unsaid
    if votes > 1:
        reason = f"{reason} ({votes} times alike)"
    ops = [*s.ops, *(_REVERSE[op] for op in reversed(t.ops))]
    if ops.count("transpose") > 1 and not (s.layers or t.layers):
        return None
    turned = not ops and s.raw == t.raw[::-1] != t.raw  # a column that becomes a row
    if not ops and s.raw != t.raw:
        ops.append("transpose" if turned else "reshape")
    alternatives = _alternatives(s, t, rivals) if ambiguous else ()
    if s.layers or t.layers:
        said = said_of(s, t)
        return (
            None
            if said is None
            else said._replace(confidence=confidence, ambiguous=ambiguous, alternatives=alternatives, reason=reason)
        )
    perm, shape = (1, 0) if turned else s.perm or _inverse(t.perm), _reshaped(s, t, ops)
    if _merged_then_turned(s, ops):
        ops, perm, shape = ["transpose", "reshape"], (2, 0, 1), (0, -1)
    return Match(
        t.keys,
        s.keys,
        "+".join(dict.fromkeys(ops)) or "rename",
        confidence,
        ambiguous,
        alternatives,
        reason,
        s.dim if s.dim is not None else t.dim,
        perm,
        _proportions(t.sizes, ops),
        t.sizes if "split_latent" in ops else s.woven or exchanged(t.woven) or shape,
    )


def _merged_then_turned(s: Leaf, ops: Sequence[str]) -> bool:
    """Whether [heads, size, width] becomes [heads * size, width] and then [width, heads * size].

    Turned first, no size has to be told, and one rule serves every width.
    """
    merged = len(s.raw) == 3 and s.flat == (s.raw[0] * s.raw[1], s.raw[2])
    return merged and list(ops) == ["reshape", "transpose"] and s.perm == (1, 0)


def _inverse(perm: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if perm is None else tuple(sorted(range(len(perm)), key=lambda i: perm[i]))


def _proportions(sizes: tuple[int, ...] | None, ops: Sequence[str]) -> tuple[int, ...] | None:
    """The sizes of a chunk's pieces in lowest terms; None where all are alike and every piece has a key of its own."""
    if sizes is None or "split_latent" in ops or (len(set(sizes)) == 1 and "unstack" not in ops):
        return None
    common = math.gcd(*sizes)
    return tuple(size // common for size in sizes)


def _reshaped(s: Leaf, t: Leaf, ops: Sequence[str]) -> Shape | None:
    """What `reshape` does: merge the heads, take them apart, or give the model's shape."""
    if "reshape" not in ops:
        return None
    if s.flat is None and t.flat is not None:
        return relative_shape(t.flat, _before_merging(t))
    return relative_shape(_before_merging(s), s.flat if s.flat is not None else t.raw)


def _before_merging(leaf: Leaf) -> Shape:
    """The shape as stored, with its dimensions in the order in which heads are merged."""
    if leaf.perm is None or leaf.ops[:2] != ("transpose", "reshape"):
        return leaf.raw
    return tuple(leaf.raw[i] for i in leaf.perm)
