"""Blocks that lie across each other, of which some were put together by their order alone.

`blocks.0.0, blocks.0.2, blocks.1.0, blocks.1.2` are `ins.0, outs.0, ins.1, outs.1`: one number stays, and the other
becomes a name. They might as well be `ins.0, ins.1, outs.0, outs.1`; where other lists of the same names leave no such
choice, those say which it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby, pairwise

from automatch.matching.basis.evidence import Found
from automatch.matching.basis.exchange import Refuses, exchanged
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.units import module_path

Cell = tuple[str, str]
"""The two numbers of a block, `0, 2`; or the name of its list and its number there, `outs, 0`."""
Cells = dict[Cell, Cell]


def as_numbered(found: list[Found], target: Sequence[Leaf], refuses: Refuses) -> list[Found]:
    """The same pairs, with blocks of lists across each other where other lists of the same names say."""
    pairs = {module_path(s.path): module_path(t.path) for s, t, _ in found if not (s.ops or t.ops)}
    back = {t: s for s, t in pairs.items()}
    groups = list(_groups(pairs))
    groups += [{mine: theirs for theirs, mine in group.items() if mine in pairs} for group in _groups(back)]
    return exchanged(found, target, groups, "numbered", refuses)


def _groups(pairs: Mapping[Path, Path]) -> Iterator[dict[Path, Path]]:
    """New partners for modules that two numbers lead to, where a name and a number lead to their partners."""
    modules: dict[tuple[Path, Path], list[tuple[Path, Cell, Cell]]] = defaultdict(list)
    for one, other in pairs.items():
        for p, (i, k) in enumerate(pairwise(one)):
            if p and i.isdecimal() and k.isdecimal():
                for q, (name, j) in enumerate(pairwise(other)):
                    if j.isdecimal() and not name.isdecimal():
                        modules[one[:p], other[:q]].append((one, (i, k), (name, j)))
    lists = {place: cells for place, own in modules.items() if (cells := _cells(own))}
    said: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for (top, _), cells in lists.items():
        kept = _keepers(cells)
        if len(kept) > 1 and not _in_order(_of(cells, kept)):
            for k, name in kept.items():
                said[top[-1]][k].add(name)
    for (top, home), cells in lists.items():
        names = {k: next(iter(own)) for k, own in said[top[-1]].items() if len(own) == 1}
        known = _of(cells, names)
        moved = _moved(known, names)
        rest = len(home) + 2
        if moved:  # the others of these lists stand where they do for the same reason
            new = {**known, **moved}
            yield {one: (*home, *new[cell], *pairs[one][rest:]) for one, cell, _ in modules[top, home] if cell in new}


def _cells(modules: Sequence[tuple[Path, Cell, Cell]]) -> Cells:
    """Where each block went, those of lists that get two numbers or more; nothing where one went to several places."""
    now: Cells = {}
    for _, cell, other in modules:
        if now.setdefault(cell, other) != other:
            return {}
    several = Counter(name for name, _ in now.values())
    now = {cell: other for cell, other in now.items() if several[other[0]] > 1}
    whole = len({i for i, _ in now}) > 1 and len(several) > 1 and len(set(now.values())) == len(now)
    return now if whole else {}


def _of(cells: Cells, numbers: Collection[str]) -> Cells:
    """The blocks of these second numbers."""
    return {cell: other for cell, other in cells.items() if cell[1] in numbers}


def _keepers(cells: Cells) -> dict[str, str]:
    """The second numbers that have a name of their own, under which the first number stays, and these names."""
    names: dict[str, set[str]] = defaultdict(set)
    for (_, k), (name, _) in cells.items():
        names[k].add(name)
    shared = Counter(name for own in names.values() for name in own)
    astray = {k for (i, k), (_, j) in cells.items() if i != j}
    own = {k: next(iter(found)) for k, found in names.items() if len(found) == 1 and k not in astray}
    return {k: name for k, name in own.items() if shared[name] == 1}


def _in_order(cells: Cells) -> bool:
    """Are the lists of names filled one after the other, as the blocks stand?"""
    rows = [cells[cell] for cell in sorted(cells, key=lambda cell: tuple(map(int, cell)))]
    filled = [name for name, _ in groupby(rows, key=lambda other: other[0])]
    rising = all(int(a) < int(b) for (one, a), (other, b) in pairwise(rows) if one == other)
    return rising and len(set(filled)) == len(filled)


def _moved(cells: Cells, names: Mapping[str, str]) -> Cells:
    """The blocks that belong elsewhere, and where, if nothing but their order speaks for their places."""
    if not _in_order(cells):
        return {}
    wrong = {(i, k): (names[k], i) for (i, k), other in cells.items() if other != (names[k], i)}
    return wrong if {cells[cell] for cell in wrong} == set(wrong.values()) else {}
