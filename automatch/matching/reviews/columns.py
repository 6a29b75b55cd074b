"""Modules that went elsewhere in one block than their like in all the others.

A pair of templates is one decision, backed by all layers: where damaged blocks put `proj` where their sound sisters put
`f.a`, the sisters are believed. Only between modules of one shape that are called otherwise, and flagged.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Found
from automatch.matching.basis.exchange import Refuses, common_length, contents, exchanged, partners, replaced
from automatch.matching.basis.lap import assign
from automatch.matching.basis.leaves import Leaf, Path, has_digits, without_digits
from automatch.matching.basis.units import block_of, module_path

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


def as_elsewhere_unmatched(found: list[Found], source: Sequence[Leaf], refuses: Refuses) -> list[Found]:
    """The same pairs, with an unmatched module of a block where all other blocks have its like, flagged.

    A block that holds a module twice, under two names, has one more than its sisters: by order the second name is as
    good as any. Only what is in doubt is replaced, and never what a sure pair of another block has there.
    """
    pairs, doubted = partners(found)
    columns = _Columns(pairs, doubted)
    used = {module_path(s.path) for s, _, _ in found}
    own = contents(source)
    left: dict[object, list[Path]] = defaultdict(list)
    for module, held in own.items():
        if module not in used:
            left[block_of(module), len(module), tuple(sorted(held))].append(module)
    if not left:
        return found
    given: dict[Path, Path] = {}
    for s, t in pairs.items():
        alike = left.get((block_of(s), len(s), tuple(sorted(own.get(s, ())))), ()) if s in doubted else ()
        better = [module for module in alike if columns.prefers(module, s, t)]
        if len(better) == 1 and better[0] not in given.values():
            given[s] = better[0]
    return replaced(found, given, source, "elsewhere", refuses)


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

    def prefers(self, one: Path, other: Path, t: Path) -> bool:
        """Is module `one` of a block at `t` in the other blocks, and never module `other` of the same block?"""
        k = common_length([one, other])
        numbers, n = sum(has_digits((token,)) for token in one[:k]), 0
        while numbers and n < len(t):
            numbers -= has_digits((t[n],))
            n += 1
        if not n or k == len(one) or self._count(other, t, k, n):
            return False
        return self._count(one, t, k, n) >= FEW

    def _count(self, s: Path, t: Path, k: int, n: int) -> int:
        """In how many blocks the part `s[k:]` of a block is at the part `t[n:]`, without doubt."""
        key = without_digits(s), without_digits(t), k, n
        if key not in self._votes:
            self._votes[key] = Counter((a[k:], b[n:]) for a, b in self._sure.get(key[:2], ()))
        return self._votes[key][s[k:], t[n:]]


def _alike(leaves: Sequence[Leaf]) -> Iterator[list[Path]]:
    """Modules of one block that hold the same."""
    groups: dict[object, list[Path]] = defaultdict(list)
    for module, own in contents(leaves).items():
        for depth in range(1, len(module)):
            if has_digits(module[depth - 1 : depth]):
                groups[module[:depth], tuple(sorted(own))].append(module)
    return (group for group in groups.values() if 1 < len(group) <= MANY)
