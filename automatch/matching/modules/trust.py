"""How far names and order can be trusted in one pair of blocks.

Both are measured on the modules that need no trust: those that shapes alone decide, and those
that names prefer clearly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.names import contrast
from automatch.matching.basis.units import Context, Unit

_ANCHORS = 60
"""More modules than these are not looked at to see whether names and orders agree."""


def trusts(
    source: list[Unit],
    target: list[Unit],
    fits: Mapping[tuple[int, int], tuple[list[tuple[Leaf, Leaf]], float]],
    name: Mapping[tuple[int, int], float],
    ctx: Context,
) -> tuple[float, float]:
    """How far names and order explain the modules that shapes alone decide."""
    partners: dict[int, list[int]] = defaultdict(list)
    admirers: Counter[int] = Counter()
    for i, j in fits:
        partners[i].append(j)
        admirers[j] += 1
    sure = [(i, js[0]) for i, js in partners.items() if len(js) == 1 and admirers[js[0]] == 1]
    trust_names = ctx.names_trust
    if len(sure) >= 3:
        some = sure[:: -(-len(sure) // _ANCHORS)]
        weights = contrast([source[i].words for i, _ in some], [target[j].words for _, j in some])
        hits = 0
        for i, j in some:
            own = ctx.names.compare(source[i].words, target[j].words, weights)
            best = max(ctx.names.compare(source[i].words, target[k].words, weights) for _, k in some if k != j)
            hits += own > best + 0.02
        trust_names *= 0.4 + 0.6 * hits / len(some)
    anchors = sorted({*sure, *_named(partners, name)})[:_ANCHORS] if ctx.names_trust else sorted(sure)[:_ANCHORS]
    if len(anchors) < 2:
        return trust_names, ctx.order_trust
    ups = sum(
        (source[i].place < source[k].place) == (target[j].place < target[m].place)
        for n, (i, j) in enumerate(anchors)
        for k, m in anchors[n + 1 :]
    )
    tau = 2.0 * ups / (len(anchors) * (len(anchors) - 1) / 2) - 1.0
    return trust_names, ctx.order_trust * max(0.1, 0.2 + 0.8 * tau)


def _named(partners: Mapping[int, Sequence[int]], name: Mapping[tuple[int, int], float]) -> list[tuple[int, int]]:
    """Pairs that names alone prefer clearly, seen from both sides."""
    best_row: dict[int, tuple[float, int]] = {}
    second_row: dict[int, float] = {}
    best_column: dict[int, tuple[float, int]] = {}
    second_column: dict[int, float] = {}
    for i, js in partners.items():
        for j in js:
            value = name[i, j]
            for best, second, one, other in (
                (best_row, second_row, i, j),
                (best_column, second_column, j, i),
            ):
                if one not in best or value > best[one][0]:
                    second[one] = best[one][0] if one in best else -1.0
                    best[one] = (value, other)
                else:
                    second[one] = max(second[one], value)
    return [
        (i, j)
        for i, (value, j) in best_row.items()
        if best_column[j][1] == i and value >= 0.4 and value - max(second_row[i], second_column[j]) >= 0.25
    ]
