"""What is left of modules that lost tensors on one of the two sides: biases without their weights."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from automatch.matching.evidence import Evidence, Found
from automatch.matching.exchange import Refuses
from automatch.matching.leaves import Leaf, template
from automatch.matching.names import Names
from automatch.matching.units import module_path, role_of
from automatch.spec import Shape

Path = tuple[str, ...]
Held = Mapping[str, Leaf]
"""The tensors of a module by their roles."""

Key = tuple[tuple[str, Shape], ...]

VARIETY = 3
"""Fewer different shapes make no sequence that could agree or not."""


def of_damaged_modules(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names, refuses: Refuses
) -> list[Found]:
    """Further pairs: modules left over on both sides of which one lacks tensors that the other has.

    A weight that is missing does not make its bias another module's. What the two have in common must fit, and on both
    sides there must be as many left-over modules that have it; several are put together in their order. They are
    flagged, but for whole sequences of shapes of modules that are called alike on either side.
    """
    used, served = {id(s) for s, _, _ in found}, {id(t) for _, t, _ in found}
    mine, theirs = _left(source, used), _left(target, served)
    if not mine or not theirs:
        return []
    homes = _homes(found)
    chosen: list[tuple[Path, Path, Key]] = []
    for key in sorted({_key(held) for side in (mine, theirs) for held in side.values()}):
        roles = [role for role, _ in key]
        sides = [[path for path, held in side.items() if _has(held, key)] for side in (mine, theirs)]
        whole = [[path for path in paths if len(side[path]) == len(roles)] for paths, side in zip(sides, (mine, theirs), strict=True)]
        if len(sides[0]) != len(sides[1]) or (whole[0] and whole[1]) or not (whole[0] or whole[1]):
            continue
        chosen += [(a, b, key) for a, b in zip(*sides, strict=True)]
    out: list[Found] = []
    sure = _in_sequence(chosen)
    for a, b, key in chosen:
        if homes.get(_home(a), _home(b)) != _home(b) or names.contradiction(names.path_words(a[-1:]), names.path_words(b[-1:])):
            continue
        pairs = [(mine[a][role], theirs[b][role]) for role, _ in key]
        if not any(refuses(s, t) for s, t in pairs):
            out += [(s, t, Evidence(level="sequence" if sure else "remains")) for s, t in pairs]
    return out


def _in_sequence(chosen: Sequence[tuple[Path, Path, Key]]) -> bool:
    return False


def _left(leaves: Iterable[Leaf], matched: set[int]) -> dict[Path, dict[str, Leaf]]:
    """The modules of which nothing is matched, in their order."""
    modules: dict[Path, dict[str, Leaf]] = defaultdict(dict)
    touched: set[Path] = set()
    for leaf in sorted(leaves, key=lambda leaf: leaf.place):
        length, role = role_of(leaf.path)
        modules[leaf.path[:length]][role] = leaf
        if id(leaf) in matched:
            touched.add(leaf.path[:length])
    return {path: held for path, held in modules.items() if path not in touched and not _is_bare(held)}


def _is_bare(held: Held) -> bool:
    return "*" in held or all(leaf.integer or leaf.ops for leaf in held.values())


def _key(held: Held) -> Key:
    return tuple(sorted((role, leaf.shape) for role, leaf in held.items() if not leaf.integer))


def _has(held: Held, key: Key) -> bool:
    return all(role in held and held[role].shape == shape and held[role].raw == shape for role, shape in key)


def _home(path: Path) -> Path:
    """The innermost numbered container around a module."""
    for depth in range(len(path) - 1, 0, -1):
        if path[depth - 1].isdecimal():
            return path[:depth]
    return ()


def _homes(found: Sequence[Found]) -> dict[Path, Path]:
    """The partners of numbered containers, as most of what is in them says."""
    links: dict[Path, Counter[Path]] = defaultdict(Counter)
    for s, t, _ in found:
        links[_home(module_path(s.path))][_home(module_path(t.path))] += 1
    return {a: max(count, key=count.__getitem__) for a, count in links.items() if a}


def of_one_shape(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names, refuses: Refuses
) -> list[Found]:
    """Further pairs: matrices left over on both sides that are the only ones of their shape; always flagged."""
    used, served = {id(s) for s, _, _ in found}, {id(t) for _, t, _ in found}
    counts = [Counter(leaf.shape for leaf in side) for side in (source, target)]
    alone = {
        leaf.shape: leaf
        for leaf in source
        if id(leaf) not in used and counts[0][leaf.shape] == counts[1][leaf.shape] == 1 and len(set(leaf.shape)) > 1
    }
    return [
        (s, t, Evidence(level="only"))
        for t in target
        if (s := alone.get(t.shape)) is not None and id(t) not in served and s.whole == t.whole and not refuses(s, t)
        and s.raw == t.raw
        and not names.contradiction(names.path_words(module_path(s.path)), names.path_words(module_path(t.path)))
    ]
