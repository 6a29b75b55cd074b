"""Matrices that an exporter left without a name, in the order of their use: `onnx::MatMul_436`, `onnx::MatMul_452`.

ONNX folds the transposition of a linear layer into its weight, and what comes of it has a number for a name; the biases
keep theirs. What is left over on both sides, in order, shows which is which where all shapes agree.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from automatch.matching.evidence import Evidence, Found
from automatch.matching.exchange import Refuses
from automatch.matching.leaves import Leaf

FEWEST = 4
"""Fewer are in some order by chance."""

_NUMBERED = re.compile(r"(.*?\D)(\d+)")


def in_order_of_use(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], refuses: Refuses
) -> list[Found]:
    """Further pairs: matrices with but a number, and the model's matrices that are left over, one by one.

    Neighbours of one shape, as q, k and v, may be used in another order than they are declared in: these are flagged.
    """
    used, served = {id(s) for s, _, _ in found}, {id(t) for _, t, _ in found}
    theirs = [t for t in target if id(t) not in served and len(t.raw) == 2 and not t.ops]
    lists: dict[str, dict[int, Leaf]] = defaultdict(dict)
    for leaf in source:
        name = _NUMBERED.fullmatch(leaf.keys[0])
        if id(leaf) not in used and name and len(leaf.path) == 1 and len(leaf.raw) == 2:
            lists[name[1]][int(name[2])] = leaf
    for numbered in lists.values():
        mine = [numbered[number] for number in sorted(numbered)]
        pairs = _paired(mine, theirs) if len(mine) >= FEWEST and len(mine) == len(theirs) else []
        if pairs and not any(refuses(s, t) for s, t in pairs):
            runs = [list(run) for _, run in groupby(pairs, key=lambda pair: pair[1].raw)]
            return [(*pair, Evidence(level="used" if len(run) > 1 else "listed")) for run in runs for pair in run]
    return []


def _paired(mine: Sequence[Leaf], theirs: Sequence[Leaf]) -> list[tuple[Leaf, Leaf]]:
    """The two, as they are or all of the first transposed; none where the shapes differ, or show neither."""
    shapes = [t.raw for t in theirs]
    straight, turned = [s.raw for s in mine] == shapes, [s.raw[::-1] for s in mine] == shapes
    if straight == turned:
        return []
    if straight:
        laid = [replace(s, shape=s.raw, ops=(), perm=None) for s in mine]
    else:
        laid = [replace(s, shape=s.raw[::-1], ops=("transpose",), perm=(1, 0)) for s in mine]
    return list(zip(laid, theirs, strict=True))
