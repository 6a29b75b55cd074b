"""What is outside the part of a file that holds all else, where that part has one that would do.

A vision tower in the file of a whole model ends in a norm, as the model itself does: the model's is nearer by its name,
and all else of the tower says which one is meant. Flagged: the name may have been right.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Found
from automatch.matching.basis.exchange import Refuses, contents, replaced
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.units import module_path

SHARE = 0.8
"""The part of a file from which so much of what is sure comes is the one that is meant."""

FEWEST = 8
"""Fewer sure pairs tell of no part."""


def from_their_part(found: list[Found], source: Sequence[Leaf], refuses: Refuses) -> list[Found]:
    """The same pairs, with the one module inside the part instead of the doubted one outside it, flagged."""
    parts: dict[Path, Counter[Path]] = defaultdict(Counter)
    doubted: dict[Path, Path] = {}
    for s, t, evidence in found:
        if judge(evidence).ambiguous:
            doubted[module_path(s.path)] = t.path[:1]
        else:
            for around in ((), t.path[:1]):
                parts[around][s.path[:1]] += 1
    if not doubted:
        return found
    used = {module_path(s.path) for s, _, _ in found}
    own = {module: tuple(sorted(held)) for module, held in contents(source).items()}
    inside: dict[object, list[Path]] = defaultdict(list)
    for module, held in own.items():
        if module not in used:
            inside[module[:1], held].append(module)
    given: dict[Path, Path] = {}
    for module, around in doubted.items():
        part = _meant(parts[around]) or _meant(parts[()])
        if part is None or module[:1] == part or parts[()][module[:1]]:
            continue
        alike = inside[part, own.get(module)]
        if len(alike) == 1 and alike[0] not in given.values():
            given[module] = alike[0]
    return replaced(found, given, source, "inside", refuses)


def _meant(parts: Counter[Path]) -> Path | None:
    """The part of a file that nearly all comes from that is sure."""
    ((part, most),) = parts.most_common(1) or (((), 0),)
    return part if most >= max(FEWEST, SHARE * parts.total()) else None
