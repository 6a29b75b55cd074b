"""Blocks that lie across each other, of which some were put together by their order alone.

`blocks.0.0, blocks.0.2, blocks.1.0, blocks.1.2` are `ins.0, outs.0, ins.1, outs.1`: one number stays, and the other
becomes a name. Where the blocks that their shapes tell apart say so, those that are alike follow.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from automatch.matching.evidence import Found
from automatch.matching.exchange import Refuses, exchanged
from automatch.matching.leaves import Leaf
from automatch.matching.units import module_path

Path = tuple[str, ...]
Cell = tuple[str, str]
"""The two numbers of a block, `0, 2`; or the name of its list and its number there, `outs, 0`."""


def as_numbered(found: list[Found], target: Sequence[Leaf], refuses: Refuses) -> list[Found]:
    """The same pairs, with blocks of lists across each other where the other blocks' numbers say."""
    pairs = {module_path(s.path): module_path(t.path) for s, t, _ in found if not (s.ops or t.ops)}
    back = {t: s for s, t in pairs.items()}
    groups = list(_groups(pairs))
    groups += [{mine: theirs for theirs, mine in group.items() if mine in pairs} for group in _groups(back)]
    return exchanged(found, target, groups, "numbered", refuses)


def _groups(pairs: Mapping[Path, Path]) -> Iterator[dict[Path, Path]]:
    """New partners for modules that two numbers lead to, where a name and a number lead to their partners."""
    lists: dict[tuple[Path, Path], list[tuple[Path, Cell, Cell]]] = defaultdict(list)
    for one, other in pairs.items():
        for p, (i, k) in enumerate(pairwise(one)):
            if i.isdecimal() and k.isdecimal():
                for q, (name, j) in enumerate(pairwise(other)):
                    if j.isdecimal() and not name.isdecimal():
                        lists[one[:p], other[:q]].append((one, (i, k), (name, j)))
    for (_, home), cells in lists.items():
        moved = _moved({(cell, other) for _, cell, other in cells})
        if moved:
            rest = len(home) + 2
            yield {one: (*home, *moved[cell], *pairs[one][rest:]) for one, cell, _ in cells if cell in moved}


def _moved(pairs: Iterable[tuple[Cell, Cell]]) -> dict[Cell, Cell]:
    """The blocks that belong elsewhere, and where: they break the rule which the others of their lists keep.

    The rule: a name for each second number, and the first number stays. They must change places among themselves.
    """
    now = dict(pairs)
    if all(j == k for (_, k), (_, j) in now.items()):
        return {}  # the second number stays, and there are as many lists as before
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for (i, k), (name, j) in now.items():
        votes[k][name] += i == j
    said = {k: name for k, names in votes.items() for name, count in names.most_common(1) if count}
    if len(set(said.values())) < max(2, len(said)):
        return {}
    wrong = {(i, k): (said[k], i) for (i, k), other in now.items() if k in said and other != (said[k], i)}
    return wrong if {now[cell] for cell in wrong} == set(wrong.values()) else {}
