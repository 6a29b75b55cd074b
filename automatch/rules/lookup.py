"""Which pattern of an ordered list takes a key: the first that matches the whole of it.

With many patterns, asking one after the other from Python costs more than the matching
itself, so patterns are first asked together, as one alternation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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
    """

    __slots__ = ("_together", "patterns")

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(compiled(p, f"rule {i}") for i, p in enumerate(patterns, 1))
        self._together = _alternation(patterns)

    def find(self, key: str) -> tuple[int, re.Match[str]] | None:
        """Number (from 0) of the first pattern that matches all of `key`, with its match."""
        if self._together is not None:
            together = self._together.match(key)
            if together is None or together.lastindex is None:
                return None
            number = together.lastindex - 1
            match = self.patterns[number].fullmatch(key)
            return None if match is None else (number, match)
        for number, pattern in enumerate(self.patterns):
            match = pattern.fullmatch(key)
            if match is not None:
                return number, match
        return None


def _alternation(patterns: Sequence[str]) -> re.Pattern[str] | None:
    r"""One regex whose last group tells which pattern matched; None where that cannot be said.

    `(?:A)\Z()|(?:B)\Z()`: the empty group after a pattern is set only when that pattern
    matched up to the end. Names are dropped (two rules may use the same), so patterns with
    unnamed groups, back references, look-around or flags are asked one by one.
    """
    bare = [_NAMED.sub("(?:", p) for p in patterns]
    if len(patterns) < _FEW or any("(?" in p.replace("(?:", "") or _BACK_REFERENCE.search(p) for p in bare):
        return None
    try:
        together = re.compile("|".join(rf"(?:{p})\Z()" for p in bare))
    except (re.error, RecursionError, OverflowError):
        return None
    return together if together.groups == len(patterns) else None
