r"""Rules that people write: which of them could take forever on some key.

Python's regexes cannot be stopped, so what may run away is refused when it is read. The test
errs on the safe side; what induction emits passes it (and a stricter one, `linear`).
"""

from __future__ import annotations

import re

from automatch.rules.linear import linear

_PIECE = re.compile(
    r"""(?P<escape>\\.)
      | (?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])
      | (?P<open>\((?:\?(?:P<\w+>|[:=!]|<[=!]|>|[aiLmsux-]+:?))?)
      | (?P<close>\))
      | (?P<other>[^()\[\\])""",
    re.VERBOSE | re.DOTALL,
)
_REPEAT = re.compile(r"[*+]|\{\d*,\}")
_SEGMENT = re.compile(r"\[\^\\?(\W)\][+*]\\\1|\[\^([\w/:-])\][+*]\2")
_MOST_WILD, _MOST_REPEATS = 3, 10


def hazard(pattern: str) -> str:
    """Why a pattern may take forever on some key, as part of a sentence; "" where it cannot.

    Args:
        pattern: a valid Python regex.
    """
    if linear(pattern):
        return ""
    starts: list[int] = []
    wild = repeats = at = 0
    while at < len(pattern):
        piece = _PIECE.match(pattern, at)
        if piece is None:
            return ""
        at = piece.end()
        body = ""
        if piece["open"]:
            starts.append(at)
            continue
        if piece["close"]:
            body = pattern[starts.pop() if starts else 0 : piece.start()]
        repeat = _REPEAT.match(pattern, at)
        if repeat is None:
            continue
        at = repeat.end()
        repeats += 1
        if piece["close"] and not _SEGMENT.fullmatch(body):
            return f"it repeats a group, ({body}){repeat.group()}"
        wild += _crosses_dots(piece.group())
        if wild > _MOST_WILD or repeats > _MOST_REPEATS:
            return f"it has more than {_MOST_WILD} wildcards like .+ or more than {_MOST_REPEATS} repetitions"
    return ""


def _crosses_dots(atom: str) -> bool:
    """Whether a repeated atom can run over the dots of a key."""
    if atom.startswith("[^"):
        return "." not in atom
    return atom in (".", r"\S", r"\D", r"\W") or (atom.startswith("[") and ("." in atom or r"\S" in atom))
