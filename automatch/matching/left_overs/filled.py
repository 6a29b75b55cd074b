"""What is left over of one item of a list, where the same of the other items was found.

`layer2_rn`, `layer3_rn` and `layer4_rn` are `blocks.1.project`, `blocks.2.project` and `blocks.3.project`; so the one
that is left over on either side, `layer1_rn`, of the shape of half the network, is `blocks.0.project`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.exchange import Refuses
from automatch.matching.basis.leaves import Leaf

FEWEST, OF_GRIDS = 2, 3
"""So many other items say how far the numbers of the two sides are apart; more where keys have several numbers."""

_NUMBER = re.compile(r"[0-9]+")

Place = tuple[tuple[str, ...], tuple[int, ...], int]
"""A key without its numbers, its numbers but for one, and which one that is."""


def as_in_other_items(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], refuses: Refuses
) -> list[Found]:
    """Further pairs: what has the place among left-overs that the other items of its list have among the pairs."""
    used = {key for s, _, _ in found for key in s.keys}
    served = {key for _, t, _ in found for key in t.keys}
    free = {leaf.keys[0]: leaf for leaf in source if len(leaf.keys) == 1 and leaf.keys[0] not in used}
    open_ = [leaf for leaf in target if len(leaf.keys) == 1 and leaf.keys[0] not in served and not leaf.integer]
    if not free or not open_:
        return []
    asked = {place for leaf in open_ for place, _ in _places(leaf.keys[0])}
    seen: dict[Place, dict[Place, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
    for s, t, evidence in found:
        if len(s.keys) == len(t.keys) == 1 and not (s.layers or t.layers or judge(evidence).ambiguous):
            for place, number in _places(t.keys[0]):
                if place in asked:
                    for other, there in _places(s.keys[0]):
                        seen[place][other][number] = there
    out: list[Found] = []
    for leaf in open_:
        goals = {key for place, number in _places(leaf.keys[0]) for key in _expected(seen[place], number)}
        mine = free.get(goals.pop()) if len(goals) == 1 else None
        if mine is not None and mine.shape == leaf.shape and not refuses(mine, leaf):
            out.append((mine, leaf, Evidence(level="column")))
            del free[mine.keys[0]]
    return out


def _places(key: str) -> Iterator[tuple[Place, int]]:
    """For each number of a key, where it stands, and the number."""
    texts = tuple(_NUMBER.split(key))
    numbers = tuple(map(int, _NUMBER.findall(key)))
    for at, number in enumerate(numbers):
        yield (texts, (*numbers[:at], *numbers[at + 1 :]), at), number


def _expected(others: dict[Place, dict[int, int]], number: int) -> Iterator[str]:
    """The keys that would stand where those of the other items stand."""
    for (texts, rest, at), known in others.items():
        apart = {there - here for here, there in known.items()}
        if len(known) >= (OF_GRIDS if rest else FEWEST) and len(apart) == 1 and (there := number + apart.pop()) >= 0:
            numbers = (*rest[:at], there, *rest[at:])
            yield texts[0] + "".join(f"{n}{text}" for n, text in zip(numbers, texts[1:], strict=True))
