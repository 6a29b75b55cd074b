"""Which pattern of an ordered list takes a key: the first that matches the whole of it.

With many patterns, asking one after the other from Python costs more than the matching
itself, so patterns are first asked together, as one alternation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from automatch.errors import RuleError

_BACK_REFERENCE = re.compile(r"\\[1-9]")
_NAMED = re.compile(r"\(\?P<[A-Za-z_]\w*>")
_FEW = 4


def compiled(pattern: str, where: str) -> re.Pattern[str]:
    """The pattern of one rule, ready to use.

    Args:
        pattern: a Python regex.
        where: how to name the rule in an error, e.g. "rule 3".

    Raises:
        RuleError: it is not a regex.
    """
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise RuleError(f"{where}: the pattern {pattern!r} is not a Python regex: {error}") from None


class Lookup:
    """The patterns of a rule list, compiled once.

    Attributes:
        patterns: in the order of the rules.
        groups: for each pattern, the number that each of its named groups has in the matches that `find` gives.
    """

    __slots__ = ("_ends", "_together", "groups", "patterns")

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(compiled(p, f"rule {i}") for i, p in enumerate(patterns, 1))
        self.groups: tuple[Mapping[str, int], ...] = tuple(pattern.groupindex for pattern in self.patterns)
        self._together = _alternation(self.patterns)
        self._ends: dict[int, int] = {}  # number of the empty group behind a pattern -> number of the pattern
        if self._together is not None:
            before, groups = 0, []
            for number, pattern in enumerate(self.patterns):
                groups.append({name: before + own for name, own in pattern.groupindex.items()})
                before += pattern.groups + 1
                self._ends[before] = number
            self.groups = tuple(groups)

    def find(self, key: str) -> tuple[int, re.Match[str]] | None:
        """Number (from 0) of the first pattern that matches all of `key`, with a match that has its `groups`."""
        if self._together is not None:
            match = self._together.match(key)
            return None if match is None else (self._ends[match.lastindex or 0], match)
        for number, pattern in enumerate(self.patterns):
            match = pattern.fullmatch(key)
            if match is not None:
                return number, match
        return None


def _all_named(pattern: re.Pattern[str]) -> bool:
    """Has a pattern named groups alone, and nothing else that looks like one, as behind an escaped bracket?"""
    return pattern.groups == len(pattern.groupindex) == len(_NAMED.findall(pattern.pattern))


def _alternation(patterns: Sequence[re.Pattern[str]]) -> re.Pattern[str] | None:
    r"""One regex whose last group tells which pattern matched; None where that cannot be said.

    `(?:A)\Z()|(?:B)\Z()`: the empty group after a pattern is set only when that pattern
    matched up to the end. Names are dropped (two rules may use the same), so patterns with
    unnamed groups, back references, look-around or flags are asked one by one.
    """
    if len(patterns) < _FEW or not all(map(_all_named, patterns)):
        return None
    bare = [_NAMED.sub("(", pattern.pattern) for pattern in patterns]
    if any("(?" in p.replace("(?:", "") or _BACK_REFERENCE.search(p) for p in bare):
        return None
    try:
        together = re.compile("|".join(rf"(?:{p})\Z()" for p in bare))
    except (re.error, RecursionError, OverflowError):
        return None
    return together if together.groups == sum(pattern.groups + 1 for pattern in patterns) else None
