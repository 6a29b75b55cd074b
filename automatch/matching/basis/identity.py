"""Are the two sides the same model, wrappers apart? Then an equal name means the same thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set

from automatch.matching.basis.leaves import Leaf, Path
from automatch.spec import Shape

Named = tuple[Path, Shape]

_DEPTH, _SEVERAL = 3, 3
SHARE = 0.3
"""From this share of equal keys and shapes on, equal names are believed more than order."""

WRAPPED = 0.9
"""What stands before this share of all keys is no part of the model: a wrapper."""


class Identity:
    """Says whether two paths are one name, once the prefixes that wrappers add are taken off.

    A wrapper is looked for on one side, or, if `both` says so, around all of either side: a file of DataParallel for a
    model that holds the network.

    Attributes:
        holds: whether equal names are believed more than order.
        of_the_model: the share of the model's keys that stand in the checkpoint, with their shapes.
        of_the_smaller: that share of the side with fewer keys.
    """

    def __init__(self, source: Sequence[Leaf], target: Sequence[Leaf], both: bool = False) -> None:
        mine = {(leaf.path, leaf.shape) for leaf in source}
        theirs = {(leaf.path, leaf.shape) for leaf in target}
        leading = _leading(source), _leading(target)
        if both:
            pairs = [(one, other) for one in _around(source, leading[0]) for other in _around(target, leading[1])]
        else:
            pairs = [(prefix, ()) for prefix in leading[0]] + [((), prefix) for prefix in leading[1]]
        best, self._prefixes = _most_alike(mine, theirs, pairs)
        self.holds = 0 < best >= SHARE * min(len(mine), len(theirs))
        self.of_the_model = best / max(1, len(theirs))
        self.of_the_smaller = best / max(1, min(len(mine), len(theirs)))

    def bare(self, path: Path, which: int) -> Path:
        """A path of the checkpoint (0) or of the model (1) without the wrappers that only its side has."""
        prefix = self._prefixes[which]
        return path[len(prefix) :] if path[: len(prefix)] == prefix else path

    def __call__(self, a: Path, b: Path) -> bool:
        """Is path `a` of the checkpoint path `b` of the model?"""
        return self.holds and self.bare(a, 0) == self.bare(b, 1)


def _most_alike(
    mine: Set[Named], theirs: Set[Named], prefixes: Sequence[tuple[Path, Path]]
) -> tuple[int, tuple[Path, Path]]:
    """How many names and shapes are equal without the prefixes under which most are, and these."""
    best = 0
    kept: tuple[Path, Path] = (), ()
    for one, other in prefixes:
        count = sum((other + path[len(one) :], shape) in theirs for path, shape in mine if path[: len(one)] == one)
        if count > best:
            best, kept = count, (one, other)
    return best, kept


def _around(leaves: Sequence[Leaf], prefixes: Sequence[Path]) -> list[Path]:
    """The prefixes of nearly all there is: those of wrappers."""
    return [p for p in prefixes if p and sum(leaf.path[: len(p)] == p for leaf in leaves) >= WRAPPED * len(leaves)]


def _leading(leaves: Sequence[Leaf]) -> list[Path]:
    """No prefix, and the most common leading tokens: those of a teacher and of its student."""
    out: list[Path] = [()]
    for depth in range(1, _DEPTH + 1):
        common = Counter(leaf.path[:depth] for leaf in leaves if len(leaf.path) > depth).most_common(_SEVERAL)
        out += [prefix for prefix, _ in common]
    return out
