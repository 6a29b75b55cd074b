"""Tensors of two blocks that each have another partner: what is left over of both need not belong together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from automatch.matching.evidence import Found
from automatch.matching.leaves import Leaf
from automatch.matching.units import module_path

Path = tuple[str, ...]

PARTNER = 2 / 3
"""The share of a block's modules that makes the block to which they went its partner."""

FEWEST = 3
"""Fewer modules are no block."""


def doubt_other_homes(found: list[Found]) -> list[Found]:
    """The same pairs, those flagged that lie in two numbered blocks, or containers, of which each has another partner.

    What is alone of its shape may have moved to another container. T5 without the output of its self-attention: that of
    the cross-attention is not it.
    """
    other_block, other_container = _astray(found, _block), _astray(found, _container)
    other_module = _parted(found)

    def doubted(s: Leaf, t: Leaf, rivals: int) -> bool:
        return other_block(s, t) or other_module(s, t) or (rivals > 0 and other_container(s, t))

    return [
        (s, t, replace(e, level="astray") if e.level == "unit" and doubted(s, t, e.rivals) else e) for s, t, e in found
    ]


def _astray(found: Sequence[Found], home: Callable[[Path], Path]) -> Callable[[Leaf, Leaf], bool]:
    """Says of two leaves whether each lies in a home that has another partner."""
    pairs = {(module_path(s.path), module_path(t.path)): (home(s.path), home(t.path)) for s, t, _ in found}
    mine, theirs = _partners(pairs.values()), _partners((b, a) for a, b in pairs.values())

    def astray(s: Leaf, t: Leaf) -> bool:
        one, other = home(s.path), home(t.path)
        return mine.get(one, other) != other and theirs.get(other, one) != one

    return astray


def _parted(found: Sequence[Found]) -> Callable[[Leaf, Leaf], bool]:
    """Says of two leaves whether all else in the module of either went to another module than that of the other.

    Where a `skip` lost its weight here and an `out` there, the biases of the two say that these weights are no pair.
    """
    links = Counter((module_path(s.path), module_path(t.path)) for s, t, _ in found)
    mine, theirs = Counter[Path](), Counter[Path]()
    for (a, b), count in links.items():
        mine[a] += count
        theirs[b] += count

    def parted(s: Leaf, t: Leaf) -> bool:
        a, b = module_path(s.path), module_path(t.path)
        return links[a, b] == 1 and mine[a] > 1 and theirs[b] > 1

    return parted


def _block(path: Path) -> Path:
    """The innermost numbered block, or module, around a tensor; () for none."""
    at = next((i for i in range(len(path) - 2, 0, -1) if path[i].isdecimal()), None)
    return path[: at + 1] if at else ()


def _container(path: Path) -> Path:
    """What holds the module of a tensor."""
    return module_path(path)[:-1]


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
