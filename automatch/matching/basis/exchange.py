"""Modules that are given each other's partners, after all has been matched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Evidence, Found, Level
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.units import module_path
from automatch.spec import Shape

Refuses = Callable[[Leaf, Leaf], bool]
"""Whether a person decided that two leaves are not put together."""


def partners(found: Iterable[Found]) -> tuple[dict[Path, Path], set[Path]]:
    """The modules of which all leaves have their partners in one module, with it; and all of which one is in doubt."""
    homes: dict[Path, set[Path]] = defaultdict(set)
    doubted: set[Path] = set()
    for s, t, evidence in found:
        module = module_path(s.path)
        homes[module].add(module_path(t.path))
        if judge(evidence).ambiguous:
            doubted.add(module)
    return {module: next(iter(own)) for module, own in homes.items() if len(own) == 1}, doubted


def common_length(paths: Sequence[Path]) -> int:
    """How many tokens all paths begin with."""
    return next((n for n, tokens in enumerate(zip(*paths, strict=False)) if len(set(tokens)) > 1), min(map(len, paths)))


def contents(leaves: Sequence[Leaf]) -> dict[Path, list[tuple[Path, Shape]]]:
    """What each module holds: the rest of each path, and its shape."""
    holds: dict[Path, list[tuple[Path, Shape]]] = defaultdict(list)
    for leaf in leaves:
        module = module_path(leaf.path)
        holds[module].append((leaf.path[len(module) :], leaf.shape))
    return holds


def replaced(
    found: list[Found], given: Mapping[Path, Path], source: Sequence[Leaf], level: Level, refuses: Refuses
) -> list[Found]:
    """The pairs with the tensors of unmatched modules of the checkpoint, which hold the same, flagged as `level` says.

    Args:
        found: pairs.
        given: module of the checkpoint -> the one that takes its place.
        source: all leaves of the checkpoint.
        level: how what is replaced is flagged.
        refuses: what a person decided stays.
    """
    if not given:
        return found
    there = {leaf.path: leaf for leaf in source}

    def instead(s: Leaf, t: Leaf, e: Evidence) -> Found:
        module = module_path(s.path)
        other = there[given[module] + s.path[len(module) :]] if module in given else s
        kept = other is s or e.level == "pin" or refuses(other, t)
        return (s, t, e) if kept else (other, t, replace(e, level=level))

    return [instead(*pair) for pair in found]


def exchanged(
    found: list[Found], target: Sequence[Leaf], groups: Iterable[Mapping[Path, Path]], level: Level, refuses: Refuses
) -> list[Found]:
    """The pairs with the modules of each group at their new partners, flagged as `level` says.

    A group changes as a whole, and not at all where a new partner lacks one of its tensors or has it in another shape,
    where another module serves it, or where a person decided otherwise of one.
    """
    groups = list(groups)
    if not groups:
        return found
    there = {leaf.path: leaf for leaf in target}
    places: dict[Path, list[int]] = {}
    for n, (s, _, _) in enumerate(found):
        places.setdefault(module_path(s.path), []).append(n)
    serving = {id(t): n for n, (_, t, _) in enumerate(found)}
    out = list(found)
    for group in groups:
        new: dict[int, Found] = {}
        for n, wanted in ((n, wanted) for module, wanted in group.items() for n in places[module]):
            s, t, e = out[n]
            other = there.get(wanted + t.path[len(module_path(t.path)) :])
            if other is t and e.level == "pin":
                continue  # stays where a person put it
            if other is None or other.shape != s.shape or e.level == "pin" or refuses(s, other):
                break
            new[n] = s, other, replace(e, level=level)
        else:
            alone = len({id(t) for _, t, _ in new.values()}) == len(new)
            if alone and all(serving.get(id(t), n) in new for n, (_, t, _) in new.items()):
                serving |= {id(t): n for n, (_, t, _) in new.items()}
                for n, pair in new.items():
                    out[n] = pair
    return out
