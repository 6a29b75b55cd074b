"""One rule, and the ordered list of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """An anchored regex over a whole checkpoint key, and the model key it becomes.

    Every rule sees the ORIGINAL key; the first rule whose pattern matches the whole key wins;
    rules never chain.

    Attributes:
        pattern: Python regex with named groups, tested with `fullmatch`.
        replacement: literal text with `{name}` for a captured text and `{i+1}`-style integer
            arithmetic (+ - * // %) on captured numbers; literal braces are doubled. A tuple of
            such texts, one for each piece in order, for chunk and unstack.
        op: what happens to the tensor, in the words of `Match.op`.
        hits: how many checkpoint keys it took when it was replayed.
        part: for concat: (k, n), the key is member k (from 0) of n.
        by: for stack: name of the captured number that orders the members.
        dim: dimension joined or cut; None for the operations that have none.
        perm: order of the dimensions for transpose and permute.
        note: for people: families covered, or why the rule is literal.
    """

    pattern: str
    replacement: str | tuple[str, ...]
    op: str = "rename"
    hits: int = 0
    part: tuple[int, int] | None = None
    by: str | None = None
    dim: int | None = None
    perm: tuple[int, ...] | None = None
    note: str = ""
