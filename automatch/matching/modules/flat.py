"""A network written down as one list of layers: `module_list.0.conv_0`, `module_list.0.batch_norm_0`, ...

Such a list has no blocks and no names, but the order in which the network computes. Where nearly all modules of the
other side have, in the order of the file, the tensors of the list's modules, each stands at its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.names import Names
from automatch.matching.basis.units import role_of
from automatch.spec import Shape

FEWEST, VARIETY = 16, 8
"""Fewer modules, or fewer different ones, are in one order by chance."""

NEARLY = 0.9
"""The share of the modules that must be alike, place by place; a head for other classes is not."""

TOGETHER = 3
"""More modules in one item are a block."""

Module = dict[str, Leaf]


def at_one_place(source: Sequence[Leaf], target: Sequence[Leaf], names: Names) -> list[Found]:
    """The pairs, module by module as they stand, where just one side is such a list; else none.

    None either where names contradict the places: the list's `up_proj` stands where the `gate_proj` is.
    """
    mine, theirs = _modules(source), _modules(target)
    if len(mine) != len(theirs) or len(mine) < FEWEST or _is_flat(mine) == _is_flat(theirs):
        return []
    kinds = [_kind(module) for module in mine.values()], [_kind(module) for module in theirs.values()]
    alike = [a == b for a, b in zip(*kinds, strict=True)]
    if sum(alike) < NEARLY * len(alike) or len(set(kinds[0])) < VARIETY:
        return []
    words = [[names.path_words(path[-1:]) for path in side] for side in (mine, theirs)]
    if any(names.contradiction(a, b) for a, b, same in zip(*words, alike, strict=True) if same):
        return []
    return [
        (own[role], other[role], Evidence(level="placed"))
        for own, other in zip(mine.values(), theirs.values(), strict=True)
        for role in _common(own, other)
    ]


def _common(own: Module, other: Module) -> list[str]:
    """What two modules both have; nothing where it differs in shape."""
    common = [role for role in own if role in other]
    return common if all(_form(own[role]) == _form(other[role]) for role in common) else []


def _form(leaf: Leaf) -> tuple[Shape, bool]:
    return leaf.shape, leaf.integer


def _modules(leaves: Sequence[Leaf]) -> dict[Path, Module]:
    out: dict[Path, Module] = {}
    for leaf in leaves:
        length, role = role_of(leaf.path)
        out.setdefault(leaf.path[:length], {})[role] = leaf
    return out


def _kind(module: Module) -> frozenset[tuple[str, Shape]]:
    """What tensors a module has; counters say nothing."""
    return frozenset((role, leaf.shape) for role, leaf in module.items() if not leaf.integer)


def _is_flat(modules: dict[Path, Module]) -> bool:
    """Do nearly all modules stand in the items of one list, few together?"""
    items: Counter[Path] = Counter()
    lists: Counter[Path] = Counter()
    for path in modules:
        at = next((i for i, token in enumerate(path) if token.isdecimal()), None)
        if at is not None and len(path) - at <= 2 and not any(token.isdecimal() for token in path[at + 1 :]):
            items[path[: at + 1]] += 1
            lists[path[:at]] += 1
    return max(lists.values(), default=0) >= NEARLY * len(modules) and max(items.values()) <= TOGETHER
