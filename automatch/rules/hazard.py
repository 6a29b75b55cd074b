r"""Rules that people write: which of them could take forever on some key.

Python's regexes cannot be stopped, so what may run away is refused when it is read. The test
errs on the safe side; what induction emits passes it (and a stricter one, `linear`).

A repetition is harmless where the text behind it ends it, as the dot ends the `\w+` of `\w+\.`: it
can give nothing back. Of all others (`\w+` before a letter, `.+`, `x{1,9}` before an `x`) a few
are let through, since each multiplies the time by the length of the key. What is optional or has
branches multiplies it by the number of its ways.
"""

from __future__ import annotations

import re

from automatch.rules.linear import linear

_PIECE = re.compile(
    r"""(?P<escape>\\.)
      | (?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])
      | (?P<open>\((?:\?(?:P<\w+>|[:=!]|<[=!]|>|[aiLmsu-]+:?))?)
      | (?P<close>\))
      | (?P<bar>\|)
      | (?P<other>[^()\[\\|])""",
    re.VERBOSE | re.DOTALL,
)
_REPEAT = re.compile(r"(?P<times>[*+?]|\{(?:\d+(?:,\d*)?|,\d*)\})[?+]?")
_EXACT = re.compile(r"\{(\d+)(?:,\1)?\}")
_ONCE = ("?", "{0,1}", "{,1}")
_VERBOSE = re.compile(r"\(\?[aiLmsu]*x")
_PLAIN = re.compile(r"(?:\\\W|[\w-])+")
_SEGMENT = re.compile(r"\[\^\\?(\W)\][+*]\\\1|\[\^([\w/:-])\][+*]\2")
_STOP = re.compile(r"\)*(?P<text>\\\W|[^\\()\[\]{}|.*+?^$])(?![*?]|\{0*,|\{0+\})", re.DOTALL)
_MOST_WILD, _MOST_REPEATS, _MOST_WAYS = 3, 10, 4096


def hazard(pattern: str) -> str:
    """Why a pattern may take forever on some key, as part of a sentence; "" where it cannot.

    Args:
        pattern: a valid Python regex.
    """
    if linear(pattern):
        return ""
    if _VERBOSE.search(pattern):
        return "it is verbose, (?x), which is not looked through"
    starts, bars = [0], [0]
    wild = repeats = at = 0
    ways = 1
    while at < len(pattern):
        piece = _PIECE.match(pattern, at)
        if piece is None:
            return "it cannot be looked through"
        at = piece.end()
        if piece["open"]:
            starts.append(at)
            bars.append(0)
            continue
        bars[-1] += piece["bar"] is not None
        body = ""
        if piece["close"] and len(starts) > 1:
            body = pattern[starts.pop() : piece.start()]
            ways *= bars.pop() + 1
        repeat = _REPEAT.match(pattern, at)
        if repeat is not None:
            at = repeat.end()
            times = repeat["times"]
            if piece["close"] and not _harmless_group(body, times):
                return f"it repeats a group, ({body}){times}"
            if times in _ONCE:
                ways *= 2
            elif _EXACT.fullmatch(times) is None:
                repeats += 1
                wild += bool(piece["close"]) or not _ends(piece.group(), pattern, at)
        if wild > _MOST_WILD or repeats > _MOST_REPEATS:
            return (
                f"it has more than {_MOST_REPEATS} repetitions, or more than {_MOST_WILD} like .+ or \\w+ that the "
                f"text behind them does not end"
            )
        if ways * (bars[0] + 1) > _MOST_WAYS:
            return f"its branches and optional parts make more than {_MOST_WAYS} ways through it"
    return ""


def _harmless_group(body: str, times: str) -> bool:
    r"""Whether a group may be repeated: `(...)?`, segments like `(?:[^.]+\.)*`, and a plain text so many times."""
    if times in _ONCE or (_SEGMENT.fullmatch(body) and not times.startswith("{")):
        return True
    return _EXACT.fullmatch(times) is not None and _PLAIN.fullmatch(body) is not None


def _ends(atom: str, pattern: str, at: int) -> bool:
    """Whether the text behind a repeated atom must be there and is nothing that the atom could have taken."""
    stop = _STOP.match(pattern, at)
    if stop is None:
        return False
    return re.fullmatch(atom, stop["text"][-1], re.IGNORECASE | re.DOTALL) is None
