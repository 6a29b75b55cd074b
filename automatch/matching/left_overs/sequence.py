"""Modules of one kind keep their order: what a stage lends to the next must not overtake another.

A block's pieces may stand in one stage on one side and in the next on the other (a downsampling closes a stage here and
opens one there). Stage by stage, each then finds a partner of its shape, and two of them change places. The numbers of
all modules of the kind show it: they run forwards but for these, and in order all shapes fit as well.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf, Path, template

Numbers = tuple[int, ...]
_FEWEST = 3


Kind = tuple[Path, Path]
"""The paths of modules on the two sides, without their numbers."""

Ways = set[bool]

Modules = dict[tuple[Path, Path], list[Found]]
"""The paths of two modules, and their pairs."""


def in_sequence(found: Sequence[Found]) -> list[Found]:
    """The pairs, with those modules of one kind put in order that overtake each other, where all shapes allow it.

    In order is also what runs as all else of two lists does: where the stages of one run backwards, so does the last
    module of each.
    """
    kinds: dict[Kind, Modules] = defaultdict(dict)
    for pair in found:
        one, other = pair[0].path[:-1], pair[1].path[:-1]
        kinds[template(one), template(other)].setdefault((one, other), []).append(pair)
    moved: dict[int, Found] = {}
    inside = Counter(s.path[:-2] for s, _, _ in found), Counter(t.path[:-2] for _, t, _ in found)
    against = _against_the_rest(kinds)
    for kind, modules in kinds.items():
        if kind in against:
            moved.update((id(pair[1]), pair) for pair in _in_order(modules, backwards=True))
        elif len(modules) >= _FEWEST and _stand_alone(modules, inside):
            moved.update((id(pair[1]), pair) for pair in _reordered(modules))
    return [moved.get(id(pair[1]), pair) for pair in found] if moved else list(found)


def _against_the_rest(kinds: Mapping[Kind, Modules]) -> set[Kind]:
    """The kinds of modules that run forwards through two lists through which all other kinds run backwards.

    Those of which each item has one module, so that it might have any other's.
    """
    ways: dict[Kind, dict[Kind, Ways]] = defaultdict(dict)
    single: list[tuple[Kind, Kind]] = []
    for kind, modules in kinds.items():
        spread = _spread(modules) if len(modules) > 1 else None
        if spread:
            lists, items = spread
            ways[lists][kind] = _ways(items)
            if all(len({*numbers}) == len(modules) for numbers in zip(*items, strict=True)):
                single.append((lists, kind))
    backwards = {lists: sum(way == {False} for way in own.values()) for lists, own in ways.items()}
    return {
        kind for lists, kind in single if ways[lists][kind] == {True} and backwards[lists] == len(ways[lists]) - 1 > 0
    }


def _spread(modules: Modules) -> tuple[Kind, list[tuple[int, int]]] | None:
    """The two lists that modules of one kind are spread over, and the items' numbers of each pair."""
    columns: list[list[int]] = []
    tops: list[Path] = []
    for side in (0, 1):
        paths = [pair[side] for pair in modules]
        at = next((n for n, tokens in enumerate(zip(*paths, strict=False)) if len({*tokens}) > 1), None)
        if at is None or not all(path[at].isdecimal() for path in paths):
            return None
        columns.append([int(path[at]) for path in paths])
        tops.append(paths[0][:at])
    return (tops[0], tops[1]), list(zip(*columns, strict=True))


def _ways(items: Sequence[tuple[int, int]]) -> Ways:
    """Do the partners of a list's items run forwards (True) as these do, or backwards, or now so, now otherwise?"""
    went: dict[int, list[int]] = defaultdict(list)
    for mine, other in sorted(items):
        went[mine].append(other)
    out: Ways = set()
    for one, after in pairwise(went.values()):
        out |= {True} if max(one) < min(after) else {False} if min(one) > max(after) else {True, False}
    return out


def _stand_alone(modules: Modules, inside: tuple[Counter[Path], Counter[Path]]) -> bool:
    """Has each of the modules its container to itself? One that has company stays with it."""
    return all(
        path[:-1] and there[path[:-1]] == len(pairs)
        for both, pairs in modules.items()
        for path, there in zip(both, inside, strict=True)
    )


def _reordered(modules: Modules) -> list[Found]:
    """The pairs of the modules that change their partner; none where they are in order or cannot be."""
    pairs = sorted(modules, key=lambda pair: _numbers(pair[1]))
    mine = [_numbers(one) for one, _ in pairs]
    stages = _stages(mine)
    if stages in (sorted(stages), sorted(stages, reverse=True)) or len(set(mine)) < len(mine):
        return []  # one after the other, or a list that runs backwards
    if any(judge(evidence).ambiguous for own in modules.values() for _, _, evidence in own):
        return []  # what is in doubt is no sequence
    return _in_order(modules)


def _in_order(modules: Modules, backwards: bool = False) -> list[Found]:
    """The pairs of the modules that change their partner when both sides are in order; none if one does not fit."""
    pairs = sorted(modules, key=lambda pair: _numbers(pair[1]))
    ordered = sorted((_numbers(one) for one, _ in pairs), reverse=backwards)
    by_number = {_numbers(one): modules[one, other] for one, other in pairs}
    out: list[Found] = []
    for (one, other), numbers in zip(pairs, ordered, strict=True):
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


def in_one_list(found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf]) -> list[Found]:
    """The pairs, with the items of a list in the order of their partners, of which one stands before a list of others.

    `conv_23, conv_3.0, conv_3.1` are `stages.0.0, 0.1, 0.2`: list went to list, the one before them last.
    Only items that are alike, and where the one is called like the list but for its number: a `tail` that is declared
    before the `body` is no part of it. Some of their tensors may be lost.
    """
    items: dict[Path, dict[str, list[Found]]] = defaultdict(lambda: defaultdict(list))
    for pair in found:
        path = pair[1].path
        for depth in range(1, len(path) - 1):
            if path[depth].isdecimal():
                items[path[:depth]][path[depth]].append(pair)
    out = list(found)
    for home, by_number in items.items():
        numbers = sorted(by_number, key=int)
        row = [by_number[n] for n in numbers]
        roots = _turned_round(row) if len(row) >= _FEWEST else []
        if roots:
            whole = [[leaf for leaf in target if leaf.path[: len(home) + 1] == (*home, number)] for number in numbers]
            instead = _served_by(roots, row, whole, source, len(home) + 1)
            gone = {id(t) for item in row for _, t, _ in item}
            kept = [pair for pair in out if id(pair[1]) not in gone]
            used = {id(s) for s, _, _ in kept}
            instead = [pair for pair in instead if id(pair[0]) not in used]
            if len(instead) >= sum(map(len, row)):  # all that was found is found in this order as well
                out = kept + instead
    return out


def _turned_round(row: list[list[Found]]) -> list[Path]:
    """The partners of a list's items in their order; [] where they are in order, or another than the first is last."""
    roots = [_root([s.path for s, _, _ in item]) for item in row]
    if len(set(roots)) < len(row) or not all(roots):
        return []
    places = [min(s.place for s, _, _ in item) for item in row]
    first_is_last = [places[-1], *places[:-1]] == sorted(places)
    certain = all(e.level == "unit" for item in row for _, _, e in item)
    return [roots[-1], *roots[:-1]] if first_is_last and certain and _are_siblings(roots[-1], roots[:-1]) else []


def _served_by(
    roots: Sequence[Path], row: list[list[Found]], whole: list[list[Leaf]], source: Sequence[Leaf], depth: int
) -> list[Found]:
    """The pairs of a list's items with these partners, by the names of the pairs found; [] where those differ."""
    called: dict[Path, tuple[Path, tuple[str, ...]]] = {}
    for item in row:
        start = len(_root([s.path for s, _, _ in item]))
        for s, t, _ in item:
            if called.setdefault(t.path[depth:], (s.path[start:], s.ops)) != (s.path[start:], s.ops):
                return []
    mine = {leaf.path: leaf for leaf in source}
    out: list[Found] = []
    for root, item_leaves in zip(roots, whole, strict=True):
        for t in item_leaves:
            name, ops = called.get(t.path[depth:], ((), ()))
            held = mine.get((*root, *name)) if name else None
            if held is not None and held.shape == t.shape and held.ops == ops:
                out.append((held, t, Evidence(level="sequence")))
    return out


def _are_siblings(one: Path, items: Sequence[Path]) -> bool:
    """Is a block called like the list that the others are items of, but for a number?"""
    depth = len(one) - 1
    own = one[-1].rstrip("0123456789").rstrip("s")  # nothing of an item of the list itself
    called = {root[depth].rstrip("0123456789").rstrip("s") if len(root) > len(one) else "" for root in items}
    return called == {own} != {""} and one[-1][-1].isdecimal() and {r[:depth] for r in items} == {one[:-1]}


def _root(paths: Sequence[Path]) -> Path:
    """The path that several have in common; () for one alone."""
    if len(paths) < 2:
        return ()
    first, last = min(paths), max(paths)
    depth = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:depth]
