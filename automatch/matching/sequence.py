"""Modules of one kind keep their order: what a stage lends to the next must not overtake another.

A block's pieces may stand in one stage on one side and in the next on the other (a downsampling closes a stage here and
opens one there). Stage by stage, each then finds a partner of its shape, and two of them change places. The numbers of
all modules of the kind show it: they run forwards but for these, and in order all shapes fit as well.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from automatch.matching.confidence import judge
from automatch.matching.evidence import Evidence, Found
from automatch.matching.leaves import Leaf, template

Path = tuple[str, ...]
Numbers = tuple[int, ...]
_FEWEST = 3


def in_sequence(found: Sequence[Found]) -> list[Found]:
    """The pairs, with those modules of one kind put in order that overtake each other, where all shapes allow it."""
    kinds: dict[tuple[Path, Path], dict[tuple[Path, Path], list[Found]]] = defaultdict(dict)
    for pair in found:
        one, other = pair[0].path[:-1], pair[1].path[:-1]
        kinds[template(one), template(other)].setdefault((one, other), []).append(pair)
    moved: dict[int, Found] = {}
    inside = Counter(s.path[:-2] for s, _, _ in found), Counter(t.path[:-2] for _, t, _ in found)
    for modules in kinds.values():
        if len(modules) >= _FEWEST and _stand_alone(modules, inside):
            for pair in _reordered(modules):
                moved[id(pair[1])] = pair
    return [moved.get(id(pair[1]), pair) for pair in found] if moved else list(found)


def _stand_alone(modules: dict[tuple[Path, Path], list[Found]], inside: tuple[Counter[Path], Counter[Path]]) -> bool:
    """Has each of the modules its container to itself? One that has company stays with it."""
    return all(
        path[:-1] and there[path[:-1]] == len(pairs)
        for both, pairs in modules.items()
        for path, there in zip(both, inside, strict=True)
    )


def _reordered(modules: dict[tuple[Path, Path], list[Found]]) -> list[Found]:
    """The pairs of the modules that change their partner; none where they are in order or cannot be."""
    pairs = sorted(modules, key=lambda pair: _numbers(pair[1]))
    mine = [_numbers(one) for one, _ in pairs]
    forwards = sorted(mine)
    stages = _stages(mine)
    if stages in (sorted(stages), sorted(stages, reverse=True)) or len(set(mine)) < len(mine):
        return []  # one after the other, or a list that runs backwards
    if any(judge(evidence).ambiguous for own in modules.values() for _, _, evidence in own):
        return []  # what is in doubt is no sequence
    by_number = {_numbers(one): modules[one, other] for one, other in pairs}
    out: list[Found] = []
    for (one, other), numbers in zip(pairs, forwards, strict=True):
        own, instead = modules[one, other], by_number[numbers]
        if instead is own:
            continue
        serving: dict[str, Leaf] = {s.path[-1]: s for s, _, _ in instead}
        for s, t, _ in own:
            new = serving.get(s.path[-1])
            if new is None or new.shape != t.shape or new.ops != s.ops:
                return []
            out.append((new, t, Evidence(level="sequence")))
    return out


def _stages(numbers: Sequence[Numbers]) -> list[int]:
    """The first number of each that is not the same in all."""
    column = next((column for column in zip(*numbers, strict=True) if len(set(column)) > 1), ())
    return list(column)


def _numbers(path: Path) -> Numbers:
    return tuple(int(token) for token in path if token.isdecimal())
