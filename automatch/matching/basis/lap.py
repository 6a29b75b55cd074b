"""The assignment problem, small: the best one-to-one choice between rows and columns."""

from __future__ import annotations

from collections.abc import Sequence

NEVER = -1e9
"""Score of a pair that must not be chosen."""

_OWN_LIMIT = 48


def assign(scores: Sequence[Sequence[float]]) -> list[int]:
    """Choose for every row at most one column so that the sum of scores is largest.

    Shortest augmenting paths (Jonker and Volgenant 1987) for small problems, where importing
    scipy would take longer than solving; `scipy.optimize.linear_sum_assignment` beyond.

    Args:
        scores: rows of equal length; `NEVER` forbids a pair.

    Returns:
        Per row the chosen column, or -1.
    """
    rows = len(scores)
    columns = len(scores[0]) if rows else 0
    if not rows or not columns:
        return [-1] * rows
    if rows == 1:
        best = max(range(columns), key=lambda j: (scores[0][j], -j))
        return [best if scores[0][best] > NEVER / 2 else -1]
    if max(rows, columns) > _OWN_LIMIT:
        chosen = _scipy(scores)
    elif rows <= columns:
        chosen = _augment(scores, rows, columns)
    else:
        turned = _augment([[scores[i][j] for i in range(rows)] for j in range(columns)], columns, rows)
        chosen = [-1] * rows
        for column, row in enumerate(turned):
            chosen[row] = column
    return [j if j >= 0 and scores[i][j] > NEVER / 2 else -1 for i, j in enumerate(chosen)]


def _scipy(scores: Sequence[Sequence[float]]) -> list[int]:
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    matrix = np.maximum(np.asarray(scores, dtype=np.float64), -1e6)
    rows, columns = linear_sum_assignment(matrix, maximize=True)
    chosen = [-1] * len(scores)
    for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
        chosen[i] = j
    return chosen


def _augment(scores: Sequence[Sequence[float]], n: int, m: int) -> list[int]:
    """Minimise -scores for n <= m by successive shortest paths with potentials."""
    inf = float("inf")
    u, v = [0.0] * (n + 1), [0.0] * (m + 1)
    owner, way = [0] * (m + 1), [0] * (m + 1)
    for i in range(1, n + 1):
        owner[0] = i
        j0 = 0
        least = [inf] * (m + 1)
        used = [False] * (m + 1)
        while True:
            used[j0] = True
            i0, delta, j1 = owner[j0], inf, 0
            row = scores[i0 - 1]
            for j in range(1, m + 1):
                if used[j]:
                    continue
                cost = -row[j - 1] - u[i0] - v[j]
                if cost < least[j]:
                    least[j], way[j] = cost, j0
                if least[j] < delta:
                    delta, j1 = least[j], j
            for j in range(m + 1):
                if used[j]:
                    u[owner[j]] += delta
                    v[j] -= delta
                else:
                    least[j] -= delta
            j0 = j1
            if owner[j0] == 0:
                break
        while j0:
            owner[j0] = owner[way[j0]]
            j0 = way[j0]
    chosen = [-1] * n
    for j in range(1, m + 1):
        if owner[j]:
            chosen[owner[j] - 1] = j - 1
    return chosen
