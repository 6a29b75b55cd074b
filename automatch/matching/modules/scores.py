"""The score of every pair of modules of one scope that may go together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.names import Names, Word, contrast
from automatch.matching.basis.units import Context, Unit, pair_leaves
from automatch.matching.modules.order import common_subsequence, places
from automatch.matching.modules.trust import trusts
from automatch.spec import Shape

_WEIGHTS = {"*": "weight", "weight_orig": "weight"}

NAMES, ORDER, LEARNT, ASTRAY, LOST = 2.0, 0.7, 1.5, -1.0, -1.0
"""What each signal weighs in the score of a pair; `LOST` for tensors of the two modules that have no partner."""

FALLING = 3
"""Of fewer modules, numbers that fall say nothing of how they are used."""

ORDINAL, SAME, IDENTICAL = 0.25, 0.15, 0.5
"""What is added to the likeness of two names: for the same rank among modules called alike, for an equal last
token, and for one and the same name in two state_dicts that share many."""

NEAR = 256
"""A module is compared with no more than so many others of its shapes."""


Fits = dict[tuple[int, int], tuple[list[tuple[Leaf, Leaf]], float]]
"""Pairs of modules that may go together, with the leaves that do, and the share of them that fits."""


@dataclass(slots=True)
class Table:
    """The evidence for the pairs of one scope that may go together, and all of it in one number: `score`."""

    source: list[Unit]
    target: list[Unit]
    fits: Fits
    name: dict[tuple[int, int], float]
    order: dict[tuple[int, int], float]
    learnt: dict[tuple[int, int], float]
    trust_names: float
    trust_order: float
    sequence: float
    names: Names
    variety: int
    astray: frozenset[tuple[int, int]]
    score: dict[tuple[int, int], float]

    def against(self, i: int, j: int) -> bool:
        """Do the two names exclude each other?"""
        return self.names.contradiction(self.source[i].words, self.target[j].words) > 0


def tabulate(source: list[Unit], target: list[Unit], ctx: Context) -> Table:
    """Work out the evidence for all pairs of modules that have a fitting tensor in common."""
    by_shape: dict[tuple[str, Shape, bool], list[int]] = defaultdict(list)
    for j, unit in enumerate(target):
        for role, leaf in unit.leaves.items():
            by_shape[(_WEIGHTS.get(role, role), leaf.shape, leaf.integer)].append(j)
    fits: Fits = {}
    for i, unit in enumerate(source):
        near = sorted(
            {
                j
                for role, leaf in unit.leaves.items()
                for j in by_shape.get((_WEIGHTS.get(role, role), leaf.shape, leaf.integer), ())
            }
        )
        if len(near) > NEAR:
            near = _nearest(i, near, source, target)
        for j in near:
            pairs, fit = pair_leaves(unit, target[j], ctx)
            if fit > 0:
                fits[i, j] = (pairs, fit)
    fits = _norms_apart(source, target, fits)
    aligned = common_subsequence([u.main() for u in source], [u.main() for u in target])
    sequence = len(aligned) / max(1, min(len(source), len(target)))
    order = places(source, target, fits, aligned)
    weights = contrast([u.words for u in source], [u.words for u in target])
    name = _names_alike(source, target, fits, ctx, weights)
    learnt = {(i, j): ctx.learnt(source[i].told, target[j].told) for i, j in fits}
    astray = frozenset(
        key for key, (pairs, _) in fits.items() if ctx.astray is not None and any(ctx.astray(m, t) for m, t in pairs)
    )
    trust_names, trust_order = trusts(source, target, fits, name, ctx)
    score = {
        key: trust_names * NAMES * name[key]
        + ORDER * trust_order * order[key]
        + LEARNT * learnt[key]
        + (ASTRAY if key in astray else 0.0)
        + LOST * (1.0 - fits[key][1])
        for key in fits
    }
    return Table(
        source,
        target,
        fits,
        name,
        order,
        learnt,
        trust_names,
        trust_order,
        sequence,
        ctx.names,
        len({u.main() for u in source}),
        astray,
        score,
    )


def _norms_apart(source: Sequence[Unit], target: Sequence[Unit], fits: Fits) -> Fits:
    """Without the pairs of a norm with running statistics and one without, of sizes where both sides have as many."""
    of_batches = [[u.main() if u.of_batches else None for u in side] for side in (source, target)]
    counts = Counter(of_batches[0]), Counter(of_batches[1])
    apart = {size for size, n in counts[0].items() if size is not None and counts[1][size] == n}
    if not apart:
        return fits
    return {
        (i, j): fit
        for (i, j), fit in fits.items()
        if (of_batches[0][i] is None) == (of_batches[1][j] is None) or source[i].main() not in apart
    }


def _nearest(i: int, near: Sequence[int], source: Sequence[Unit], target: Sequence[Unit]) -> list[int]:
    """Of very many modules that would fit, those of the same name and those in about the same place."""
    place = i * len(target) // max(1, len(source))
    ranked = sorted(near, key=lambda j: (source[i].path != target[j].path, abs(j - place), j))
    return sorted(ranked[:NEAR])


def _names_alike(
    source: Sequence[Unit],
    target: Sequence[Unit],
    pairs: Iterable[tuple[int, int]],
    ctx: Context,
    weights: Mapping[str, float],
) -> dict[tuple[int, int], float]:
    """Similarity of names, pair by pair; the same words, as in all layers of a list, are compared once."""
    kinds: dict[tuple[Word, ...], int] = {}
    mine, theirs = ([kinds.setdefault(u.words, len(kinds)) for u in side] for side in (source, target))
    compared: dict[tuple[int, int], float] = {}
    found = {}
    for i, j in pairs:
        kind = mine[i], theirs[j]
        if kind not in compared:
            compared[kind] = ctx.names.compare(source[i].words, target[j].words, weights)
        found[i, j] = _named_alike(source[i], target[j], ctx, compared[kind])
    return found


def _named_alike(a: Unit, b: Unit, ctx: Context, value: float) -> float:
    """Similarity of two names by their words; numbers count by their rank among modules called the same."""
    names = ctx.names
    echoes = [{word.text for word in unit.words if word.text[0] == "~"} for unit in (a, b)]
    if a.path[-1] == b.path[-1] and echoes[0] == echoes[1] and not names.silent and not a.path[-1].isdecimal():
        value += SAME
        if ctx.same is not None and ctx.same(a.full, b.full):
            value += IDENTICAL
    if names.silent:
        return value
    if a.further is not None and b.further is not None:
        return value + (ORDINAL if a.further == b.further else -ORDINAL)
    if a.peers >= 2 and a.peers == b.peers:
        if a.grid and b.grid and a.cells != b.cells == a.turned:  # `norms_2.0` is `blocks.0.norm2`
            return value + (ORDINAL if a.numbers == b.numbers[::-1] else -ORDINAL)
        if a.grid and b.grid and not (a.steady and b.steady):
            return value  # `conv1_L2` and `branch1.2`: which number is which?
        # who makes them from the last on makes them in the order of their use
        rank = a.rank if a.falling == b.falling or a.peers < FALLING else a.peers - 1 - a.rank
        return value + (ORDINAL if rank == b.rank else -ORDINAL)
    if a.turn and b.turn and a.of == b.of and (a.peers != b.peers or a.peers == 1):
        return value + (ORDINAL if a.turn == b.turn else -ORDINAL)
    return value
