"""Matrices that an exporter left without a name, in the order of their use: `onnx::MatMul_436`, `onnx::MatMul_452`.

ONNX folds the transposition of a linear layer into its weight, and what comes of it has a number for a name; the biases
keep theirs. What is left over on both sides, in order, shows which is which where all shapes agree.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.exchange import Refuses
from automatch.matching.basis.leaves import Leaf
from automatch.spec import Shape

FEWEST = 4
"""Fewer are in some order by chance."""

_NUMBERED = re.compile(r"(.*?\D)(\d+)")


def lay_out(source: Sequence[Leaf], target: Sequence[Leaf]) -> None:
    """Turn a file's unnamed matrices (in place) where their order shows that all of them are transposed.

    Square ones do not show it, and two of a feed-forward fit crosswise. One that a person pinned is turned as well.
    """
    known = {leaf.keys for leaf in source}
    theirs = [t for t in target if len(t.raw) == 2 and t.keys not in known]
    for mine in _lists(source):
        if _in_order(mine, theirs)[1]:
            for leaf in mine:
                leaf.shape, leaf.ops, leaf.perm, leaf.guessed = leaf.raw[::-1], ("transpose",), (1, 0), True


def in_order_of_use(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], refuses: Refuses
) -> list[Found]:
    """Further pairs: matrices with but a number, and the model's matrices that are left over, one by one.

    All are flagged: a model may use its modules in another order than it declares them in.
    """
    used, served = {id(s) for s, _, _ in found}, {id(t) for _, t, _ in found}
    theirs = [t for t in target if id(t) not in served and len(t.raw) == 2 and not t.ops]
    for mine in _lists([s for s in source if id(s) not in used]):
        others, turned = _in_order(mine, theirs)
        laid = [replace(s, shape=s.raw, ops=(), perm=None) for s in mine]
        if turned:
            laid = [replace(s, shape=s.raw[::-1], ops=("transpose",), perm=(1, 0)) for s in mine]
        pairs = list(zip(laid, others, strict=True)) if others else []
        if pairs and not any(refuses(s, t) for s, t in pairs):
            return [(s, t, Evidence(level="used")) for s, t in pairs]
    return []


def _lists(leaves: Sequence[Leaf]) -> Iterator[list[Leaf]]:
    """Matrices that are called alike but for the number that ends their keys, by these numbers."""
    lists: dict[str, dict[int, Leaf]] = defaultdict(dict)
    for leaf in leaves:
        name = _NUMBERED.fullmatch(leaf.keys[0]) if len(leaf.path) == 1 and len(leaf.raw) == 2 else None
        if name:
            lists[name[1]][int(name[2])] = leaf
    for numbered in lists.values():
        if len(numbered) >= FEWEST:
            yield [numbered[number] for number in sorted(numbered)]


def _in_order(mine: Sequence[Leaf], theirs: Sequence[Leaf]) -> tuple[list[Leaf], bool]:
    """Those of the second that the first are, in order, and whether all are transposed; none where this is not clear.

    There may be more of the second (an embedding that the file has not, another head), if they leave but one way.
    """
    shapes = [t.raw for t in theirs]
    own = [s.raw for s in mine]
    ways = [
        (way, turned) for turned in (False, True) for way in _ways([s[::-1] for s in own] if turned else own, shapes)
    ]
    return ([theirs[at] for at in ways[0][0]], ways[0][1]) if len(ways) == 1 else ([], False)


def _ways(some: Sequence[Shape], shapes: Sequence[Shape]) -> list[list[int]]:
    """Where some shapes stand among others, in their order: the first way and the last, one if these are the same."""
    first, last = _earliest(some, shapes), _earliest(some[::-1], shapes[::-1])
    if first is None or last is None:
        return []
    last = [len(shapes) - 1 - at for at in reversed(last)]
    return [first] if first == last else [first, last]


def _earliest(some: Sequence[Shape], shapes: Sequence[Shape]) -> list[int] | None:
    """The first place of each behind that of the one before; None where there is none."""
    out: list[int] = []
    at = 0
    for shape in some:
        while at < len(shapes) and shapes[at] != shape:
            at += 1
        if at == len(shapes):
            return None
        out.append(at)
        at += 1
    return out
