"""Are the two sides the same model, wrappers apart? Then an equal name means the same thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from automatch.matching.leaves import Leaf

Path = tuple[str, ...]

_DEPTH, _SEVERAL = 3, 3
SHARE = 0.3
"""From this share of equal keys and shapes on, equal names are believed more than order."""


class Identity:
    """Says whether two paths are one name, once the prefixes that wrappers add are taken off.

    Attributes:
        holds: whether equal names are believed more than order.
        of_the_model: the share of the model's keys that stand in the checkpoint, with their shapes.
    """

    def __init__(self, source: Sequence[Leaf], target: Sequence[Leaf]) -> None:
        self._prefixes: tuple[Path, Path] = ((), ())
        best = 0
        theirs = {(leaf.path, leaf.shape) for leaf in target}
        mine = {(leaf.path, leaf.shape) for leaf in source}
        for prefix in _leading(source):
            count = sum((p[len(prefix) :], s) in theirs for p, s in mine if p[: len(prefix)] == prefix)
            if count > best:
                best, self._prefixes = count, (prefix, ())
        for prefix in _leading(target):
            count = sum((p[len(prefix) :], s) in mine for p, s in theirs if p[: len(prefix)] == prefix)
            if count > best:
                best, self._prefixes = count, ((), prefix)
        self.holds = best >= SHARE * min(len(mine), len(theirs))
        self.of_the_model = best / max(1, len(theirs))

    def bare(self, path: Path, which: int) -> Path:
        """A path of the checkpoint (0) or of the model (1) without the wrappers that only its side has."""
        prefix = self._prefixes[which]
        return path[len(prefix) :] if path[: len(prefix)] == prefix else path

    def __call__(self, a: Path, b: Path) -> bool:
        """Is path `a` of the checkpoint path `b` of the model?"""
        return self.holds and self.bare(a, 0) == self.bare(b, 1)


def _leading(leaves: Sequence[Leaf]) -> list[Path]:
    """No prefix, and the most common leading tokens: those of a teacher and of its student."""
    out: list[Path] = [()]
    for depth in range(1, _DEPTH + 1):
        common = Counter(leaf.path[:depth] for leaf in leaves if len(leaf.path) > depth).most_common(_SEVERAL)
        out += [prefix for prefix, _ in common]
    return out
