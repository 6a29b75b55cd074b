"""Pairs that are sure, though another one in doubt would do better if the two changed partners.

Blocks are put together from the largest down, and what a part took early is not there when a wider scope looks. Where
`own_norm` got `shared.bn`, and `shared_norm` what was left, the names of all four say that the first is no surer than
the second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Evidence, Found, Level
from automatch.matching.basis.leaves import Path
from automatch.matching.basis.names import Names, Word
from automatch.matching.basis.units import block_of, module_path

BETTER = 0.5
"""By so much must the words that tell the four apart be more alike once they are exchanged."""

NAMED = 0.5
"""Names that are as alike as this are those of one module."""

DECIDING = 0.3
"""From this margin on names alone decide."""

MANY = 24
"""More modules of one block that hold the same are not compared."""


def doubt_exchangeable(found: list[Found], names: Names) -> list[Found]:
    """The same pairs, those flagged that names would rather give to the partner of a flagged one in the block."""
    modules: dict[tuple[Path, Path], list[Found]] = defaultdict(list)
    for pair in found:
        modules[module_path(pair[0].path), module_path(pair[1].path)].append(pair)
    groups: dict[tuple[Path, object], list[tuple[Path, Path]]] = defaultdict(list)
    for (s, t), pairs in modules.items():
        held = frozenset((leaf.path[-1], leaf.shape) for _, leaf, _ in pairs if not leaf.integer)
        groups[block_of(t[:-1]), held].append((s, t))
    doubted: dict[tuple[Path, Path], Level] = {}
    for group in groups.values():
        loose = [both for both in group if any(judge(e).ambiguous for _, _, e in modules[both])]
        sure = [both for both in group if both not in loose and all(e.level == "unit" for _, _, e in modules[both])]
        if not loose or not sure or len(group) > MANY:
            continue
        words = {path: names.path_words(path) for both in group for path in both}
        for s, t in sure:
            for other, theirs in loose:
                own, others = _apart(words[s], words[other])
                mine, theirs_alone = _apart(words[t], words[theirs])
                now = names.compare(own, mine, {}) + names.compare(others, theirs_alone, {})
                then = names.compare(own, theirs_alone, {}) + names.compare(others, mine, {})
                if then > now + BETTER:
                    doubted[s, t] = "exchangeable"
                elif (s[:-1] == other[:-1] and all(_was_left(e) for _, _, e in modules[s, t])) or (
                    t[:-1] == theirs[:-1] and then >= now and all(_is_weak(e) for _, _, e in modules[s, t])
                ):
                    doubted[s, t] = "leavings"
    if not doubted:
        return found
    levels = [doubted.get((module_path(s.path), module_path(t.path))) for s, t, _ in found]
    return [(s, t, replace(e, level=level) if level else e) for (s, t, e), level in zip(found, levels, strict=True)]


def _was_left(e: Evidence) -> bool:
    """Is it but the last of several of one list, as the others had been given away?"""
    return e.rivals == 0 and e.name < NAMED


def _is_weak(e: Evidence) -> bool:
    """Was it chosen from several by words that hardly tell them apart?"""
    return e.rivals > 0 and e.name_margin * e.trust_names < DECIDING


def _apart(one: Sequence[Word], other: Sequence[Word]) -> tuple[list[Word], list[Word]]:
    """The words of two names that only one of them has."""
    return [word for word in one if word not in other], [word for word in other if word not in one]
