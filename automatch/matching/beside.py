"""Norms that stand before one part of a block here, and before another there.

A block with three norms or more says by its order which of them belongs to which part: the one right before the mlp is
the mlp's. Where the pairs say otherwise, be their names as equal as they may (`norm2` and `norm3` of HunyuanDiT were
numbered anew), nobody can tell which is right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from automatch.matching.evidence import Found
from automatch.matching.leaves import Leaf
from automatch.matching.units import module_path

Path = tuple[str, ...]

SEVERAL = 3
"""Of two norms, the order of the parts around them says too little: they may stand before or behind their part."""


def doubt_misplaced(found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf]) -> list[Found]:
    """The same pairs, those of norms flagged that other parts follow on the two sides."""
    norms = _norms(source), _norms(target)
    if not all(norms) or max(*norms[0].values(), *norms[1].values()) < SEVERAL:
        return found
    pairs = {module_path(s.path): module_path(t.path) for s, t, _ in found if not (s.ops or t.ops)}
    back = {t: s for s, t in pairs.items()}
    before_mine, before_theirs = _before(source, norms[0]), _before(target, norms[1])
    behind = {norm: part for part, norm in before_mine.items() if norm in norms[0] and part not in norms[0]}
    parts: dict[Path, Path] = {}
    for s, t, _ in found:
        for depth in range(1, len(s.path)):
            parts.setdefault(s.path[:depth], t.path)
    doubted: set[Path] = set()
    for norm, part in behind.items():
        partner = pairs.get(norm)
        if part not in parts or partner not in norms[1] or max(norms[0][norm], norms[1][partner]) < SEVERAL:
            continue
        before = before_theirs.get(parts[part][: len(partner)])
        other = back.get(before) if before in norms[1] and before != partner else None
        if other in norms[0] and before is not None and before[:-1] == partner[:-1] and other[:-1] == norm[:-1]:
            doubted |= {norm, other}
    return [
        (s, t, replace(e, level="beside") if module_path(s.path) in doubted and e.level != "pin" else e)
        for s, t, e in found
    ]


def _norms(leaves: Sequence[Leaf]) -> dict[Path, int]:
    """Modules of vectors only, of which a block has several of one size: each with how many it has."""
    matrices = {module_path(leaf.path) for leaf in leaves if len(leaf.shape) > 1}
    of_size: dict[tuple[Path, int], dict[Path, None]] = defaultdict(dict)
    for leaf in leaves:
        module = module_path(leaf.path)
        if len(leaf.shape) == 1 and len(module) > 1 and leaf.path != module and module not in matrices:
            of_size[module[:-1], leaf.shape[0]][module] = None
    return {norm: len(own) for own in of_size.values() if len(own) > 1 for norm in own}


def _before(leaves: Sequence[Leaf], norms: Iterable[Path]) -> dict[Path, Path]:
    """Child of a block with several norms -> the child that stands right before it."""
    blocks = {norm[:-1] for norm in norms}
    last: dict[Path, Path] = {}
    before: dict[Path, Path] = {}
    for leaf in leaves:
        for depth in range(1, len(leaf.path)):
            block, child = leaf.path[:depth], leaf.path[: depth + 1]
            if block in blocks and last.get(block) != child:
                if block in last:
                    before.setdefault(child, last[block])
                last[block] = child
    return before
