"""Order as evidence: the sequence of shapes of two lists of modules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from rapidfuzz.distance import LCSseq

from automatch.matching.basis.grids import across, have_same_numbers
from automatch.matching.basis.units import Sort, Unit

MANY, TOO_MANY = 500 * 500, 20_000 * 20_000
"""Of sequences that span more cells, the common subsequence is rapidfuzz's; of even more none is looked for (50 MB)."""


def common_subsequence(a: Sequence[Sort | None], b: Sequence[Sort | None]) -> list[tuple[int, int]]:
    """Longest common subsequence of two sequences of shapes; [] where that would be too costly.

    Of several as long the one that begins first, and passes over what is only in `a` before what is only in `b`.
    """
    n, m = len(a), len(b)
    if n * m > MANY:
        return _of_many(a, b) if n * m <= TOO_MANY else []
    table = [[0] * (m + 1) for _ in range(n + 1)]
    for i in range(n - 1, -1, -1):
        row, below = table[i], table[i + 1]
        for j in range(m - 1, -1, -1):
            row[j] = below[j + 1] + 1 if a[i] == b[j] else max(below[j], row[j + 1])
    out: list[tuple[int, int]] = []
    i = j = 0
    while i < n and j < m:
        if a[i] == b[j] and table[i][j] == table[i + 1][j + 1] + 1:
            out.append((i, j))
            i, j = i + 1, j + 1
        elif table[i + 1][j] >= table[i][j + 1]:
            i += 1
        else:
            j += 1
    return out


def _of_many(a: Sequence[Sort | None], b: Sequence[Sort | None]) -> list[tuple[int, int]]:
    """The same, bit-parallel (Hyyrö 2004, by rapidfuzz, which goes back from the end); of several as long any."""
    numbers: dict[Sort | None, int] = {}
    mine, theirs = ([numbers.setdefault(sort, len(numbers)) for sort in reversed(side)] for side in (a, b))
    equal = [op for op in LCSseq.opcodes(mine, theirs) if op.tag == "equal"]
    return [
        (len(a) - op.src_end + n, len(b) - op.dest_end + n)
        for op in reversed(equal)
        for n in range(op.src_end - op.src_start)
    ]


def places(
    source: list[Unit],
    target: list[Unit],
    fits: Mapping[tuple[int, int], object],
    aligned: Sequence[tuple[int, int]],
) -> dict[tuple[int, int], float]:
    """How well the places of two modules agree, in [0, 1]: aligned in the sequence, same rank of their shape.

    Where lists lie across each other, modules that are called alike but for their numbers get the ranks of those at
    their numbers (in place).
    """
    together = set(aligned)
    ranks = _ranks(source), _ranks(target)
    for sort in ranks[0].keys() & ranks[1].keys():
        mine, theirs = ranks[0][sort], ranks[1][sort]
        order = across([source[i].path for i in mine], [target[j].path for j in theirs])
        if order != sorted(order):
            ranks[1][sort] = [theirs[j] for j in order]
            together -= {(i, j) for i in mine for j in theirs}
            together |= set(zip(mine, ranks[1][sort], strict=True))
            partners = list(zip(mine, ranks[1][sort], strict=True))
            if have_same_numbers([source[i].path for i, _ in partners], [target[j].path for _, j in partners]):
                for i, j in partners:
                    if source[i].peers == target[j].peers == len(mine):
                        target[j].rank = source[i].rank
    same = {
        (i, j)
        for sort, mine in ranks[0].items()
        if len(mine) == len(ranks[1].get(sort, ()))
        for i, j in zip(mine, ranks[1][sort], strict=True)
    }
    return {key: (0.6 if key in together else 0.0) + (0.4 if key in same else 0.0) for key in fits}


def _ranks(units: Sequence[Unit]) -> dict[Sort | None, list[int]]:
    """The modules of one shape, in order."""
    out: dict[Sort | None, list[int]] = defaultdict(list)
    for i, unit in enumerate(units):
        out[unit.main()].append(i)
    return out
