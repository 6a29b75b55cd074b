"""Modules of one shape that order put together, where the names of all of them say another order.

Names are weighed block by block before, and there `gate0` and `linear1` are of one list beside `0.gate`, `0.transform`:
neither has a like in it. Among all modules of the shape each has.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from automatch.describing.tokens import words_of
from automatch.matching.basis.evidence import Found
from automatch.matching.basis.exchange import Refuses, exchanged, partners
from automatch.matching.basis.lap import NEVER, assign
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.names import Names, contrast
from automatch.matching.basis.units import module_path

Pair = tuple[Path, Path]

MANY = 16
"""Of more modules alike, each order would have to be weighed against many."""

KINDS = frozenset({"linear", "conv", "norm", "block", "embedding"})
"""Concepts that say what a module is, and not which."""

NUMBERED = 0.3
"""What it counts that two modules have the same numbers."""

_BY_ORDER = frozenset({"unit", "blocks"})
"""How pairs are found that names did not tell."""

GAIN, CLEAR = 0.5, 0.2
"""How much better names must speak of the new order in all, and how much worse of every other one."""


def as_all_names_say(found: list[Found], target: Sequence[Leaf], names: Names, refuses: Refuses) -> list[Found]:
    """The same pairs, those of one shape that are in doubt exchanged where names say so; flagged."""
    pairs, doubted = partners(found)
    free = doubted - {module_path(s.path) for s, _, e in found if e.level not in _BY_ORDER}
    holds: dict[Path, list[tuple[Path, tuple[int, ...]]]] = defaultdict(list)
    for _, t, _ in found:
        theirs = module_path(t.path)
        holds[theirs].append((t.path[len(theirs) :], t.shape))
    alike: dict[tuple[tuple[Path, tuple[int, ...]], ...], list[Pair]] = defaultdict(list)
    for mine, theirs in pairs.items():
        if mine in free:
            alike[tuple(sorted(holds[theirs]))].append((mine, theirs))
    moved = [
        _moved(group, names)
        for held, group in alike.items()
        if 1 < len(group) <= MANY and any(len(shape) > 1 for _, shape in held)  # norms are numbered as they stand
    ]
    return exchanged(found, target, [new for new in moved if new], "worded", refuses)


def _moved(group: Sequence[Pair], names: Names) -> dict[Path, Path]:
    """New partners for modules that hold the same, where their names say so; {} where not."""
    mine, theirs = [s for s, _ in group], [t for _, t in group]
    words = [
        [[w for w in names.path_words(path) if not w.concepts & KINDS] for path in side] for side in (mine, theirs)
    ]
    weights = contrast(*words)
    spoken = [[names.compare(a, b, weights) for b in words[1]] for a in words[0]]
    numbers = [_numbers(side) for side in (mine, theirs)]
    said = [
        [word + NUMBERED * (bool(own) and own == other) for word, other in zip(row, numbers[1], strict=True)]
        for row, own in zip(spoken, numbers[0], strict=True)
    ]
    chosen = assign(said)
    moved = {i: j for i, j in enumerate(chosen) if i != j}
    gains = [spoken[i][j] - spoken[i][i] for i, j in moved.items()]  # numbers alone may count from another one
    if sum(gains) < GAIN or min(gains) < 0:
        return {}
    best = sum(said[i][j] for i, j in enumerate(chosen))
    for i, j in moved.items():
        other = [[NEVER if (x, y) == (i, j) else v for y, v in enumerate(row)] for x, row in enumerate(said)]
        if best - sum(other[x][y] for x, y in enumerate(assign(other))) < CLEAR:
            return {}
    return {mine[i]: theirs[j] for i, j in moved.items()}


def _numbers(paths: Sequence[Path]) -> list[tuple[str, ...]]:
    """The numbers of each path, without those that all of them have."""
    every = [Counter(w for token in path for w in words_of(token) if w.isdecimal()) for path in paths]
    common = every[0].copy()
    for own in every:
        common &= own
    return [tuple(sorted((own - common).elements())) for own in every]
