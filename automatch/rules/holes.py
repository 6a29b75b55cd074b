r"""What a rule lets stand where it carries text over: from the exact texts to anything.

Every option is linear to match: literal tokens, `\d+`, alternations of literals, `[^.]+`
between literals, and at most one `.+` in a pattern (a second one only at its end, where it
cannot fail).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from automatch.rules.tokens import Tokens, common_ends, is_number, is_word

_MEMBERS = 16
_TOKEN, _LEAF, _MEMBER, _NAME, _REST, _SOMEWHERE = 0.08, 0.2, 0.35, 0.75, 1.0, 1.3
"""What it costs to read a literal token, one of several leaves, one of several other words, a name, the rest
of a key, and something somewhere in it."""
_PREFIXED, _NOWHERE = 0.5, 1.0
_HELD = 0.6
"""What it costs to list a number that might have been any: such a rule serves no deeper model."""


@dataclass(frozen=True, slots=True)
class Hole:
    """One way to describe the texts of a run.

    Attributes:
        before: literal text that all of them begin with, to stand outside the group.
        inside: pattern of the rest; "" where nothing is left.
        after: literal text that all of them end with, to stand outside the group.
        cost: how long it reads.
    """

    before: str
    inside: str
    after: str
    cost: float


def literal(text: str) -> str:
    """A text as a pattern for exactly this text, escaped as little as possible."""
    return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text).replace("\n", r"\n").replace("\0", r"\0")


def options(
    contents: Sequence[Tokens], first: bool, last: bool, prefix: bool = False, anywhere: bool = True
) -> list[Hole]:
    """Ways to describe these texts, from the most exact to the most general.

    Args:
        contents: tokens of every text, `#` for numbers; no two alike.
        first: the run begins the key, so nothing needs to hold it on the left.
        last: the run ends the key.
        prefix: all that the rule does is to change what stands before the run; then the run reads
            best as "the rest", whatever it is.
        anywhere: the rule replaces a word after the run, by which it can be found anywhere; where
            it replaces but a dot, what stands before the dot has to be said.
    """
    before, after = _common(contents)
    cut = [content[len(before) : len(content) - len(after)] for content in contents]
    outside = ("".join(before), "".join(after))
    if all(not content for content in cut):
        return [Hole(outside[0], "", outside[1], _TOKEN * (len(before) + len(after)))]
    if len(cut) == 1 and cut[0] == ("#",):
        return [Hole(*_around(outside, r"\d+"), 0.3)]
    found: list[Hole] = []
    for make in (_exact, _product, _segments, _edges2, _edges, _held, _ends, _head, _tail, _anything):
        made = make(cut, first and not before, last and not after)
        if made is not None:
            inside, cost = made
            cost += _TOKEN * (len(before) + len(after)) - (_PREFIXED if prefix and inside == ".+" else 0.0)
            cost += 0.0 if anywhere or ".+" not in inside else _NOWHERE
            same = next((i for i, other in enumerate(found) if other.inside == inside), None)
            if same is None:
                found.append(Hole(*_around(outside, inside), cost))
            elif cost < found[same].cost:
                found[same] = Hole(*_around(outside, inside), cost)
    return found


def _around(outside: tuple[str, str], inside: str) -> tuple[str, str, str]:
    return outside[0], inside, outside[1]


def _common(contents: Sequence[Tokens]) -> tuple[Tokens, Tokens]:
    """Separators that all texts begin with, and end with; whole texts where all are the same without numbers."""
    if len(contents) == 1 and "#" not in contents[0]:
        return contents[0], ()
    if len(contents) == 1 and contents[0].count("#") == 1:
        at = contents[0].index("#")
        return contents[0][:at], contents[0][at + 1 :]
    before: list[str] = []
    after: list[str] = []
    short = min(len(content) for content in contents) - 1
    while len(before) < short and _separator(contents[0][len(before)]) and _same(contents, len(before)):
        before.append(contents[0][len(before)])
    while (
        len(after) < short - len(before)
        and _separator(contents[0][-1 - len(after)])
        and _same(contents, -1 - len(after))
    ):
        after.insert(0, contents[0][-1 - len(after)])
    return tuple(before), tuple(after)


def _same(contents: Sequence[Tokens], at: int) -> bool:
    return len({content[at] for content in contents}) == 1


def _separator(token: str) -> bool:
    return not token[0].isalnum() and token != "#"


def _one(token: str) -> str:
    return r"\d+" if token == "#" else literal(token)


def _text(content: Tokens) -> str:
    return "".join(map(_one, content))


def _cost(content: Tokens) -> float:
    return _TOKEN * len(content)


def _choice(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"(?:{'|'.join(texts)})"


def _exact(contents: list[Tokens], first: bool, last: bool) -> tuple[str, float] | None:
    """All texts, with what they share at both ends taken out of the alternation."""
    if len(contents) > 4 * _MEMBERS:
        return None
    counted = _HELD * len(contents) if _lettered(contents) else 0.0
    return factored(contents), counted + _MEMBER * (len(contents) - 1) + sum(map(_cost, contents))


def _lettered(contents: list[Tokens]) -> bool:
    """Do the texts differ in the letter behind a number, as `3b` and `3c`? Others may follow."""
    if len({len(content) for content in contents}) > 1:
        return False
    columns = [set(column) for column in zip(*contents, strict=True)]
    varied = [place for place, column in enumerate(columns) if len(column) > 1]
    if len(varied) != 1 or varied[0] == 0 or columns[varied[0] - 1] != {"#"}:
        return False
    return all(len(token) == 1 and token.islower() for token in columns[varied[0]])


def factored(contents: list[Tokens]) -> str:
    """An alternation of token sequences, nested where they branch."""
    if len(contents) == 1:
        return _text(contents[0])
    start, end = common_ends(contents)
    head, tail = contents[0][:start], contents[0][len(contents[0]) - end :]
    middles = [content[start : len(content) - end] for content in contents]
    groups: dict[str, list[Tokens]] = {}
    for middle in middles:
        groups.setdefault(middle[0] if middle else "", []).append(middle)
    branches = [factored(group) if len(group) > 1 and key else _text(group[0]) for key, group in groups.items()]
    full = [branch for branch in branches if branch]
    choice = _choice(full) if len(full) == len(branches) else f"(?:{'|'.join(full)})?"
    return _text(head) + choice + _text(tail)


def _product(contents: list[Tokens], first: bool, last: bool) -> tuple[str, float] | None:
    """Texts of one length: place by place, whatever stands there in any of them."""
    if len({len(content) for content in contents}) > 1:
        return None
    out, cost = [], 0.0
    final = max((place for place, token in enumerate(contents[0]) if token == "."), default=-1)
    lettered = _lettered(contents)
    for place, column in enumerate(zip(*contents, strict=True)):
        members = list(dict.fromkeys(column))
        if len(members) > _MEMBERS or (len(members) > 1 and not _alike(members)):
            return None
        out.append(_choice([_one(member) for member in members]))
        each = _HELD if is_number(members[0]) or lettered else _LEAF if last and place > final else _MEMBER
        cost += _TOKEN if len(members) == 1 else each * len(members)
    return "".join(out), cost


def _alike(members: list[str]) -> bool:
    """Whether these tokens may stand for each other: all words, or all numbers that are held."""
    return all(map(is_word, members)) or all(is_number(member) for member in members)


def _segments(contents: list[Tokens], first: bool, last: bool) -> tuple[str, float] | None:
    """Texts with the same number of dots: segment by segment, a name where they differ."""
    rows = [_split(content) for content in contents]
    if len({len(row) for row in rows}) > 1:
        return None
    out, cost = [], 0.0
    for column in zip(*rows, strict=True):
        members = list(dict.fromkeys(column))
        if len(members) == 1:
            out.append(_text(members[0]))
            cost += _cost(members[0])
        elif any(not member for member in members):
            return None
        elif all(len(member) == 1 and is_number(member[0]) for member in members):
            out.append(only([member[0] for member in members]))
            cost += _HELD * len(members)
        else:
            out.append("[^.]+")
            cost += _NAME
    return r"\.".join(out), cost + _TOKEN * (len(out) - 1)


def _split(content: Tokens) -> list[Tokens]:
    rows: list[list[str]] = [[]]
    for token in content:
        if token == ".":
            rows.append([])
        else:
            rows[-1].append(token)
    return [tuple(row) for row in rows]


def _edges(contents: list[Tokens], first: bool, last: bool, width: int = 1) -> tuple[str, float] | None:
    """Anything, held by the tokens next to what the rule replaces."""
    left, right = (0 if first else width), (0 if last else width)
    if min(map(len, contents)) <= left + right:
        return None
    inner = [content[left : len(content) - right] for content in contents]
    wild = ".+" if any("." in content for content in inner) else "[^.]+"
    heads = list(dict.fromkeys(content[:left] for content in contents))
    tails = list(dict.fromkeys(content[len(content) - right :] for content in contents))
    if len(heads) > _MEMBERS or len(tails) > _MEMBERS:
        return None
    cost = _anything_cost(wild, last) + sum(_end_cost(end) for ends in (heads, tails) for end in ends if end)
    return factored(heads) + wild + factored(tails), cost


def _edges2(contents: list[Tokens], first: bool, last: bool) -> tuple[str, float] | None:
    return _edges(contents, first, last, 3)


def _held(contents: list[Tokens], first: bool, last: bool) -> tuple[str, float] | None:
    """Beginnings up to the separator behind a number (the last that is held, or one at the start), then anything."""
    cut = [(content, _behind_number(content)) for content in contents]
    if any(not end or end >= len(content) or not _separator(content[end - 1]) for content, end in cut):
        return None
    heads = list(dict.fromkeys(content[:end] for content, end in cut))
    if len(heads) > _MEMBERS:
        return None
    wild = ".+" if any("." in content[end:] for content, end in cut) else "[^.]+"
    return factored(heads) + wild, _anything_cost(wild, last) + sum(_end_cost(head) for head in heads)


def _behind_number(content: Tokens) -> int:
    """The place behind the token that follows the last held number; or one at the start; 0 where there is none."""
    held = max((i + 2 for i, token in enumerate(content) if is_number(token)), default=0)
    return held or (2 if content[0] == "#" else 0)


def _end_cost(tokens: Tokens) -> float:
    """What it costs to list one text that holds the others; a number that is listed serves no deeper model."""
    return _HELD if any(map(is_number, tokens)) else _MEMBER


def _head(contents: list[Tokens], first: bool, last: bool) -> tuple[str, float] | None:
    """A few beginnings up to the first separator, then anything."""
    return _some_segments(contents, last, head=True, tail=False) if first else None


def _tail(contents: list[Tokens], first: bool, last: bool) -> tuple[str, float] | None:
    """Anything, then a few endings from the last separator."""
    return _some_segments(contents, False, head=False, tail=True) if last else None


def _ends(contents: list[Tokens], first: bool, last: bool) -> tuple[str, float] | None:
    """A few beginnings, anything, a few endings."""
    return _some_segments(contents, False, head=True, tail=True) if first and last else None


def _some_segments(contents: list[Tokens], last: bool, head: bool, tail: bool) -> tuple[str, float] | None:
    rows = [_split(content) for content in contents]
    if min(map(len, rows)) <= head + tail:
        return None
    heads = list(dict.fromkeys(row[0] for row in rows)) if head else []
    tails = list(dict.fromkeys(row[-1] for row in rows)) if tail else []
    if max(len(heads), len(tails)) > _MEMBERS or () in heads + tails:
        return None
    inside = (factored(heads) + r"\." if head else "") + ".+" + (r"\." + factored(tails) if tail else "")
    return inside, _anything_cost(".+", last) + sum(_end_cost(end) for end in (*heads, *tails))


def _anything(contents: list[Tokens], first: bool, last: bool) -> tuple[str, float] | None:
    if all(len(content) == 1 and is_number(content[0]) for content in contents):
        return None
    wild = ".+" if any("." in content for content in contents) else "[^.]+"
    return wild, _anything_cost(wild, last)


def _anything_cost(wild: str, last: bool) -> float:
    """At the end of a key `.+` reads as "the rest"; before it, as "somewhere"."""
    return _NAME if wild != ".+" else _REST if last else _SOMEWHERE


def only(values: Sequence[str]) -> str:
    """A pattern for some numbers."""
    return _choice(sorted(dict.fromkeys(values), key=lambda value: (len(value), value)))


def bare(inside: str) -> str:
    """A pattern without the `(?:...)` around all of it, for a place that has parentheses of its own."""
    if not inside.startswith("(?:") or not inside.endswith(")") or inside.endswith("\\)"):
        return inside
    depth, at = 0, 0
    while at < len(inside):
        if inside[at] == "\\":
            at += 1
        elif inside[at] in "()":
            depth += 1 if inside[at] == "(" else -1
            if depth == 0 and at < len(inside) - 1:
                return inside
        at += 1
    return inside[3:-1]
