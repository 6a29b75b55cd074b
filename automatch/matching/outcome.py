"""From pairs of leaves to the answer: keys, operations, confidence, reasons, what is left."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from automatch.describing.tokens import split_key, words_of
from automatch.matching.assignment import Assignment, Match, Mismatch
from automatch.matching.confidence import Judgement, judge
from automatch.matching.evidence import Found
from automatch.matching.layout import turned_once
from automatch.matching.leaves import SHARED, Leaf, template
from automatch.matching.parts import film_unsaid, gate_unsaid, mlp_unsaid, only_numbered, turns_unsaid
from automatch.matching.unstacked import said_of
from automatch.ops import OPS, exchanged, relative_shape
from automatch.spec import Shape, StateDictSpec, TensorSpec

BY_HEAD = "query_key_value and linear_qkv often lie head by head, not in three blocks, and no shape shows it"
LATENT = "keys and values head by head, the keys turned, as in DeepSeek's models; no shape shows it"
FLATTENED = "beside convolutions: one framework flattens a map with its channels last, the other with them first"
MIRRORED = "a transposed convolution stored as any other, as flax does: torch's is its mirror image in space"
HALVES = "nothing says which half of the fused tensor is the gate"
TURNS = "gate and up of the experts may lie in halves or by turns (gpt-oss), and no shape shows it"
MLP = "nothing says whether the mlp lies before q, k and v or behind them"
NUMBERED = "the first three layers of an attention's list, taken as query, key and value; no name says so"
LAYOUT = "nothing says whether the square matrix is stored as a Linear's or transposed"
KERNEL = "of its shape, the dimensions of the kernel may lie in more than one order, and nothing says which"
FILMS = "nothing says which half of the fused tensor scales and which shifts"
PATCHES = "nothing says whether the linear layer takes a patch channel by channel, or place by place"
BEFORE = "the weight as it was before pruning or normalising; what was computed with is another one"
_ORIGINAL = "_orig"
"""How torch.nn.utils ends the name of a parameter of which another is made."""
_COLOURS = 4
"""More channels are no image's."""
_OF_HAIKU = re.compile(r"conv[1-3]_d_transpose")
_LARGEST_KERNEL = 16
"""Larger ones are rare; so large is rather a number of experts."""
_HEAD_BY_HEAD = frozenset({("query", "key", "value"), ("linear", "qkv")})
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


def _match(
    s: Leaf, t: Leaf, judgement: Judgement, votes: int, rivals: Mapping[Shape, Sequence[Leaf]], told: bool
) -> Match | None:
    """The pair in words; None where a stack of layers would have to become what no rule can say.

    `told`: a person pinned this pair, or its like in another layer.
    """
    confidence, ambiguous, reason = judgement
    if not (s.layers or t.layers):
        s, t = turned_once(*_as_kernels(s, t))
    unsaid = _unsaid(s, t) if confidence < 1 and not told else None  # what is certain, a person or the model said
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
    alternatives: tuple[str, ...] = ()
    if ambiguous:
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
        alternatives = tuple(leaf.keys[0] for leaf in near[:3])
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


def _unsaid(s: Leaf, t: Leaf) -> Judgement | None:
    """What no name and no shape says of how one becomes the other, if there is such a thing."""
    if _by_head(s, t):
        return Judgement(0.4, True, BY_HEAD)
    if s.woven or t.woven or s.of_map or t.of_map:
        return Judgement(0.45, True, FLATTENED)
    if _is_mirrored(s) or _is_mirrored(t):
        return Judgement(0.45, True, MIRRORED)
    if "join_latent" in (*s.ops, *t.ops) or _is_latent(s, t):
        return Judgement(0.45, True, LATENT)
    if gate_unsaid(s, t):
        return Judgement(0.45, True, HALVES)
    if film_unsaid(s, t):
        return Judgement(0.45, True, FILMS)
    if turns_unsaid(s, t):
        return Judgement(0.45, True, TURNS)
    if mlp_unsaid(s, t):
        return Judgement(0.45, True, MLP)
    if only_numbered(s, t):
        return Judgement(0.45, True, NUMBERED)
    if _of_patches(s, t):
        return Judgement(0.45, True, PATCHES)
    if s.path[-1].endswith(_ORIGINAL) and not t.path[-1].endswith(_ORIGINAL):
        return Judgement(0.45, True, BEFORE)
    if _of_images(s, t):
        return Judgement(0.45, True, KERNEL)
    guessed = s if s.guessed else t
    return Judgement(0.45, True, KERNEL if len(guessed.raw) > 3 else LAYOUT) if guessed.guessed else None


def _merged_then_turned(s: Leaf, ops: Sequence[str]) -> bool:
    """Whether [heads, size, width] becomes [heads * size, width] and then [width, heads * size].

    Turned first, no size has to be told, and one rule serves every width.
    """
    merged = len(s.raw) == 3 and s.flat == (s.raw[0] * s.raw[1], s.raw[2])
    return merged and list(ops) == ["reshape", "transpose"] and s.perm == (1, 0)


def _is_mirrored(leaf: Leaf) -> bool:
    """Is it a transposed convolution [height, width, in, out]? A depthwise one has but one channel there.

    Or one of Haiku's, `conv2_d_transpose/w`, which lies as Keras' does.
    """
    if "transpose" not in leaf.ops or leaf.layers or leaf.raw[-1] == 1:
        return False
    haiku = len(leaf.path) > 1 and leaf.path[-1] == "w" and _OF_HAIKU.match(leaf.path[-2]) is not None
    small = len(leaf.raw) == 4 or leaf.raw[0] <= _LARGEST_KERNEL
    return haiku or (small and leaf.perm in ((2, 3, 0, 1), (1, 2, 0)))


def _by_head(s: Leaf, t: Leaf) -> bool:
    """Is a tensor cut or joined that may hold query, key and value head by head?

    The first word is Megatron-LM's, and GPT-NeoX, BLOOM and Falcon keep its rows so; others use it for three blocks.
    Megatron-Core, and NeMo with it, says `linear_qkv`, and keeps them group by group.
    """
    return any(words in _HEAD_BY_HEAD for _, words in _joined_under(s, t))


def _is_latent(s: Leaf, t: Leaf) -> bool:
    """Are keys and values joined under DeepSeek's name for them, of which the rows are those of a head after a head?"""
    return any(len(parts.keys) == 2 and words[:2] == ("kv", "b") for parts, words in _joined_under(s, t))


def _joined_under(s: Leaf, t: Leaf) -> Iterator[tuple[Leaf, tuple[str, ...]]]:
    """Where one is joined of several keys, it, and the words of each of the last two names of what it becomes."""
    for parts, fused in ((s, t), (t, s)):
        if "concat" in parts.ops:
            yield from ((parts, words_of(token)) for token in fused.path[-2:])


def _of_patches(s: Leaf, t: Leaf) -> bool:
    """Is one a convolution over patches or frames and the other the linear layer that takes them flattened?"""
    linear, kernel = sorted((s.raw, t.raw), key=len)
    ops = {*s.ops, *t.ops}
    if len(linear) != 2 or len(kernel) not in (3, 4) or ops - {"transpose", "reshape"}:
        return False
    linear = linear[::-1] if "transpose" in ops else linear
    most = _COLOURS if len(kernel) == 4 else math.inf  # behind an image's convolutions, a linear layer takes channels
    patches = 1 < kernel[1] <= most and min(kernel[2:]) > 1
    heads = len(kernel) == 3 and (kernel[0] == math.prod(kernel[1:]) or kernel[1] < kernel[2])  # [width, heads, size]
    return patches and not heads and linear == (kernel[0], math.prod(kernel[1:]))


def _of_images(s: Leaf, t: Leaf) -> bool:
    """Is one a kernel over a table seen as an image, [out, 1, words, width], and the other one over its words?

    The second is [out, width, words]; where the two sizes are equal, nothing shows that they were exchanged.
    """
    line, image = sorted((s.raw, t.raw), key=len)
    if (len(line), len(image)) != (3, 4) or "transpose" in (*s.ops, *t.ops):
        return False
    return image[1] == 1 < image[2] == image[3] and line == (image[0], *image[2:])


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
