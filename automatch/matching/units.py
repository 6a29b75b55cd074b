"""The last step inside a pair of blocks: single modules (weight, bias, statistics) against modules.

Evidence for a pair of modules, all in one score: the shapes of their tensors fit; their names
are alike; they stand in the same place of the order; sister blocks decided the same way.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from automatch.describing.tokens import ROLES, words_of
from automatch.matching.lap import NEVER, assign
from automatch.matching.leaves import Leaf
from automatch.matching.names import Names, Word, contrast
from automatch.spec import Shape

_CANON = {
    "kernel": "weight", "weights": "weight", "gamma": "weight", "w": "weight", "g": "weight", "scale": "weight", "beta": "bias", "b": "bias",
    "offset": "bias", "moving_mean": "running_mean", "mean": "running_mean", "moving_variance": "running_var",
    "var": "running_var", "original0": "weight_g", "original1": "weight_v",
}  # fmt: skip

_WEIGHTS = {"*": "weight", "weight_orig": "weight"}

NAMES, ORDER, ORDINAL, LEARNT, FIT, EXACT, ASTRAY = 2.0, 0.7, 0.25, 1.5, 0.6, 0.5, -1.0
"""What each signal weighs in the score of a pair."""

_ANCHORS = 60


@dataclass(slots=True)
class Unit:
    """One module and the leaves it holds, by role; a bare parameter has the role `*`."""

    path: tuple[str, ...]
    words: tuple[Word, ...]
    leaves: dict[str, Leaf] = field(default_factory=dict)
    place: int = 0
    rank: int = 0
    peers: int = 1

    def main(self) -> Shape | None:
        """The shape that stands for the module in the order of shapes."""
        for role in ("weight", "weight_v", "weight_orig", "*"):
            if role in self.leaves and not self.leaves[role].integer:
                return self.leaves[role].shape
        for leaf in self.leaves.values():
            if not leaf.integer:
                return leaf.shape
        return None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why two leaves were put together.

    Attributes:
        fit: share of the two modules' tensors that fit each other.
        name: similarity of names in [-1, 1].
        order: 1 where both stand in the same place of the sequence of shapes.
        margin: by how much this choice beats the best other one; large where there is no other.
        name_margin: the same by names alone.
        order_margin: the same by order alone.
        rivals: how many other tensors of the scope would have fitted.
        sequence: share of the scope's modules whose sequence of shapes agrees.
        intact: nothing is left over in the scope on either side.
        learnt: sister blocks decided the same way.
        exact: shapes are equal as stored.
        trust_names: how well names explain the undisputed modules of the scope.
        trust_order: how well order does.
        contradiction: the names speak of things that exclude each other.
        astray: the two lie in containers that do not belong together.
        level: how the pair was found ("unit", "name", "tied", "pin").
        free: how many unmatched tensors of the scope would fit one of the two.
    """

    fit: float = 1.0
    name: float = 0.0
    order: float = 0.0
    margin: float = 9.0
    name_margin: float = 9.0
    order_margin: float = 9.0
    rivals: int = 0
    sequence: float = 0.0
    intact: bool = True
    learnt: float = 0.0
    exact: bool = True
    trust_names: float = 1.0
    trust_order: float = 1.0
    contradiction: bool = False
    astray: bool = False
    level: str = "unit"
    free: int = 0


@dataclass(frozen=True, slots=True)
class Context:
    """What `assign_units` may know about the whole.

    Attributes:
        names: compares words.
        order_trust: in [0, 1]; small where one side is sorted by name.
        names_trust: in [0, 1]; 0 switches names off (`by="topology"`).
        astray: 0 where two left-over leaves lie in modules that belong together, 1 where they lie in
            other containers, 2 where they are parts of other modules.
        learnt: (path of a checkpoint module in its block, path of a model module) -> support.
        forbidden: says whether two leaves must not be put together.
    """

    names: Names
    order_trust: float
    names_trust: float
    learnt: Callable[[tuple[str, ...], tuple[str, ...]], float]
    forbidden: Callable[[Leaf, Leaf], bool] | None = None
    astray: Callable[[Leaf, Leaf], int] | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two leaves put together."""

    source: Leaf
    target: Leaf
    evidence: Evidence


def role_of(path: Sequence[str]) -> tuple[int, str]:
    """(length of the module's path, role of the leaf in it)."""
    last = path[-1]
    if last in ROLES and len(path) > 1:
        return len(path) - 1, _CANON.get(last, last)
    return len(path), "*"


def units_of(leaves: Sequence[Leaf], top: int, names: Names, apart: bool = False) -> list[Unit]:
    """Gather leaves into modules; `top` tokens of the path belong to the scope and are left out.

    `apart`: every leaf is a module of its own (one of the sides has no names of roles).
    """
    units: dict[tuple[str, ...], Unit] = {}
    for leaf in leaves:
        length, role = (len(leaf.path), "*") if apart else role_of(leaf.path)
        length = max(length, min(top, len(leaf.path)))
        module = leaf.path[:length]
        unit = units.get(module)
        if unit is None or role in unit.leaves:
            if unit is not None:
                module = leaf.path
            shown = module[top:] or module[-1:]
            unit = units[module] = Unit(shown, names.path_words(shown), place=leaf.place)
        unit.leaves[role] = leaf
        unit.place = min(unit.place, leaf.place)
    found = sorted(units.values(), key=lambda u: u.place)
    peers: dict[tuple[object, ...], list[Unit]] = defaultdict(list)
    for unit in found:
        peers[(unit.main(), *(w for t in unit.path for w in words_of(t) if not w.isdigit()))].append(unit)
    for group in peers.values():
        numbered = sorted(group, key=lambda u: [int(w) for t in u.path for w in words_of(t) if w.isdigit()])
        for rank, unit in enumerate(numbered):
            unit.rank, unit.peers = rank, len(group)
    return found


def pair_leaves(a: Unit, b: Unit, ctx: Context) -> tuple[list[tuple[Leaf, Leaf]], float]:
    """Which leaves of two modules go together, and the share of them that fits (0: they must not)."""
    pairs: list[tuple[Leaf, Leaf]] = []
    left, right = dict(a.leaves), dict(b.leaves)
    for role in [r for r in left if r in right]:
        mine, theirs = left[role], right[role]
        if mine.shape != theirs.shape or mine.integer != theirs.integer:
            return [], 0.0
        if ctx.forbidden is not None and ctx.forbidden(mine, theirs):
            return [], 0.0
        pairs.append((left.pop(role), right.pop(role)))
    for one, other in (("weight_orig", "weight"), ("weight", "weight_orig")):  # pruned or normalised on one side only
        if one in left and other in right and left[one].shape == right[other].shape:
            pairs.append((left.pop(one), right.pop(other)))
    bare_a, bare_b = left.get("*"), right.get("*")
    for mine, others in ((bare_a, right), (bare_b, left)):
        other = others.get("weight") or others.get("weight_v") if mine is not None else None
        if mine is None or other is None or other.shape != mine.shape or mine.integer:
            continue
        pair = (mine, other) if mine is bare_a else (other, mine)
        if ctx.forbidden is None or not ctx.forbidden(*pair):
            pairs.append(pair)
    if ctx.astray is not None and any(ctx.astray(m, t) == 2 for m, t in pairs):
        return [], 0.0
    solid = sum(not m.integer for m, _ in pairs)
    size = max(sum(not x.integer for x in a.leaves.values()), sum(not x.integer for x in b.leaves.values()))
    if not solid:
        return (pairs, 1.0) if pairs and not size else ([], 0.0)
    return pairs, solid / size


def _exact(a: Leaf, b: Leaf) -> bool:
    """Do the shapes agree as they are stored, no dimension of size 1 added or dropped?"""
    return bool(a.ops or b.ops) or a.raw == b.raw


def common_subsequence(a: Sequence[Shape | None], b: Sequence[Shape | None]) -> list[tuple[int, int]]:
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


@dataclass(slots=True)
class _Table:
    """Scores of the pairs of one scope that may go together."""

    source: list[Unit]
    target: list[Unit]
    fits: dict[tuple[int, int], tuple[list[tuple[Leaf, Leaf]], float]]
    name: dict[tuple[int, int], float]
    order: dict[tuple[int, int], float]
    learnt: dict[tuple[int, int], float]
    exact: dict[tuple[int, int], float]
    trust_names: float
    trust_order: float
    sequence: float
    names: Names
    astray: frozenset[tuple[int, int]]

    def against(self, i: int, j: int) -> bool:
        """Do the two names exclude each other?"""
        return self.names.contradiction(self.source[i].words, self.target[j].words) > 0

    def score(self, i: int, j: int) -> float:
        fit = self.fits[i, j][1]
        return (
            FIT * fit + self.trust_names * NAMES * self.name[i, j]
            + ORDER * self.trust_order * self.order[i, j] + LEARNT * self.learnt[i, j]
            + EXACT * self.exact[i, j] + (ASTRAY if (i, j) in self.astray else 0.0)
        )  # fmt: skip


def _tabulate(source: list[Unit], target: list[Unit], ctx: Context) -> _Table:
    by_shape: dict[tuple[str, Shape, bool], list[int]] = defaultdict(list)
    for j, unit in enumerate(target):
        for role, leaf in unit.leaves.items():
            by_shape[(_WEIGHTS.get(role, role), leaf.shape, leaf.integer)].append(j)
    fits: dict[tuple[int, int], tuple[list[tuple[Leaf, Leaf]], float]] = {}
    for i, unit in enumerate(source):
        near = sorted({
            j for role, leaf in unit.leaves.items()
            for j in by_shape.get((_WEIGHTS.get(role, role), leaf.shape, leaf.integer), ())
        })  # fmt: skip
        for j in near:
            pairs, fit = pair_leaves(unit, target[j], ctx)
            if fit > 0:
                fits[i, j] = (pairs, fit)
    weights = contrast([u.words for u in source], [u.words for u in target])
    name = {(i, j): _named_alike(source[i], target[j], ctx.names, weights) for i, j in fits}
    aligned = common_subsequence([u.main() for u in source], [u.main() for u in target])
    sequence = len(aligned) / max(1, min(len(source), len(target)))
    order = _order(source, target, fits, aligned)
    learnt = {(i, j): ctx.learnt(source[i].path, target[j].path) for i, j in fits}
    exact = {k: sum(_exact(m, t) for m, t in pairs) / len(pairs) for k, (pairs, _) in fits.items()}
    astray = frozenset(
        key for key, (pairs, _) in fits.items() if ctx.astray is not None and any(ctx.astray(m, t) for m, t in pairs)
    )
    trust_names, trust_order = _trust(source, target, fits, name, ctx)
    return _Table(source, target, fits, name, order, learnt, exact, trust_names, trust_order, sequence, ctx.names, astray)


def _named_alike(a: Unit, b: Unit, names: Names, weights: Mapping[str, float]) -> float:
    """Similarity of two names; numbers count by their rank among modules called the same."""
    value = names.compare(a.words, b.words, weights)
    if names.silent or a.peers < 2 or a.peers != b.peers:
        return value
    return value + (ORDINAL if a.rank == b.rank else -ORDINAL)


def _order(
    source: list[Unit],
    target: list[Unit],
    fits: Mapping[tuple[int, int], object],
    aligned: Sequence[tuple[int, int]],
) -> dict[tuple[int, int], float]:
    together = set(aligned)
    ranks: list[dict[int, tuple[int, Shape | None]]] = []
    sizes: list[Counter[Shape | None]] = []
    for side in (source, target):
        count: Counter[Shape | None] = Counter()
        rank: dict[int, tuple[int, Shape | None]] = {}
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


def _trust(
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
        weights = contrast([source[i].words for i, _ in sure], [target[j].words for _, j in sure])
        hits = 0
        for i, j in sure:
            own = ctx.names.compare(source[i].words, target[j].words, weights)
            best = max(ctx.names.compare(source[i].words, target[k].words, weights) for _, k in sure if k != j)
            hits += own > best + 0.02
        trust_names *= 0.4 + 0.6 * hits / len(sure)
    anchors = sorted({*sure, *_named(partners, name)})[:_ANCHORS] if ctx.names_trust else sorted(sure)[:_ANCHORS]
    if len(anchors) < 2:
        return trust_names, ctx.order_trust
    ups = sum(
        (source[i].place < source[k].place) == (target[j].place < target[m].place)
        for n, (i, j) in enumerate(anchors) for k, m in anchors[n + 1 :]
    )  # fmt: skip
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
                (best_row, second_row, i, j), (best_column, second_column, j, i),
            ):  # fmt: skip
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


def assign_units(source: list[Unit], target: list[Unit], ctx: Context) -> list[Pair]:
    """Put modules together, one to one, so that the evidence is best; say how sure each is."""
    if not source or not target:
        return []
    table = _tabulate(source, target, ctx)
    if not table.fits:
        return []
    chosen: dict[int, int] = {}
    for rows, columns in _components(table.fits):
        matrix = [[table.score(i, j) if (i, j) in table.fits else NEVER for j in columns] for i in rows]
        for r, c in enumerate(assign(matrix)):
            if c >= 0:
                chosen[rows[r]] = columns[c]
    return _explain(table, chosen, len(source) == len(target) == len(chosen))


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


def _explain(table: _Table, chosen: Mapping[int, int], intact: bool) -> list[Pair]:
    """Turn chosen module pairs into leaf pairs, each with what speaks for and against it."""
    owner = {j: i for i, j in chosen.items()}
    by_row: dict[int, list[int]] = defaultdict(list)
    by_column: dict[int, list[int]] = defaultdict(list)
    for i, j in table.fits:
        by_row[i].append(j)
        by_column[j].append(i)
    out: list[Pair] = []
    for i, j in chosen.items():
        margins = [9.0, 9.0, 9.0]
        rivals = free = 0

        def note(plus: list[tuple[int, int]], minus: list[tuple[int, int]], margins: list[float] = margins) -> None:
            total = sum(table.score(*p) for p in plus) - sum(table.score(*p) for p in minus)
            name = sum(table.name[p] for p in plus) - sum(table.name[p] for p in minus)
            order = sum(table.order[p] for p in plus) - sum(table.order[p] for p in minus)
            if total < margins[0]:
                margins[0] = total
            margins[1], margins[2] = min(margins[1], name), min(margins[2], order)

        for d in by_row[i]:
            if d == j:
                continue
            rivals += 1
            c = owner.get(d)
            if c is None:
                free += 1
                note([(i, j)], [(i, d)])
            elif (c, j) in table.fits:
                note([(i, j), (c, d)], [(i, d), (c, j)])
        for c in by_column[j]:
            if c != i and c not in chosen:
                rivals += 1
                free += 1
                note([(i, j)], [(c, j)])
        pairs, fit = table.fits[i, j]
        a, b = table.source[i], table.target[j]
        evidence = Evidence(
            fit, table.name[i, j], table.order[i, j], margins[0], margins[1], margins[2], rivals, table.sequence, intact,
            table.learnt[i, j], table.exact[i, j] == 1.0, table.trust_names, table.trust_order, table.against(i, j), (i, j) in table.astray,
            "unit", free,
        )  # fmt: skip
        out += [Pair(m, t, evidence) for m, t in pairs]
    return out
