"""Tensors of two blocks that each have another partner: what is left over of both does not belong together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from automatch.matching.evidence import Found
from automatch.matching.units import module_path

Path = tuple[str, ...]

PARTNER = 2 / 3
"""The share of a block's modules that makes the block to which they went its partner."""

FEWEST = 3
"""Fewer modules are no block."""


def without_other_items(found: list[Found]) -> list[Found]:
    """The pairs without those that lie in two numbered blocks of which each has another partner."""
    pairs = {(module_path(s.path), module_path(t.path)): (_block(s.path), _block(t.path)) for s, t, _ in found}
    mine, theirs = _partners(pairs.values()), _partners((b, a) for a, b in pairs.values())

    def astray(s: Path, t: Path) -> bool:
        one, other = _block(s), _block(t)
        return mine.get(one, other) != other and theirs.get(other, one) != one

    return [(s, t, e) for s, t, e in found if e.level != "unit" or not astray(s.path, t.path)]


def _block(path: Path) -> Path:
    """The innermost numbered block, or module, around a tensor; () for none."""
    at = next((i for i in range(len(path) - 2, 0, -1) if path[i].isdecimal()), None)
    return path[: at + 1] if at else ()


def _partners(pairs: Iterable[tuple[Path, Path]]) -> dict[Path, Path]:
    """The block to which most modules of a block went."""
    went: dict[Path, Counter[Path]] = defaultdict(Counter)
    for one, other in pairs:
        if one:
            went[one][other] += 1
    out: dict[Path, Path] = {}
    for one, counts in went.items():
        other, most = counts.most_common(1)[0]
        if other and counts.total() >= FEWEST and most >= PARTNER * counts.total():
            out[one] = other
    return out
