"""Patterns read back as the texts that they were written for: the members of a captured alternation, in their order."""

from __future__ import annotations

import re
from functools import lru_cache

from automatch.errors import RuleError

_PLAIN = re.compile(r"(?:[^\\()\[\]{}|.*+?^$]|\\[^A-Za-z0-9])*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@lru_cache(maxsize=1024)
def alternatives(pattern: str, group: str) -> tuple[str, ...]:
    r"""The texts that `(?P<group>a|b|c)` in a pattern can capture.

    Args:
        pattern: a Python regex.
        group: name of one of its groups.

    Raises:
        RuleError: there is no such group, or it is not a plain alternation of literal texts.
    """
    start = pattern.find(f"(?P<{group}>")
    if start < 0:
        raise RuleError(f"the pattern {pattern!r} has no group {group!r}")
    at = start + len(f"(?P<{group}>")
    texts = []
    while True:
        text, end = literal_text(pattern, at)
        texts.append(text)
        if pattern[end : end + 1] == ")":
            break
        if pattern[end : end + 1] != "|":
            raise RuleError(
                f"the group {group!r} of the pattern {pattern!r} is not a plain alternation like (?P<{group}>q|k|v)"
            )
        at = end + 1
    if len(set(texts)) < len(texts):
        raise RuleError(f"the group {group!r} of the pattern {pattern!r} names the same text twice")
    return tuple(texts)


def literal_text(pattern: str, at: int = 0) -> tuple[str, int]:
    """The literal text that stands at a place of a pattern, without its escapes, and where it ends."""
    plain = _PLAIN.match(pattern, at)
    end = at if plain is None else plain.end()
    return _ESCAPE.sub(r"\1", pattern[at:end]), end
