"""Modules that are given each other's partners, after all has been matched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from automatch.matching.evidence import Found
from automatch.matching.leaves import Leaf
from automatch.matching.units import module_path

Path = tuple[str, ...]
Refuses = Callable[[Leaf, Leaf], bool]
"""Whether a person decided that two leaves are not put together."""


def exchanged(
    found: list[Found], target: Sequence[Leaf], groups: Iterable[Mapping[Path, Path]], level: str, refuses: Refuses
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
