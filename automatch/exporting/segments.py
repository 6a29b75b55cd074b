r"""A pattern cut at its named groups, for languages that know fewer groups, or none.

h\.(?P<n>\d+)\.ln_1\.(?P<rest>.+)   ->   h\.   n: \d+   \.ln_1\.   rest: .+
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from automatch.errors import RuleError
from automatch.rules.members import alternatives, literal_text

_PIECE = re.compile(
    r"""(?P<escape>\\.)
      | (?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])
      | (?P<named>\(\?P<(?P<name>\w+)>)
      | (?P<around>\(\?(?:[:=!]|<[=!]))
      | (?P<strange>\(\?)
      | (?P<open>\()
      | (?P<close>\))
      | (?P<bar>\|)
      | (?P<other>[^()\[\\|])""",
    re.VERBOSE | re.DOTALL,
)
_REPEAT = tuple("*+?{")
_BACK = re.compile(r"\\[1-9]")


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a pattern.

    Attributes:
        regex: what it matches, without captures.
        text: the text where it matches one text only; else None.
        name: of the group that captures it; "" between groups.
        closed: the texts it can match where the group is a plain alternation of texts; else none.
    """

    regex: str
    text: str | None = None
    name: str = ""
    closed: tuple[str, ...] = ()


def literal_segment(text: str) -> Segment:
    """A stretch that matches one text."""
    return Segment(re.escape(text), text)


def segments(pattern: str) -> tuple[Segment, ...] | None:
    """The stretches of a pattern in order; those that are named are its groups.

    Returns:
        None where it cannot be cut: a named group is repeated or stands in another one, branches stand outside of
        groups, or it has back references, conditions or flags.
    """
    out: list[Segment] = []
    text, name, depth, at = "", "", 0, 0
    while at < len(pattern):
        piece = _PIECE.match(pattern, at)
        if piece is None or piece["strange"] or (piece["escape"] and _BACK.match(piece["escape"])):
            return None
        at = piece.end()
        if piece["named"] and (depth or name):
            return None
        if piece["named"]:
            out += _between(text)
            text, name = "", piece["name"]
        elif piece["close"] and not depth:
            if pattern[at : at + 1] in _REPEAT:
                return None
            out.append(Segment(text, _only_text(text), name, _closed(pattern, name)))
            text, name = "", ""
        elif piece["bar"] and not depth and not name:
            return None
        else:
            depth += bool(piece["open"] or piece["around"]) - bool(piece["close"])
            text += "(?:" if piece["open"] else piece.group()
    return (*out, *_between(text))


def joined_regex(parts: Iterable[Segment]) -> str:
    """One regex without captures that matches the stretches one after the other."""
    return "".join(f"(?:{part.regex})" if _has_branches(part.regex) else part.regex for part in parts)


def _between(text: str) -> list[Segment]:
    return [Segment(text, _only_text(text))] if text else []


def _only_text(regex: str) -> str | None:
    text, end = literal_text(regex)
    return text if end == len(regex) else None


def _closed(pattern: str, name: str) -> tuple[str, ...]:
    try:
        return alternatives(pattern, name)
    except RuleError:
        return ()


def _has_branches(regex: str) -> bool:
    depth = 0
    for piece in _PIECE.finditer(regex):
        depth += bool(piece["open"] or piece["around"]) - bool(piece["close"])
        if piece["bar"] and not depth:
            return True
    return False
