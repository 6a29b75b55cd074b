"""The keys' and values' projections of multi-head latent attention, where the other side has them in one matrix.

A DeepSeek model has `kv_b_proj`, and llama.cpp `attn_k_b` and `attn_v_b`, MLX `embed_q` and `unembed_out`; what becomes
of the one is in `ops/latent.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from automatch.describing.tokens import words_of
from automatch.matching.basis.leaves import Leaf, Path, template
from automatch.matching.basis.units import module_path
from automatch.spec import Shape

_KEYS = frozenset("k q key query uk kb".split())
"""Words of the part that makes keys: it is multiplied into the query."""

_MOST = 16
"""More pairs in one block are no keys and values of an attention."""

Pair = tuple[Leaf, Leaf]


def fold_latent(leaves: list[Leaf], others: Sequence[Leaf]) -> list[Leaf]:
    """Fold [heads, latent, keys] and [heads, values, latent] of a block into one virtual matrix.

    Only where the other side has as many matrices of the joined shape as this side such pairs, and none of their
    shapes. Where keys, values and the latent vector are of one size, names say which of the two holds keys.

    Returns the leaves with each folded pair replaced by one leaf at the place of its first member.
    """
    theirs = Counter(leaf.shape for leaf in others if not leaf.ops)
    mine = Counter(leaf.shape for leaf in leaves)
    wanted = {shape for shape in theirs if len(shape) == 2 and not mine[shape]}
    families: dict[tuple[Shape, Path, Path], list[Pair]] = defaultdict(list)
    apart = [leaf for leaf in leaves if len(leaf.shape) == 3 and not (leaf.ops or theirs[leaf.shape])]
    for pair in _side_by_side(apart if wanted else []):
        joined = _joined(pair)
        if joined in wanted:
            families[joined, template(pair[0].path), template(pair[1].path)].append(pair)
    gone: dict[int, Leaf | None] = {}
    for (joined, *_), pairs in sorted(families.items(), key=lambda item: not _is_named(item[1][0])):
        keys, values = pairs[0]
        if len(pairs) != theirs[joined] or any(id(leaf) in gone for pair in pairs for leaf in pair):
            continue
        either = _joined((values, keys)) == joined and not _is_named(pairs[0])
        for pair in pairs:
            first = min(pair, key=lambda leaf: leaf.place)
            gone.update((id(leaf), None) for leaf in pair)
            gone[id(first)] = _one(pair, first, either)
    return [kept for leaf in leaves if (kept := gone.get(id(leaf), leaf)) is not None] if gone else leaves


def _side_by_side(leaves: Sequence[Leaf]) -> Iterator[Pair]:
    """Every two leaves of modules, or parameters, of one block that fit each other; a block of many such is none."""
    keys: dict[tuple[Path, int, int], list[Leaf]] = defaultdict(list)
    values: dict[tuple[Path, int, int], list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        block, (heads, a, b) = module_path(leaf.path)[:-1], leaf.shape
        keys[block, heads, a].append(leaf)
        values[block, heads, b].append(leaf)
    for home, own in keys.items():
        if len(own) * len(values[home]) <= _MOST:
            yield from ((a, b) for a in own for b in values[home] if a is not b)


def _joined(pair: Pair) -> Shape | None:
    """The shape of the matrix that two tensors make, if the first holds keys and the second values."""
    (heads, latent, keys), (same_heads, values, same_latent) = (leaf.shape for leaf in pair)
    fits = (heads, latent) == (same_heads, same_latent)
    return (heads * (keys + values), latent) if fits else None


def _is_named(pair: Pair) -> bool:
    """Do names say that the first holds keys, and not that the second does?"""
    first, second = (_KEYS.intersection(words_of(module_path(leaf.path)[-1])) for leaf in pair)
    return bool(first) and not second


def _one(pair: Pair, first: Leaf, guessed: bool) -> Leaf:
    keys, values = pair
    module = (*module_path(keys.path)[:-1], "kv_b")
    return replace(
        first,
        path=(*module, keys.path[-1]) if len(keys.path) > len(module) else module,
        shape=_joined(pair) or (),
        keys=(*keys.keys, *values.keys),
        raw=keys.raw,
        ops=("join_latent",),
        sizes=(keys.shape[2], values.shape[1]),
        guessed=guessed,
    )
