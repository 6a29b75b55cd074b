"""What was found: tensors of both sides that hold the same values, and in which arrangement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from automatch.learning.arrangement import Arrangement, Quad
from automatch.matching.assignment import Match

WORDS = {
    (): "equal",
    ("reshape",): "equal in another shape",
    ("transpose",): "equal when transposed",
    ("transpose", "reshape"): "equal when transposed, in another shape",
    ("reshape", "transpose"): "equal in another shape, transposed",
    ("interleave",): "equal with rows in another order",
    ("flip",): "equal with blocks in the opposite order",
    ("transpose", "flip"): "equal when transposed, with blocks in the opposite order",
    ("transpose", "interleave"): "equal when transposed, with rows in another order",
}


@dataclass(frozen=True, slots=True)
class Relation:
    """One tensor, and the one or several on the other side that it is made of or cut into.

    Attributes:
        sources: keys of the original; several in the order in which they are joined.
        targets: keys of the conversion; several in the order of the pieces.
        how: what happens to each part: before the parts are joined, after the whole is cut.
        join: how several make one: "concat", "stack", "stack+concat"; "" where one becomes one.
        dim: the dimension of the whole that is joined or cut.
        lengths: sizes of the parts along it (of the parts of a concat, for stack+concat).
        quad: how the whole's dimension is seen to be interleaved: after joining, before cutting.
        why: what else led to it, where values alone did not; "" else.
        rivals: keys that would do as well; () where it is decided.
        doubt: why the arrangement may be another one; "" where values or neighbours tell it.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    how: Arrangement
    join: str = ""
    dim: int | None = None
    lengths: tuple[int, ...] = ()
    quad: Quad | None = None
    why: str = ""
    rivals: tuple[str, ...] = ()
    doubt: str = ""

    @property
    def cuts(self) -> bool:
        """Whether one tensor is cut into several."""
        return len(self.targets) > 1

    def op(self) -> str:
        """Its operations in the words of rules."""
        if not self.join:
            return "+".join(self.how.words) or "rename"
        outer = ("interleave",) if self.quad else ()
        if self.cuts:
            words = (*outer, {"concat": "chunk", "stack": "unstack"}.get(self.join, "chunk+unstack"), *self.how.words)
        else:
            words = (*self.how.words, self.join, *outer)
        return "+".join(words)

    def match(self, frees: Mapping[Quad, tuple[int, ...]], rounded: str) -> Match:
        """The match that it is.

        Args:
            frees: for each interleaving, its sizes as rules shall hold them.
            rounded: what is said of the rounding; "" where nothing was.
        """
        quad = self.quad or (self.how.shape if "interleave" in self.how.words else None)
        shape = self.how.shape
        if quad is not None and len(quad) == 4:
            a, b, c, d = quad
            shape = frees[a, b, c, d]
        dim = self.dim if self.join else self.how.dim
        return Match(
            self.targets,
            self.sources,
            self.op(),
            0.45 if self.rivals or self.doubt else 1.0,
            bool(self.rivals or self.doubt),
            self.rivals[:3],
            "; ".join(part for part in (f"values: {self._words()}{rounded}", self.why, self.doubt) if part),
            dim,
            self.how.perm,
            self._sizes(),
            shape,
        )

    def _words(self) -> str:
        text = WORDS.get(self.how.words, "equal")
        if self.join:
            text += " part by part" if not self.cuts else " piece by piece"
        return text if self.quad is None else f"{text}, with rows in another order"

    def _sizes(self) -> tuple[int, ...] | None:
        """Proportions of the pieces; None where all are alike and their number is plain."""
        if not self.cuts or "concat" not in self.join:
            return None
        common = gcd(*self.lengths)
        sizes = tuple(length // common for length in self.lengths)
        return sizes if len(set(sizes)) > 1 or self.join == "stack+concat" else None


def free_sizes(quads: Sequence[Quad]) -> dict[Quad, tuple[int, ...]]:
    """Which of the four sizes of each interleaving is left open, so that it fits other variants of the family.

    The one in which otherwise equal ones differ (32 heads of queries, 8 of keys); else the number of heads, the
    outermost or larger one: the size of a head seldom changes in a family.

    None is open where single rows move in one block that is as large as the dimension, and no other interleaving shows
    which size may differ: that may be one head, and several would each be such a block. Then the rule fits these sizes
    alone and is refused by others.
    """
    known = list(dict.fromkeys(quads))
    out: dict[Quad, tuple[int, ...]] = {}
    for quad in known:
        usual = 0 if quad[0] > 1 else 1 if quad[1] >= quad[2] else 2
        support = [sum(_but(other, i) == _but(quad, i) for other in known) for i in range(4)]
        best = max(range(4), key=lambda i: (support[i], i == usual))
        if quad[0] == quad[3] == support[best] == 1:
            out[quad] = quad
            continue
        out[quad] = tuple(-1 if i == best else size for i, size in enumerate(quad))
    return out


def _but(quad: Quad, i: int) -> tuple[int, ...]:
    return (*quad[:i], *quad[i + 1 :])
