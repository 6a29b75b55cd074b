"""Norms that stand before one part of a block here, and before another there.

A block with three norms or more says by its order which of them belongs to which part: the one right before the mlp is
the mlp's. Where the pairs say otherwise, be their names as equal as they may (`norm2` and `norm3` of HunyuanDiT were
numbered anew), nobody can tell which is right; of norms that one of the sides only numbers, the part says more than the
number, and they are put where it says, flagged.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from automatch.matching.basis.evidence import Found
from automatch.matching.basis.exchange import Refuses, exchanged
from automatch.matching.basis.identity import Identity
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.units import module_path

_NUMBER = re.compile(r"\d+")

SEVERAL = 3
"""Of two norms, the order of the parts around them says too little: they may stand before or behind their part."""


def doubt_misplaced(
    found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf], identity: Identity, refuses: Refuses
) -> list[Found]:
    """The same pairs, those of norms flagged that other parts follow on the two sides.

    One name without a number is one norm where both sides are the same model, wherever it stands.
    """
    norms = _norms(source), _norms(target)
    if not any(len(alike) >= SEVERAL for side in norms for alike in side.values()):
        return found
    pairs = {module_path(s.path): module_path(t.path) for s, t, _ in found if not (s.ops or t.ops)}
    back = {t: s for s, t in pairs.items()}
    named = {norm for norm in norms[0] if not _NUMBER.search(norm[-1]) and identity(norm, pairs.get(norm, ()))}
    before_mine, before_theirs = _before(source, norms[0]), _before(target, norms[1])
    behind = {norm: part for part, norm in before_mine.items() if norm in norms[0] and part not in norms[0]}
    parts: dict[Path, Path] = {}
    for s, t, _ in found:
        for depth in range(1, len(s.path)):
            parts.setdefault(s.path[:depth], t.path)
    said: dict[Path, Path] = {}  # norm -> the one that its part speaks for
    doubted: set[Path] = set()
    for norm, part in behind.items():
        partner = pairs.get(norm)
        if part not in parts or partner not in norms[1]:
            continue
        mine, theirs = norms[0][norm], norms[1][partner]
        before = before_theirs.get(parts[part][: len(partner)])
        if (
            before != partner
            and before in theirs
            and back.get(before) in mine
            and max(len(mine), len(theirs)) >= SEVERAL
        ):
            other = back[before]
            if norm in named and other in named:
                continue
            doubted |= {norm, other}
            said[norm] = before
    flagged = [
        (s, t, replace(e, level="beside") if module_path(s.path) in doubted and e.level != "pin" else e)
        for s, t, e in found
    ]
    return exchanged(flagged, target, _exchanges(doubted, said, pairs), "moved", refuses)


def _exchanges(
    doubted: Collection[Path], said: dict[Path, Path], pairs: dict[Path, Path]
) -> Iterator[dict[Path, Path]]:
    """Of norms that one of the sides only numbers, those that change partners among themselves, with the new ones."""
    by_block: dict[Path, list[Path]] = defaultdict(list)
    for norm in sorted(doubted):
        by_block[norm[:-1]].append(norm)
    for norms in by_block.values():
        old = [pairs[norm] for norm in norms]
        new = {norm: said[norm] for norm in norms if norm in said}
        left = [partner for partner in old if partner not in new.values()]
        silent = [norm for norm in norms if norm not in new]
        if len(left) == len(silent) <= 1 and (_only_numbered(norms) or _only_numbered(old)):
            yield new | dict(zip(silent, left, strict=True))


def _only_numbered(norms: Sequence[Path]) -> bool:
    return len({_NUMBER.sub("", norm[-1]) for norm in norms}) == 1


def _norms(leaves: Sequence[Leaf]) -> dict[Path, tuple[Path, ...]]:
    """Modules of vectors only, of which a block has several that are alike: each with all of these."""
    modules: dict[Path, list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        module = module_path(leaf.path)
        if len(module) > 1 and leaf.path != module:
            modules[module].append(leaf)
    alike: dict[tuple[object, ...], list[Path]] = defaultdict(list)
    for module, own in modules.items():
        if all(len(leaf.shape) == 1 for leaf in own):
            alike[module[:-1], tuple((leaf.path[len(module) :], leaf.shape) for leaf in own)].append(module)
    return {norm: tuple(norms) for norms in alike.values() if len(norms) > 1 for norm in norms}


def _before(leaves: Sequence[Leaf], norms: Collection[Path]) -> dict[Path, Path]:
    """Child of a block with several norms -> the child that stands right before it.

    Not of blocks that begin with a part and end with a norm: there, norms stand behind their parts.
    """
    blocks = {norm[:-1] for norm in norms}
    children: dict[Path, dict[Path, None]] = defaultdict(dict)
    for leaf in leaves:
        for depth in range(1, len(leaf.path)):
            if leaf.path[:depth] in blocks:
                children[leaf.path[:depth]][leaf.path[: depth + 1]] = None
    before: dict[Path, Path] = {}
    for row in map(list, children.values()):
        if row[0] in norms or row[-1] not in norms:
            before |= zip(row[1:], row, strict=False)
    return before
