"""Modules that are left over between the same neighbours on both sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.exchange import Refuses
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.names import Names
from automatch.matching.basis.units import module_path, role_of

Held = Mapping[str, Leaf]
"""The tensors of a module by their roles."""


def between_the_same(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names, refuses: Refuses
) -> list[Found]:
    """Further pairs: a whole module left over on each side, whose neighbours before and behind it belong together.

    One tensor alone is too little: what is missing and what is left over may well stand side by side. So is one
    neighbour: at either end, a head stands where another model has another head.
    """
    partners = {module_path(s.path): module_path(t.path) for s, t, _ in found}
    used, served = {id(s) for s, _, _ in found}, {id(t) for _, t, _ in found}
    mine, theirs = _gaps(source, used), _gaps(target, served)
    out: list[Found] = []
    for (before, behind), one in mine.items():
        if before not in partners or behind not in partners:
            continue
        other = theirs.get((partners[before], partners[behind]))
        if one is None or other is None or not _alike(one[1], other[1]):
            continue
        against = names.contradiction(names.path_words(one[0][-1:]), names.path_words(other[0][-1:]))
        pairs = [(s, other[1][role]) for role, s in one[1].items()]
        if not against and not any(refuses(s, t) for s, t in pairs):
            out += [(s, t, Evidence(level="gap")) for s, t in pairs]
    return out


def _alike(one: Held, other: Held) -> bool:
    shapes = [{role: (leaf.shape, leaf.raw) for role, leaf in held.items()} for held in (one, other)]
    return shapes[0] == shapes[1]


def _gaps(leaves: Sequence[Leaf], matched: set[int]) -> dict[tuple[Path, Path], tuple[Path, Held] | None]:
    """What is left over between two neighbouring modules that are not: one module, or None for what is more."""
    modules: dict[Path, dict[str, Leaf]] = defaultdict(dict)
    for leaf in sorted(leaves, key=lambda leaf: leaf.place):
        modules[module_path(leaf.path)][role_of(leaf.path)[1]] = leaf
    out: dict[tuple[Path, Path], tuple[Path, Held] | None] = {}
    last: Path = ()
    left: list[tuple[Path, Held]] = []
    for path, held in [*modules.items(), ((), {})]:
        if held and not any(id(leaf) in matched for leaf in held.values()):
            left.append((path, held))
            continue
        if left:
            whole = len(left) == 1 and sum(not leaf.integer for leaf in left[0][1].values()) > 1
            out[last, path] = left[0] if whole else None
        last, left = path, []
    return out
