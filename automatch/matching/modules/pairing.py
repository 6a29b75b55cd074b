"""The last step inside a pair of blocks: single modules (weight, bias, statistics) against modules.

Evidence for a pair of modules, all in one score: the shapes of their tensors fit; their names
are alike; they stand in the same place of the order; sister blocks decided the same way.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from automatch.matching.aside.cleanup import COPY, ORIGINAL
from automatch.matching.basis.evidence import Evidence
from automatch.matching.basis.lap import NEVER, assign
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.places import place_of
from automatch.matching.basis.units import Context, Sort, Unit, role_of
from automatch.matching.modules.gathering import is_lettered
from automatch.matching.modules.scores import Table, tabulate


@dataclass(frozen=True, slots=True)
class Pair:
    """Two leaves put together."""

    source: Leaf
    target: Leaf
    evidence: Evidence


def assign_units(source: list[Unit], target: list[Unit], ctx: Context) -> list[Pair]:
    """Put modules together, one to one, so that the evidence is best; say how sure each is."""
    if not source or not target:
        return []
    table = tabulate(source, target, ctx)
    if not table.fits:
        return []
    chosen: dict[int, int] = {}
    for rows, columns in _components(table.fits):
        matrix = [[table.score.get((i, j), NEVER) for j in columns] for i in rows]
        for r, c in enumerate(assign(matrix)):
            if c >= 0:
                chosen[rows[r]] = columns[c]
    chosen = _uncrossed(chosen, table)
    served = set(chosen.values())
    left = [unit for i, unit in enumerate(source) if i not in chosen]
    left += [unit for j, unit in enumerate(target) if j not in served]
    # counters are no weights: what is left of them says nothing of the rest
    return _explain(table, chosen, all(leaf.integer for unit in left for leaf in unit.leaves.values()))


def _uncrossed(chosen: dict[int, int], table: Table) -> dict[int, int]:
    """The choice without pairs across each other of which one name has all, and the other only halves that do not fit.

    Where `norm2` lost its weight here and its bias there, `norm1` is still `norm1`, though two pairs less one are lost.
    """
    owner = {j: i for i, j in chosen.items()}
    out = dict(chosen)
    for i, j in table.fits:
        far, other = out.get(i), owner.get(j)
        if far is None or other is None or far == j or out.get(other) != j or (other, far) in table.fits:
            continue
        crossed = (i, far), (other, j)
        tensors = sum(len(table.fits[pair][0]) for pair in crossed)
        named = all(table.name[i, j] >= table.name[pair] + APART for pair in crossed)
        if named and len(table.fits[i, j][0]) >= tensors:
            out[i] = j
            del out[other]
    return out


def _components(fits: Mapping[tuple[int, int], object]) -> list[tuple[list[int], list[int]]]:
    """Connected components of the bipartite graph: problems that do not know each other."""
    rows: dict[int, list[int]] = defaultdict(list)
    columns: dict[int, list[int]] = defaultdict(list)
    for i, j in fits:
        rows[i].append(j)
        columns[j].append(i)
    seen: set[int] = set()
    out: list[tuple[list[int], list[int]]] = []
    for start in sorted(rows):
        if start in seen:
            continue
        left, right, stack = {start}, set(), [start]
        while stack:
            for j in rows[stack.pop()]:
                if j not in right:
                    right.add(j)
                    new = [i for i in columns[j] if i not in left]
                    left.update(new)
                    stack += new
        seen |= left
        out.append((sorted(left), sorted(right)))
    return out


@dataclass(slots=True)
class _Margins:
    """By how much a chosen pair beats the best other choice, in all and by each kind of evidence."""

    total: float = 9.0
    name: float = 9.0
    order: float = 9.0
    fit: float = 0.0
    rivals: int = 0
    free: int = 0

    def note(self, table: Table, plus: Sequence[tuple[int, int]], minus: Sequence[tuple[int, int]]) -> None:
        """Takes in another choice: the pairs `minus` instead of `plus`."""
        total = sum(table.score[p] for p in plus) - sum(table.score[p] for p in minus)
        if total < self.total:
            self.total = total
            self.fit = sum(table.fits[p][1] for p in plus) - sum(table.fits[p][1] for p in minus)
        self.name = min(self.name, sum(table.name[p] for p in plus) - sum(table.name[p] for p in minus))
        self.order = min(self.order, sum(table.order[p] for p in plus) - sum(table.order[p] for p in minus))


def _margins(
    table: Table,
    i: int,
    j: int,
    others: Sequence[int],
    rows: Sequence[int],
    chosen: Mapping[int, int],
    owner: Mapping[int, int],
) -> _Margins:
    """Holds the pair (i, j) against i with each of `others`, and against each of `rows` that has no partner with j."""
    out = _Margins()
    for d in others:
        if d == j or _is_trained_copy(table.target[d], table.target[j]):
            continue
        out.rivals += 1
        c = owner.get(d)
        if c is None:
            out.free += 1
            out.note(table, [(i, j)], [(i, d)])
        elif (c, j) in table.fits:
            out.note(table, [(i, j), (c, d)], [(i, d), (c, j)])
    for c in rows:
        if c != i and c not in chosen:
            out.rivals += 1
            out.free += 1
            out.note(table, [(i, j)], [(c, j)])
    return out


def _is_trained_copy(one: Unit, other: Unit) -> bool:
    """Is one of two modules what PEFT makes of the other to train it whole? Both are served by one tensor."""
    if COPY not in one.full or ORIGINAL not in other.full:
        return False
    return one.full[: one.full.index(COPY)] == other.full[: other.full.index(ORIGINAL)]


APART = 0.3
"""By so much more alike are the names of two modules that both sides call the same."""

ALIKE = 0.8
"""Names that are as alike as this say the same."""

NAMED = 0.3
"""Names that are as alike as this are believed even of a row and a vector."""


def _explain(table: Table, chosen: Mapping[int, int], intact: bool) -> list[Pair]:
    """Turn chosen module pairs into leaf pairs, each with what speaks for and against it."""
    owner = {j: i for i, j in chosen.items()}
    crossed, strayed = _crossed(table, chosen), _strayed(table, chosen)
    unsaid = _gates_unsaid(table, chosen)
    turned = _out_of_turn(table.source), _out_of_turn(table.target)
    by_row: dict[int, list[int]] = defaultdict(list)
    by_column: dict[int, list[int]] = defaultdict(list)
    for i, j in table.fits:
        by_row[i].append(j)
        by_column[j].append(i)
    out: list[Pair] = []
    for i, j in chosen.items():
        margins = _margins(table, i, j, by_row[i], by_column[j], chosen, owner)
        pairs, fit = table.fits[i, j]
        evidence = Evidence(
            fit=fit,
            name=table.name[i, j],
            order=table.order[i, j],
            margin=margins.total,
            name_margin=margins.name,
            order_margin=margins.order,
            fit_margin=margins.fit,
            rivals=margins.rivals,
            sequence=table.sequence,
            variety=table.variety,
            intact=intact,
            learnt=table.learnt[i, j],
            trust_names=table.trust_names,
            trust_order=table.trust_order,
            contradiction=(i, j) in strayed or table.against(i, j),
            astray=(i, j) in table.astray,
            free=margins.free,
            crossed=table.source[i].main() in crossed,
            backwards=_counted_alike(table.source[i], table.target[j])
            and table.source[i].falling != table.target[j].falling
            and not (table.source[i].path[-1:] == table.target[j].path[-1:] and is_lettered(table.source[i])),
            loose=(i in turned[0] or j in turned[1]) and (table.source[i].peers > 1) != (table.target[j].peers > 1),
        )
        if (i, j) in unsaid and evidence.learnt <= 1:
            evidence = replace(evidence, level="gate")
        norms = [any("norm" in word.concepts for word in unit.words) for unit in (table.source[i], table.target[j])]
        unnamed = any(norms) if norms[0] != norms[1] else evidence.name < NAMED and not any(norms)
        out += [
            Pair(m, t, replace(evidence, contradiction=True) if _is_token(m, t) and unnamed else evidence)
            for m, t in pairs
        ]
    return out


_GATED = frozenset({"gate", "up"})


def _gates_unsaid(table: Table, chosen: Mapping[int, int]) -> set[tuple[int, int]]:
    """Pairs of a gate and of an up-projection, of one shape, of which only one side says which is which.

    Libraries differ in the order in which they declare the two. Where they are numbered (T5's `wi_0` and `wi_1`, or
    litgpt's `fc_1` and `fc_2`), the gate is the first.
    """
    said: dict[tuple[Path, Sort | None], dict[str, tuple[int, int]]] = defaultdict(dict)
    for i, j in chosen.items():
        roles = [
            _GATED & {c for word in unit.words for c in word.concepts} for unit in (table.source[i], table.target[j])
        ]
        unnamed = table.target[j] if roles[0] else table.source[i]
        if len(roles[0]) + len(roles[1]) == 1 and unnamed.peers == 1:
            said[table.target[j].path[:-1], table.target[j].main()][next(iter(roles[0] | roles[1]))] = i, j
    return {pair for own in said.values() if own.keys() == _GATED for pair in own.values()}


def _is_token(one: Leaf, other: Leaf) -> bool:
    """Is one of the two a row that is a parameter by itself (a class token), the other a module's weight or bias?"""
    vector, row = sorted((one, other), key=lambda leaf: len(leaf.raw))
    alone = len(row.raw) > 1 and prod(row.raw[:-1]) == 1 < row.raw[-1] and role_of(row.path)[1] == "*"
    return alone and len(vector.raw) == 1 and role_of(vector.path)[1] in ("weight", "bias")


def _out_of_turn(units: Sequence[Unit]) -> set[int]:
    """Modules side by side of one shape whose names say another order than the one in which they stand.

    Nothing stands between them that shows their order, and a `ffn_norm` before a `self_attn_norm` is not the first of
    numbered ones.
    """
    out: set[int] = set()
    run: list[int] = []
    for i, unit in enumerate([*units, None]):
        if run and (unit is None or unit.main() != units[run[-1]].main()):
            turns = [turn for k in run if (turn := place_of(units[k].words)) is not None]
            if turns != sorted(turns):
                out.update(run)
            run = []
        run.append(i)
    return out


def _counted_alike(a: Unit, b: Unit) -> bool:
    """Are two modules one of as many that are numbered, or does a number say what a word of place says of the other?"""
    if a.placed or b.placed:
        return a.placed != b.placed and a.peers != b.peers and a.turn == b.turn
    return a.peers == b.peers


def _strayed(table: Table, chosen: Mapping[int, int]) -> set[tuple[int, int]]:
    """Pairs of one name whose containers both belong to other ones, as all the rest of them says.

    Each container lacks what the other has too many of: `h.bias` is missing here, `v.bias` there.
    """
    homes = {(i, j): (table.source[i].path[:-1], table.target[j].path[:-1]) for i, j in chosen.items()}
    links = Counter(homes.values())
    mine: dict[Path, Counter[Path]] = defaultdict(Counter)
    theirs: dict[Path, Counter[Path]] = defaultdict(Counter)
    for (a, b), count in links.items():
        mine[a][b], theirs[b][a] = count, count
    return {
        (i, j)
        for (i, j), (a, b) in homes.items()
        if a and b and table.source[i].path[-1] == table.target[j].path[-1]
        if min(max(mine[a].values()), max(theirs[b].values())) >= 2 * links[a, b]
    }


def _crossed(table: Table, chosen: Mapping[int, int]) -> set[Sort | None]:
    """The shapes of which two modules were put together against their order, and not because a person said so."""
    last: dict[Sort | None, int] = {}
    out: set[Sort | None] = set()
    for i, j in sorted(chosen.items()):
        if table.learnt[i, j] > 1:
            continue
        shape = table.source[i].main()
        if last.get(shape, -1) > j:
            out.add(shape)
        last[shape] = max(j, last.get(shape, -1))
    return out
