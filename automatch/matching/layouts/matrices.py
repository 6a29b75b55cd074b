"""Which tensors may be stored transposed, and how they are called: families of matrices, stacks, bare parameters."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from automatch.describing.lexicon import lexicon
from automatch.describing.tokens import ROLES, split_key, words_of
from automatch.matching.basis.leaves import Leaf, Path, template
from automatch.matching.basis.parts import GATED, role_in
from automatch.matching.layouts.heads import APART, permuted
from automatch.spec import Shape

_WEIGHT = re.compile(r"^weight|(weight|kernel)$|^\d+$|^lora_")

_TABLES = {"pos", "position", "positional", "token", "tokens", "queries", "prompt", "mask", "bias", "table"}
"""Bare parameters called so are no linear layers."""

_PACKED = frozenset({"qweight", "qzeros", "scales"})
"""How AWQ and GPTQ call what they keep of a quantized matrix: packed along one dimension, and turned by nobody."""

Families = dict[tuple[Path, Shape], list[Leaf]]
"""The members of all layers, by the template of their paths and their shape."""


def families_of(leaves: Iterable[Leaf]) -> Families:
    """The tensors of two dimensions and more, those of all layers together, by template and shape; no packed ones."""
    out: Families = defaultdict(list)
    for leaf in leaves:
        if len(leaf.shape) >= 2 and leaf.path[-1] not in _PACKED:
            out[(template(leaf.path), leaf.shape)].append(leaf)
    return out


def but_tables(families: Families, others: Iterable[Leaf]) -> Iterator[tuple[Shape, list[Leaf]]]:
    """The families without embeddings that the other side has in the same shape: tables lie by rows everywhere."""
    tables = {leaf.shape for leaf in others if is_embedding(leaf, near=2)}
    for (_, shape), members in families.items():
        if shape not in tables or not is_embedding(members[0], near=2):
            yield shape, members


def stacks_of(leaves: Iterable[Leaf], others: Iterable[Leaf]) -> set[Shape]:
    """The shapes of stacks: folded ones, and the other side's of which only one with each item turned is known."""
    theirs = {leaf.shape for leaf in others}
    return halved_of(leaves, theirs) | {
        leaf.shape
        for leaf in leaves
        if len(leaf.shape) == 3
        and (
            "stack" in leaf.ops
            or (
                permuted(leaf.shape, (0, 2, 1)) in theirs
                and leaf.shape[1] != leaf.shape[2]
                and not {leaf.shape, leaf.shape[::-1]} & theirs
            )
        )
    }


def halved_of(leaves: Iterable[Leaf], theirs: set[Shape]) -> set[Shape]:
    """The shapes of stacks that hold two of the other side's stacks beside each other, once their items are turned.

    Experts' gate and up: [experts, in, 2 * out] here, and twice [experts, out, in] there. What leads down has the shape
    of those before they are turned.
    """
    mine = {leaf.shape for leaf in leaves if len(leaf.shape) == 3}
    out: set[Shape] = set()
    for many, width, both in mine - theirs:
        half = both // 2
        if both % 2 == 0 and (many, half, width) in theirs and (many, both, width) not in mine:
            out |= {(many, width, half), (many, half, width)}
    return out


def is_gated(leaf: Leaf) -> bool:
    """Is a tensor called a gate's or an up-projection's?"""
    found = role_in(leaf.path)
    return found is not None and found[1] in GATED


def has_heads(leaf: Leaf) -> bool:
    """Were heads brought together that stood on both sides of the input's dimension?"""
    return leaf.perm in APART and leaf.flat is not None


def is_embedding(leaf: Leaf, near: int = 0) -> bool:
    """Is a tensor called one, or what holds it; by so many of its last tokens, or (0) by any."""
    words = lexicon().words  # `wte` is one, `time_emb_proj` is none
    return any(
        "embedding" in words.get(token.lower(), ()) or any(word.startswith("embed") for word in words_of(token))
        for token in leaf.path[-near:]
    )


def _is_bare(leaf: Leaf) -> bool:
    """Is a matrix a parameter of its own, and not called a weight?"""
    last = _bare_name(leaf)
    return len(leaf.shape) == 2 and len(leaf.path) > 1 and last not in ROLES and not _WEIGHT.search(last)


def is_square(leaf: Leaf) -> bool:
    """Is a matrix a weight that does not show how it is stored?"""
    square = len(leaf.shape) == 2 and leaf.shape[0] == leaf.shape[1]
    return square and leaf.path[-1] == "weight" and not is_embedding(leaf)


def _bare_name(leaf: Leaf) -> str:
    """What a parameter is called itself: `w1` as well where its bias `b1` made a module of the two."""
    return split_key(leaf.keys[0])[-1] if leaf.path[-1] == "w" else leaf.path[-1]


def left_bare(leaves: list[Leaf], others: list[Leaf]) -> set[tuple[str, Shape]]:
    """What bare matrices are called, and their shapes, of which the other side has more Linears, in either layout."""
    linear = Counter(leaf.shape for leaf in others if leaf.path[-1] == "weight")
    linear.subtract(leaf.shape for leaf in leaves if leaf.path[-1] == "weight")
    bare = Counter(leaf.shape for leaf in leaves if _is_bare(leaf))
    bare.subtract(leaf.shape for leaf in others if _is_bare(leaf))
    there = {_bare_name(leaf) for leaf in others}
    return {
        (leaf.path[-1], leaf.shape)
        for leaf in leaves
        if _is_bare(leaf)
        and _bare_name(leaf) not in there
        and all(min(linear[form], bare[form]) > 0 for form in (leaf.shape, leaf.shape[::-1]))
    }


def is_table(leaf: Leaf) -> bool:
    """Is a parameter of its own called a table, a token, a bias: what no layer multiplies with?"""
    words = words_of(leaf.path[-1])
    return any(word.startswith("embed") for word in words) or not _TABLES.isdisjoint(words)
