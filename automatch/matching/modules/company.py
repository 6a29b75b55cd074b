"""What stands beside a module in its item of a list: T5's `layer.1.layer_norm` is that of `layer.1.EncDecAttention`.

The name of such a norm says nothing, that of its neighbour says all: elsewhere, `pre_cross_attention_layer_norm`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.names import Names
from automatch.matching.basis.units import module_path

_TELLING = frozenset({"attention", "cross", "mlp"})

_ATTENDING = frozenset({"attention", "cross"})


def company(leaves: Sequence[Leaf], names: Names) -> Mapping[Path, str]:
    """For each module that shares a numbered item with one attention or mlp and nothing else, the name of that."""
    modules: dict[Path, set[str]] = defaultdict(set)
    blocks: dict[Path, set[str]] = defaultdict(set)
    for path in {module_path(leaf.path) for leaf in leaves}:
        for depth in range(1, len(path)):
            if path[depth - 1].isdecimal() and not path[depth].isdecimal():
                (modules if depth == len(path) - 1 else blocks)[path[:depth]].add(path[depth])
    return {
        (*item, *own): beside
        for item, own in modules.items()
        for beside in blocks.get(item, ())
        if len(own) == len(blocks[item]) == 1 and any(w.concepts & _TELLING for w in names.token_words(beside))
    } | _behind_parts(leaves, names)


def _behind_parts(leaves: Sequence[Leaf], names: Names) -> dict[Path, str]:
    """The part that each norm stands behind, in blocks that attend to the other sequence first.

    Deformable DETR has `cross_attn`, `norm1`, `self_attn`, `norm2`: the first of its norms is not that of the
    self-attention, as everywhere else.
    """
    rows: dict[Path, dict[str, None]] = defaultdict(dict)
    for leaf in sorted(leaves, key=lambda leaf: leaf.place):
        depth = next((d for d in range(len(leaf.path) - 2, 0, -1) if leaf.path[d - 1].isdecimal()), 0)
        if depth:
            rows[leaf.path[:depth]].setdefault(leaf.path[depth])
    out: dict[Path, str] = {}
    for block, row in rows.items():
        concepts = {token: {c for w in names.token_words(token) for c in w.concepts} for token in row}
        parts = [token for token in row if concepts[token] & _ATTENDING and "norm" not in concepts[token]]
        if [("cross" in concepts[part]) for part in parts] != [True, False]:
            continue
        behind = {b: a for a, b in pairwise(row) if a in parts and "norm" in concepts[b]}
        if len(behind) == len(parts):
            out |= {(*block, norm): part for norm, part in behind.items()}
    return out
