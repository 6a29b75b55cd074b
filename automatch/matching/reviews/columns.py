"""Modules that went elsewhere in one block than their like in all the others.

A pair of templates is one decision, backed by all layers: where damaged blocks put `proj` where their sound sisters put
`f.a`, the sisters are believed. Only between modules of one shape that are called otherwise, and flagged.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Found
from automatch.matching.basis.exchange import Refuses, common_length, exchanged, partners
from automatch.matching.basis.lap import assign
from automatch.matching.basis.leaves import Leaf, Path, has_digits, without_digits
from automatch.matching.basis.units import module_path

OFTEN = 2.0
"""So many times as often must the other blocks say it."""

NAMED = 0.3
"""Names that are as alike as this decide."""

FEW, MANY = 3, 12
"""Of fewer blocks there is no majority; of more modules alike, each would have to be weighed against each."""

STAYS = 0.5
"""What it counts that a module is there already, where no block says otherwise."""


def as_elsewhere(found: list[Found], target: Sequence[Leaf], refuses: Refuses) -> list[Found]:
    """The same pairs, those exchanged of which the other blocks say the opposite, flagged.

    What is flagged has no vote, and what clear names say stays.
    """
    pairs, doubted = partners(found)
    named = {module_path(s.path) for s, _, e in found if e.name >= NAMED and not judge(e).ambiguous}
    columns = _Columns(pairs, doubted)
    done: set[Path] = set()
    groups = []
    for alike in _alike(target):
        free = [t for t in alike if t not in done and t in columns.back and columns.back[t] not in named]
        group = columns.exchanges(free)
        if group:
            groups.append(group)
            done.update(group.values())
    return exchanged(found, target, groups, "elsewhere", refuses)


class _Columns:
    """Which modules went where, by their templates."""

    def __init__(self, pairs: Mapping[Path, Path], doubted: Collection[Path]) -> None:
        self.back = {t: s for s, t in pairs.items()}
        self._sure: dict[tuple[Path, Path], list[tuple[Path, Path]]] = defaultdict(list)
        for t, s in self.back.items():
            if s not in doubted:
                self._sure[without_digits(s), without_digits(t)].append((s, t))
        self._votes: dict[tuple[Path, Path, int, int], Counter[tuple[Path, Path]]] = {}

    def exchanges(self, theirs: list[Path]) -> dict[Path, Path]:
        """New partners for modules of one block that hold the same, where most other blocks have it so."""
        if len(theirs) < 2:
            return {}
        mine = [self.back[t] for t in theirs]
        k, n = common_length(mine), common_length(theirs)
        if not (has_digits(mine[0][:k]) and has_digits(theirs[0][:n])):
            return {}
        votes = [[self._count(s, t, k, n) for t in theirs] for s in mine]
        chosen = assign([[v + (i == j) * STAYS for j, v in enumerate(row)] for i, row in enumerate(votes)])
        kinds = [without_digits(t[n:]) for t in theirs]
        moved = {i: j for i, j in enumerate(chosen) if kinds[i] != kinds[j]}
        said = [votes[i][j] for i, j in moved.items()]
        if set(moved) != set(moved.values()) or max(said, default=0) < FEW:
            return {}
        denied = [votes[i][i] for i in moved]
        return {mine[i]: theirs[j] for i, j in moved.items()} if sum(said) >= OFTEN * sum(denied) else {}

    def _count(self, s: Path, t: Path, k: int, n: int) -> int:
        """In how many blocks the part `s[k:]` of a block is at the part `t[n:]`, without doubt."""
        key = without_digits(s), without_digits(t), k, n
        if key not in self._votes:
            self._votes[key] = Counter((a[k:], b[n:]) for a, b in self._sure.get(key[:2], ()))
        return self._votes[key][s[k:], t[n:]]


def _alike(leaves: Sequence[Leaf]) -> Iterator[list[Path]]:
    """Modules of one block that hold the same."""
    holds: dict[Path, list[tuple[Path, tuple[int, ...]]]] = defaultdict(list)
    for leaf in leaves:
        module = module_path(leaf.path)
        holds[module].append((leaf.path[len(module) :], leaf.shape))
    groups: dict[object, list[Path]] = defaultdict(list)
    for module, own in holds.items():
        for depth in range(1, len(module)):
            if has_digits(module[depth - 1 : depth]):
                groups[module[:depth], tuple(sorted(own))].append(module)
    return (group for group in groups.values() if 1 < len(group) <= MANY)
