"""Which words and numbers of one side stand for which of the other, as the pairs beyond doubt show.

Where `conv5_5_CPM_L1` can only be `paf.0.8`, and `conv5_5_CPM_L2` only `heatmap.0.8`, what else ends with `L1` belongs
to `paf`. So are modules of one shape told apart that stand in no block of their own: a word that has one partner in all
pairs that are sure, and that pairs without it never have, stands for that partner (as in a dictionary learnt from
translated sentences: Melamed, Models of Translational Equivalence, 2000).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from automatch.matching.basis.evidence import Found
from automatch.matching.basis.exchange import Refuses, common_length, exchanged, partners
from automatch.matching.basis.lap import assign
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.names import Names
from automatch.matching.basis.units import module_path

Pair = tuple[Path, Path]
Feature = tuple[str, str]
Dictionary = set[tuple[Feature, Feature]]

MANY, MOST = 48, 2048
"""Of more modules alike, each would have to be weighed against each; of more sure pairs, nothing is learnt."""

STAYS = 0.5
"""What it counts that a module is there already, where its words say nothing."""

BLOCK, WORD, LETTER = "^", "", "'"
"""The kinds of features: what a path begins with, up to the end of a name, and its words. Others are numbers."""

_PIECES = re.compile(r"\d+|[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_BY_ORDER = frozenset({"unit", "blocks"})
"""How pairs are found that names did not tell."""


def as_sure_ones_say(found: list[Found], target: Sequence[Leaf], names: Names, refuses: Refuses) -> list[Found]:
    """The same pairs, those of one shape exchanged whose words stand for others in the pairs beyond doubt; flagged.

    No table is exchanged for a head.
    """
    pairs, doubted = partners(found)
    free = doubted - {module_path(s.path) for s, _, e in found if e.level not in _BY_ORDER}
    sure = _Sure([pair for pair in pairs.items() if pair[0] not in doubted])
    holds: dict[Path, list[tuple[Path, tuple[int, ...]]]] = defaultdict(list)
    places: tuple[dict[Path, int], dict[Path, int]] = {}, {}
    for s, t, _ in found:
        mine, theirs = module_path(s.path), module_path(t.path)
        holds[theirs].append((t.path[len(theirs) :], t.shape))
        places[0].setdefault(mine, s.place)
        places[1].setdefault(theirs, t.place)
    alike: dict[object, list[Pair]] = defaultdict(list)
    for mine, theirs in pairs.items():
        if mine in free:
            alike[tuple(sorted(holds[theirs]))].append((mine, theirs))
    moved = []
    for group in alike.values():
        if 1 < len(group) <= MANY and sure.pairs:
            moved.append(_moved(sorted(group, key=lambda pair: places[0][pair[0]]), sure, places[1]))
    kept = [new for new in moved if new and all(names.is_table(s) == names.is_table(t) for s, t in new.items())]
    return exchanged(found, target, kept, "translated", refuses)


class _Sure:
    """The pairs beyond doubt, by the containers that they stand in."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs
        self._inside: dict[Path, list[Pair]] = defaultdict(list)
        for s, t in pairs:
            for depth in range(len(s) + 1):
                self._inside[s[:depth]].append((s, t))

    def around(self, mine: Path, theirs: Path) -> list[Pair]:
        """Those of which the one stands in a container, and the other in another; none of very many."""
        inside = self._inside.get(mine, ())
        return [(s, t) for s, t in inside if t[: len(theirs)] == theirs] if len(inside) <= MOST else []


def _equal(rows: Sequence[Sequence[float]]) -> list[list[int]]:
    """Which rows are alike, their numbers in order."""
    out: dict[tuple[float, ...], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        out[tuple(row)].append(i)
    return list(out.values())


def _moved(group: Sequence[Pair], sure: _Sure, places: Mapping[Path, int]) -> dict[Path, Path]:
    """New partners for modules that hold the same, in the order of their side, where words say so; {} where not.

    `places`: where the modules of the other side stand.
    """
    mine, theirs = [s for s, _ in group], [t for _, t in group]
    stands_for = _best_dictionary(mine, theirs, sure)
    if not stands_for:
        return {}
    said = [[_says(s, t, stands_for) for t in theirs] for s in mine]
    chosen = assign([[v + (i == j) * STAYS for j, v in enumerate(row)] for i, row in enumerate(said)])
    for alike in _equal(said):  # of which the words say the same: where others came in, all keep their order
        now = [chosen[i] for i in alike]
        if set(now) != set(alike):
            chosen = list(chosen)
            for i, j in zip(alike, sorted(now, key=lambda j: places[theirs[j]]), strict=True):
                chosen[i] = j
    moved = {i: j for i, j in enumerate(chosen) if i != j}
    gains = [said[i][j] - said[i][i] for i, j in moved.items()]
    return {mine[i]: theirs[j] for i, j in moved.items()} if gains and max(gains) > 0 <= min(gains) else {}


def _best_dictionary(mine: Sequence[Path], theirs: Sequence[Path], sure: _Sure) -> Dictionary:
    """What is learnt from the sure pairs of the containers around, the nearest that say something.

    With it come the words of both sides: they stand for themselves, unless a sure pair has one on one side only.
    """
    telling = _telling(mine), _telling(theirs)
    k, n = common_length(mine), common_length(theirs)
    looked_at = 0
    for up in range(max(k, n) + 1):
        around = sure.around(mine[0][: max(k - up, 0)], theirs[0][: max(n - up, 0)])
        if len(around) == looked_at:
            continue
        looked_at = len(around)
        learnt = _dictionary(around, *telling)
        if learnt:
            words = {word for word in telling[0] & telling[1] if word[0] == WORD}
            denied = {word for s, t in around for word in words & (_features(s) ^ _features(t))}
            return learnt | {(word, word) for word in words - denied}
    return set()


def _telling(paths: Sequence[Path]) -> set[Feature]:
    """What some of the paths have and others lack."""
    count = Counter(feature for path in paths for feature in _features(path))
    return {feature for feature, n in count.items() if n < len(paths)}


def _dictionary(sure: Sequence[Pair], mine: set[Feature], theirs: set[Feature]) -> Dictionary:
    """Which features of the one side always come with which of the other, and never without; one names a block.

    Numbers alone tell nothing: what is first in one list may be last in another. Nor does the number of an item without
    that of another one.
    """
    both: Counter[tuple[Feature, Feature]] = Counter()
    left: Counter[Feature] = Counter()
    right: Counter[Feature] = Counter()
    for s, t in sure:
        a, b = _features(s) & mine, _features(t) & theirs
        left.update(a)
        right.update(b)
        both.update((f, g) for f in a for g in b)
    learnt = {(f, g) for (f, g), n in both.items() if n == left[f] == right[g] < len(sure) and BLOCK in (f[0], g[0])}
    return {
        (f, g)
        for f, g in learnt
        if not (_is_index(f) or _is_index(g))
        or any(a != f and b != g and not {(f, b), (a, g)} & learnt for a, b in learnt)
    }


def _is_index(feature: Feature) -> bool:
    """Is it the number of an item in a list, or a block that is one?"""
    kind, text = feature
    return text.rpartition(" ")[2].startswith(".") if kind == BLOCK else kind.endswith(".")


def _says(s: Path, t: Path, stands_for: Dictionary) -> float:
    """How many features of two paths stand for each other, less those that stand for what the other lacks."""
    here, there = _features(s), _features(t)
    return sum(1.0 if f in here and g in there else -1.0 for f, g in stands_for if f in here or g in there)


@lru_cache(maxsize=1 << 16)
def _features(path: Path) -> frozenset[Feature]:
    """The words of a path, its numbers with what stands before them, and the blocks that it leads through."""
    return frozenset(_read(path))


def _read(path: Path) -> Iterator[Feature]:
    before, so_far = "", ""
    for at, token in enumerate(path):
        before += "."  # the first item of a list is not what a name counts
        for found in _PIECES.finditer(token):
            piece = found[0].lower()
            so_far += f" .{piece}" if piece.isdecimal() and found.start() == 0 else f" {piece}"
            rest = token[found.end() :]
            if (rest or at < len(path) - 1) and not rest[:1].isalpha():
                yield BLOCK, so_far
            if piece.isdecimal():
                yield before, piece
            else:
                yield WORD, piece
                yield from ((LETTER, letter) for letter in piece if len(piece) == 2)  # `convPa`, `convPb`
            before = piece
