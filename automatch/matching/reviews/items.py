"""Tensors of two blocks that each have another partner: what is left over of both need not belong together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.units import block_of, module_path, role_of
from automatch.spec import Shape

PARTNER = 2 / 3
"""The share of a block's modules that makes the block to which they went its partner."""

COPY = 2 / 3
"""The share of names and shapes that two blocks have in common of which one is a copy of the other."""

FEWEST = 3
"""Fewer modules are no block."""


def doubt_other_homes(found: list[Found], source: Sequence[Leaf]) -> list[Found]:
    """The same pairs, those flagged that lie in two numbered blocks, or containers, of which each has another partner.

    What is alone of its shape may have moved to another container. T5 without the output of its self-attention: that of
    the cross-attention is not it.
    """
    other_block, other_container = _astray(found, _block), _astray(found, _container)
    other_module = _parted(found)
    lent_block, lent_container = _lent(found, source, _block), _lent(found, source, _container)

    def doubt(s: Leaf, t: Leaf, e: Evidence) -> Evidence:
        if e.level != "unit":
            return e
        if other_block(s, t) or other_module(s, t) or (e.rivals > 0 and other_container(s, t)):
            return replace(e, level="astray")
        return replace(e, level="lent") if lent_block(s, t) or lent_container(s, t) else e

    return [(s, t, doubt(s, t, e)) for s, t, e in found]


def _lent(found: Sequence[Found], source: Sequence[Leaf], home: Callable[[Path], Path]) -> Callable[[Leaf, Leaf], bool]:
    """Says of two leaves whether the first belongs to a copy of what serves all else around the second.

    The average of a model lacks a matrix, and the model's own would do: a tensor of other values.
    """
    _, theirs = _homes(found, home)
    below: dict[Path, dict[Path, Shape]] = defaultdict(dict)
    for leaf in source:
        own = home(leaf.path)
        below[own][leaf.path[len(own) :]] = leaf.shape

    def lent(s: Leaf, t: Leaf) -> bool:
        own, partner = home(s.path), theirs.get(home(t.path))
        if not partner or partner == own or s.path[len(own) :] in below[partner]:
            return False
        common = len(below[own].items() & below[partner].items())
        return common >= FEWEST - 1 and common >= COPY * max(len(below[own]), len(below[partner]))

    return lent


def _homes(found: Sequence[Found], home: Callable[[Path], Path]) -> tuple[dict[Path, Path], dict[Path, Path]]:
    """The partners of the checkpoint's homes, and of the model's, by most of their modules."""
    pairs = {(module_path(s.path), module_path(t.path)): (home(s.path), home(t.path)) for s, t, _ in found}
    return _partners(pairs.values()), _partners((b, a) for a, b in pairs.values())


def _astray(found: Sequence[Found], home: Callable[[Path], Path]) -> Callable[[Leaf, Leaf], bool]:
    """Says of two leaves whether each lies in a home that has another partner."""
    mine, theirs = _homes(found, home)

    def astray(s: Leaf, t: Leaf) -> bool:
        one, other = home(s.path), home(t.path)
        return mine.get(one, other) != other and theirs.get(other, one) != one

    return astray


def _parted(found: Sequence[Found]) -> Callable[[Leaf, Leaf], bool]:
    """Says of two leaves whether all else in the module of either went to another module than that of the other.

    Where a `skip` lost its weight here and an `out` there, the biases of the two say that these weights are no pair.
    A bias does not leave the weight of its module.
    """
    links = Counter((module_path(s.path), module_path(t.path)) for s, t, _ in found)
    mine, theirs = Counter[Path](), Counter[Path]()
    for (a, b), count in links.items():
        mine[a] += count
        theirs[b] += count
    weights = {module_path(s.path): module_path(t.path) for s, t, _ in found if _is_weight(s) and _is_weight(t)}

    def alone(a: Path, b: Path) -> bool:
        return links[a, b] == 1 and mine[a] > 1 and theirs[b] > 1

    def parted(s: Leaf, t: Leaf) -> bool:
        a, b = module_path(s.path), module_path(t.path)
        home = weights.get(a, b)
        left = not _is_weight(s) and not _nested(home, b) and not alone(a, home)
        return left or alone(a, b)

    return parted


def _nested(one: Path, other: Path) -> bool:
    """Is one of two paths in the other? PyG keeps a bias beside the linear layer that holds the weight."""
    depth = min(len(one), len(other))
    return one[:depth] == other[:depth]


def _is_weight(leaf: Leaf) -> bool:
    return role_of(leaf.path)[1] == "weight"


def _block(path: Path) -> Path:
    """The innermost numbered block, or module, around a tensor; () for none."""
    return block_of(path[:-1])


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
