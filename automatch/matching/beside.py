"""Norms that stand before one part of a block here, and before another there.

A block with three norms or more says by its order which of them belongs to which part: the one right before the mlp is
the mlp's. Where the pairs say otherwise, be their names as equal as they may (`norm2` and `norm3` of HunyuanDiT were
numbered anew), nobody can tell which is right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from automatch.matching.evidence import Found
from automatch.matching.leaves import Leaf
from automatch.matching.units import module_path

Path = tuple[str, ...]

SEVERAL = 3
"""Of two norms, the order of the parts around them says too little: they may stand before or behind their part."""


def doubt_misplaced(found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf]) -> list[Found]:
    """The same pairs, those of norms flagged that other parts follow on the two sides."""
    mine, theirs = _Blocks(source), _Blocks(target)
    if not mine.norms or not theirs.norms:
        return found
    pairs = {module_path(s.path): module_path(t.path) for s, t, _ in found if not (s.ops or t.ops)}
    back = {t: s for s, t in pairs.items()}
    parts: dict[Path, Path] = {}
    for s, t, _ in found:
        for depth in range(1, len(s.path)):
            parts.setdefault(s.path[:depth], t.path)
    doubted: set[Path] = set()
    for norm in mine.norms:
        behind, partner = mine.behind.get(norm), pairs.get(norm)
        if behind is None or behind not in parts or partner not in theirs.norms:
            continue
        if max(mine.norms[norm], theirs.norms[partner]) < SEVERAL:
            continue
        block = partner[:-1]
        before = theirs.before.get(parts[behind][: len(partner)])
        other = back.get(before) if before in theirs.norms and before != partner else None
        if other in mine.norms and before is not None and before[:-1] == block and other[:-1] == norm[:-1]:
            doubted |= {norm, other}
    if not doubted:
        return found
    return [
        (s, t, replace(e, level="beside") if module_path(s.path) in doubted and e.level != "pin" else e)
        for s, t, e in found
    ]


class _Blocks:
    """The children of blocks with several norms of one size, in their order.

    Attributes:
        norms: norm -> how many the block has of its size.
        behind: norm -> the part right behind it, where that is no norm.
        before: part -> what stands right before it.
    """

    def __init__(self, leaves: Sequence[Leaf]) -> None:
        matrices: set[Path] = set()
        vectors: dict[Path, Leaf] = {}
        for leaf in leaves:
            if len(leaf.shape) == 1:
                vectors.setdefault(module_path(leaf.path), leaf)
            elif len(leaf.shape) > 1:
                matrices.add(module_path(leaf.path))
        of_size: dict[tuple[Path, int], list[Path]] = defaultdict(list)
        for module, leaf in vectors.items():
            if module not in matrices and len(module) > 1 and leaf.path != module:
                of_size[module[:-1], leaf.shape[0]].append(module)
        self.norms = {norm: len(own) for own in of_size.values() if len(own) > 1 for norm in own}
        self.behind: dict[Path, Path] = {}
        self.before: dict[Path, Path] = {}
        blocks = {norm[:-1] for norm in self.norms}
        last: dict[Path, Path] = {}
        for leaf in leaves:
            for depth in range(1, len(leaf.path)) if blocks else ():
                block, child = leaf.path[:depth], leaf.path[: depth + 1]
                if block in blocks and last.get(block) != child:
                    previous = last.get(block)
                    if previous is not None and child not in self.before:
                        self.before[child] = previous
                        if previous in self.norms and child not in self.norms:
                            self.behind.setdefault(previous, child)
                    last[block] = child
