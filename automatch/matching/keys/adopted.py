"""The paths that neighbours show to be a leaf's: modules of `fc_w` and `fc_b`, the first of a list without a number."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from automatch.describing.lexicon import lexicon
from automatch.describing.tokens import words_of
from automatch.matching.basis.leaves import Leaf, template

_ADOPTED = ("bias", "weight")


def adopt(leaves: list[Leaf], others: Sequence[Leaf] = ()) -> None:
    """Give leaves the paths that their neighbours show to be theirs (in place); `others` are the other side's.

    A bias that stands beside its module goes into the module: `q_bias` beside `q_proj.weight`, where one module beside
    it bears the word and has no tensor of that role. `fc_w` and `fc_b` are of one module, `w1`, `w2` and `w3` are
    called by what they are, and where the first of several has no number it gets one, see below.
    """
    _join_collections(leaves)
    _part_kernels(leaves, others)
    _part_roles(leaves)
    _add_to_adapters(leaves)
    _call_halves(leaves, others)
    _call_cross_attention(leaves, others)
    _number_firsts(leaves)
    beside_modules = [
        leaf for leaf in leaves if leaf.path[-1] in _ADOPTED and leaf.keys[0].endswith(f"_{leaf.path[-1]}")
    ]
    if not beside_modules:
        return
    paths = {leaf.path for leaf in leaves}
    modules: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path in dict.fromkeys(leaf.path[:-1] for leaf in leaves if len(leaf.path) > 1):
        modules[path[:-1]].append(path[-1])
    for leaf in beside_modules:
        *prefix, stem, role = leaf.path
        if (*prefix, stem, "weight") in paths:
            continue
        beside = [
            token
            for token in modules.get(tuple(prefix), ())
            if token != stem and _means(stem, token) and (*prefix, token, role) not in paths
        ]
        if len(beside) == 1:
            leaf.path = (*prefix, beside[0], role)


def _means(stem: str, token: str) -> bool:
    """Is what stands before `_bias` a word of a module's name, or another word for it: `q_bias` beside `query`?"""
    known = lexicon().words
    return stem in words_of(token) or bool(known.get(stem, frozenset()) & known.get(token, frozenset()))


_COLLECTIONS = {"params", "batch_stats"}
"""Under these names flax keeps the parameters of all modules, and their statistics."""


def _join_collections(leaves: list[Leaf]) -> None:
    """Bring the statistics of flax's norms to their parameters (in place)."""
    if {leaf.path[0] for leaf in leaves} >= _COLLECTIONS:
        for leaf in leaves:
            if leaf.path[0] in _COLLECTIONS and len(leaf.path) > 1:
                leaf.path = leaf.path[1:]


LISTED = 2 / 3
"""An item of a list that has so many of the first one's tensors, and no others, may have lost the rest."""

_SECOND_HALVES = ("lora_up", "lora_B", "lora_b")


def _add_to_adapters(leaves: list[Leaf]) -> None:
    """Call `q.diff_b` beside `q.lora_up.weight`, as files for ComfyUI say it, the adapter's bias (in place)."""
    paths = {leaf.path for leaf in leaves if leaf.path[-2:-1] and leaf.path[-2] in _SECOND_HALVES}
    for leaf in leaves if paths else ():
        if leaf.path[-1] == "diff_b":
            half = next((half for half in _SECOND_HALVES if (*leaf.path[:-1], half, "weight") in paths), None)
            leaf.path = (*leaf.path[:-1], half, "bias") if half else leaf.path


_PAIRED = {"w": "b", "b": "w", "shift": "scale", "scale": "shift", "gamma": "beta", "beta": "gamma"}
"""Ends of names that stand for a module's weight and its bias where both do."""

_LETTER = re.compile(r"(.*_)?(?:W(?=[\d_a-z])|w(?=[\d_]))(.*)")
"""What stands around the letter for a weight: `W_in`, `w1`, `self_Wk`. Its bias has a `b` there."""


_KERNELS = ("depthwise", "pointwise")
"""The kernels of one layer of Keras, which no module of its own holds."""


def _part_kernels(leaves: list[Leaf], others: Sequence[Leaf]) -> None:
    """Make modules of `fc1_kernel` and `fc2_kernel` in a file that calls no matrix a weight (in place).

    Not where those that are not square fit the other side's matrices as they are: they are no kernels then.
    """
    paths = {leaf.path for leaf in leaves}
    kernels = []
    for leaf in leaves:
        *prefix, last = leaf.path
        stem = last.removesuffix("_kernel")
        if stem not in (last, "", *_KERNELS) and (*prefix, "kernel") not in paths:
            kernels.append((leaf, (*prefix, stem, "kernel")))
    if not kernels or any(leaf.path[-1] == "weight" and len(leaf.shape) > 1 for leaf in leaves):
        return
    theirs = {leaf.shape for leaf in others}
    called = {(leaf.path[-2:], leaf.shape) for leaf in others}
    votes = 0
    for leaf, path in kernels:
        shape, turned = leaf.shape, leaf.shape[::-1]
        if len(shape) == 2 and shape != turned:
            name = (path[-2], "weight")
            votes += (turned in theirs) + ((name, turned) in called) - (shape in theirs) - ((name, shape) in called)
    for leaf, path in kernels if votes >= 0 else ():
        leaf.path = path


def _part_roles(leaves: list[Leaf]) -> None:
    """Make a module of `fc_w` and `fc_b`, `W_in` and `b_in`, `up` and `up_bias` beside each other (in place)."""
    shapes = {leaf.path: leaf.shape for leaf in leaves}
    for leaf in leaves:
        *prefix, last = leaf.path
        stem, _, role = last.rpartition("_")
        if stem and role in _PAIRED and (*prefix, f"{stem}_{_PAIRED[role]}") in shapes:
            leaf.path = (*prefix, stem, role)
    said: dict[tuple[str, ...], tuple[str, ...]] = {}
    for leaf in leaves:
        *prefix, last = leaf.path
        letter = _LETTER.fullmatch(last) if len(leaf.shape) > 1 else None
        bias = (*prefix, f"{letter[1] or ''}b{letter[2]}") if letter else ()
        if 0 < len(shapes.get(bias, ())) < len(leaf.shape):
            said[leaf.path], said[bias] = (*leaf.path, "w"), (*leaf.path, "b")
        if len(leaf.shape) > 1 and len(shapes.get((*leaf.path, "bias"), ())) == len(leaf.shape) - 1:
            said[leaf.path] = (*leaf.path, "weight")
    for leaf in leaves if said else ():
        leaf.path = said.get(leaf.path, leaf.path)


_HALVES = frozenset({"w1", "w2", "w3", "w12", "wg", "gate_up_proj", "up_proj"})


def _call_halves(leaves: list[Leaf], others: Sequence[Leaf]) -> None:
    """Call by other names what `w1`, `w2` and `w3` do not mean as in Llama (in place).

    The `w3` beside a `w12` leads down. Beside a `wg`, in any layer, a `w1` is no gate but leads up, if the other side
    speaks as Llama does. A `w1` and a `w2` of one shape, without a third, both lead up, and which of them is the gate
    no number says (Qwen: the second). EOLE's `gate_up_proj` is the gate, beside an `up_proj` as large.
    """
    modules: dict[tuple[str, ...], dict[str, list[Leaf]]] = defaultdict(lambda: defaultdict(list))
    for leaf in leaves:
        if len(leaf.path) > 1 and leaf.path[-2] in _HALVES:
            modules[leaf.path[:-2]][leaf.path[-2]].append(leaf)
    theirs = {token for leaf in others for token in leaf.path} if modules else set()
    known = "wg" not in theirs and ("w1" not in theirs or "w3" in theirs)
    gated = {template(home) for home, own in modules.items() if known and "wg" in own and "w3" not in own}
    for home, own in modules.items():
        shapes = {name: sorted(leaf.shape for leaf in held) for name, held in own.items()}
        said: dict[str, str] = {}
        if "w12" in own:
            said = {"w3": "w3_down"}
        elif template(home) in gated:
            said = {"wg": "w1", "w1": "w3"}
        elif own.keys() == {"w1", "w2"} and shapes["w1"] == shapes["w2"]:
            said = {"w1": "half_1", "w2": "half_2"}
        elif own.keys() == {"gate_up_proj", "up_proj"} and shapes["gate_up_proj"] == shapes["up_proj"]:
            said = {"gate_up_proj": "gate_proj"}
        for name, token in said.items():
            for leaf in own.get(name, ()):
                leaf.path = (*leaf.path[:-2], token, leaf.path[-1])


_SELF, _PLAIN = (
    frozenset({("self", "attention"), ("self", "attn")}),
    frozenset({("attention",), ("attn",)}),
)
_CROSS = frozenset({"cross", "enc", "encoder", "encdec", "context", "src", "memory"})
"""Words of an attention to itself, of one that says no more, and, any of them, of one across."""


def _call_cross_attention(leaves: list[Leaf], others: Sequence[Leaf]) -> None:
    """Call the `attention` that stands beside a `self_attention`, and beside no other one, what it is (in place).

    CTranslate2's decoders have the two, and a `layer_norm` in each of them. Only where the other side says which of its
    attentions is across (`encoder_attn`), beside one to itself, and calls none of them plainly.
    """
    both = {
        home: token
        for home, tokens in _attentions(leaves).items()
        for token in tokens
        if len(tokens) == 2 and (token,) in _PLAIN and any(words_of(other) in _SELF for other in tokens)
    }
    beside_self = [
        said
        for tokens in (_attentions(others).values() if both else ())
        if not _SELF.isdisjoint(said := {words_of(token) for token in tokens})
    ]
    across = any(not _CROSS.isdisjoint(words) for said in beside_self for words in said)
    if not across or any(not _PLAIN.isdisjoint(said) for said in beside_self):
        return
    for leaf in leaves:
        for at, token in enumerate(leaf.path[:-1]):
            if both.get(leaf.path[:at]) == token:
                leaf.path = (*leaf.path[:at], "cross_attention", *leaf.path[at + 1 :])
                break


def _attentions(leaves: Sequence[Leaf]) -> dict[tuple[str, ...], set[str]]:
    """What each container calls the attentions in it."""
    beside: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for leaf in leaves:
        for at, token in enumerate(leaf.path[:-1]):
            if "attention" in token.lower() or "attn" in token:
                beside[leaf.path[:at]].add(token)
    return beside


def _number_firsts(leaves: list[Leaf]) -> None:
    """Call `layer_0` the `layer` that stands before a `layer_1` of the same modules (in place).

    So Keras, TensorFlow and Haiku count what is made several times. Modules without modules in them are not called
    otherwise, see `units._silence_numbers`.
    """
    held: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    tokens = {token for leaf in leaves for token in leaf.path}
    for leaf in leaves if any(token.endswith("_1") for token in tokens) else ():
        for depth in range(1, len(leaf.path) - 1):
            held[leaf.path[:depth]].add(leaf.path[depth:])
    firsts = set()
    places = {path: place for place, path in enumerate(held)}
    for path, own in held.items():
        bare = (*path[:-1], path[-1].removesuffix("_1"))
        before = path[-1].endswith("_1") and bare in held and places[bare] < places[path]
        if before and _alike(held[bare], own) and (*bare[:-1], f"{bare[-1]}_0") not in held:
            firsts.add(bare)
    for leaf in leaves if firsts else ():
        path = leaf.path
        leaf.path = tuple(f"{t}_0" if path[: depth + 1] in firsts else t for depth, t in enumerate(path))


def _alike(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> bool:
    """Are two modules of the same tensors, but for one that either may have lost, or a few that the second has not?"""
    common = len(one & other)
    few = other < one and common >= LISTED * len(one)
    return one == other or (common > 1 and (len(one ^ other) == 1 or few))
