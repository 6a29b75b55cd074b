"""Order as evidence: the sequence of shapes of two lists of modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from automatch.matching.units import Sort, Unit


def common_subsequence(a: Sequence[Sort | None], b: Sequence[Sort | None]) -> list[tuple[int, int]]:
    """Longest common subsequence of two sequences of shapes; [] where that would be too costly."""
    n, m = len(a), len(b)
    if n * m > 250_000:
        return []
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


def places(
    source: list[Unit],
    target: list[Unit],
    fits: Mapping[tuple[int, int], object],
    aligned: Sequence[tuple[int, int]],
) -> dict[tuple[int, int], float]:
    """How well the places of two modules agree, in [0, 1]: aligned in the sequence, same rank of their shape."""
    together = set(aligned)
    ranks: list[dict[int, tuple[int, Sort | None]]] = []
    sizes: list[Counter[Sort | None]] = []
    for side in (source, target):
        count: Counter[Sort | None] = Counter()
        rank: dict[int, tuple[int, Sort | None]] = {}
        for i, unit in enumerate(side):
            rank[i] = (count[unit.main()], unit.main())
            count[unit.main()] += 1
        ranks.append(rank)
        sizes.append(count)
    out: dict[tuple[int, int], float] = {}
    for i, j in fits:
        same = ranks[0][i] == ranks[1][j] and sizes[0][source[i].main()] == sizes[1][target[j].main()]
        out[i, j] = (0.6 if (i, j) in together else 0.0) + (0.4 if same else 0.0)
    return out
