"""Reads one list of keys out of running text: quoted, bare, or as Python prints a list.

A list may be broken by a terminal anywhere, even inside a key, may lack its end, and may
have been shortened by hand. The reader says whether it saw the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_GAP = re.compile(r"[\s,`*\\|]*")
_ELLIPSIS = re.compile(
    r"[\[(<]?\s{0,3}(?:(?:\.\s{0,9}){2,}|etc\b\.?|snip\b|and so on\b|and more\b|\(?more\b)\s{0,3}[\])>]?", re.I
)
_BARE = re.compile(r"[^\s,;\"'`\[\](){}|]+(?:\{[\w, ]{0,2000}\}[^\s,;\"'`\[\](){}|]*)*")
_OPENINGS = "[({"
_GROUP = re.compile(r"\{([^{}]{0,5000})\}")
_RANGE = re.compile(r"\s*(\d{1,6})\s*\.\.\.\s*(\d{1,6})\s*")
_MOST_KEYS = 20_000
_CLOSINGS = {"[": "]", "(": ")", "{": "}"}
_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_COMMA = re.compile(r"\s{0,3}[,`]")
_NEXT = re.compile(
    r"(?:missing|unexpected)\s+keys?\b|size\s+mismatch\s+for\b|While\s+copying\s+the\s+parameter"
    r"|Traceback\s\(most|Error\(s\)\s+in\s+loading|\n\s{0,20}\w{0,40}Error:",
    re.I,
)
# What stands between an opening quote that was cut and the next quote is prose or code, not a key.
_NOT_IN_A_KEY = re.compile(r"\n\s*\n|```|\.\.\.|key\(s\)|state_dict:|Traceback|Error\b.*:")


@dataclass(frozen=True)
class KeyList:
    """One list as read.

    Attributes:
        keys: the whole keys, in order, repeated as in the text.
        end: position in the text behind the list.
        truncated: the text shows that keys are lost.
    """

    keys: tuple[str, ...]
    end: int
    truncated: bool


def read_list(text: str, start: int, stop: int) -> KeyList:
    """Read the list that begins at `start`.

    Args:
        text: the text without decoration.
        start: where the list begins, behind its colon.
        stop: where something else begins; the list ends before it.

    Returns:
        The keys; empty where no list begins at `start`.
    """
    text = text[:stop]
    pos = _skip(text, start)
    bracket = text[pos] if pos < len(text) and text[pos] in _OPENINGS and not text.startswith("{}", pos) else ""
    if bracket:
        pos = _skip(text, pos + 1)
        if text.startswith(_CLOSINGS[bracket], pos):
            return KeyList((), pos + 1, False)
    if pos >= len(text):
        return KeyList((), pos, True)
    found = _quoted(text, pos) if text[pos] in "\"'" else _bare(text, pos)
    if bracket and found.keys and not found.truncated:
        closed = text.startswith(_CLOSINGS[bracket], _skip(text, found.end))
        return KeyList(found.keys, found.end, not closed)
    return found


def next_sentence(text: str, start: int) -> int:
    """Position of the next sentence of an error text at or behind `start`; a list ends before it."""
    match = _NEXT.search(text, start)
    return match.start() if match else len(text)


def _skip(text: str, pos: int) -> int:
    match = _GAP.match(text, pos)
    return match.end() if match else pos


def _quoted(text: str, pos: int) -> KeyList:
    """Read `"a", "b".`; the quote that opens the list is the one that counts."""
    quote = text[pos]
    keys: list[str] = []
    truncated = dangling = False
    end = pos
    while pos < len(text) and text[pos] == quote:
        close = text.find(quote, pos + 1)
        if close < 0 or _is_prose(text[pos + 1 : close]):
            return KeyList(tuple(keys), pos + 1, True)
        key = clean_key(text[pos + 1 : close])
        end = close + 1
        if "..." in key:
            truncated = True
        else:
            keys.append(key)
        if text.startswith(quote, end):
            dangling = False
            break  # the list itself stood in quotes
        pos = _skip(text, end)
        dangling = "," in text[end:pos]
        ellipsis = _ELLIPSIS.match(text, pos)
        if ellipsis:
            truncated, dangling = True, False
            pos = _skip(text, ellipsis.end())
    pos = max(pos, end)
    closed = pos < len(text) and text[pos] in "])}"
    return KeyList(tuple(keys), pos, truncated or (dangling and not closed))


def _bare(text: str, pos: int) -> KeyList:
    """Read `a, b`; without quotes only a comma says that the list goes on."""
    keys: list[str] = []
    truncated = False
    while True:
        ellipsis = _ELLIPSIS.match(text, pos)
        match = None if ellipsis else _BARE.match(text, pos)
        if match is None:
            break
        word = match[0]
        end = match.end()
        comma = _COMMA.match(text, end)
        if comma is None:
            word = word.rstrip(".:")
            if "..." in match[0] or (end == len(text) and is_stump(word)):
                return KeyList(tuple(keys), end, True)
        if "..." not in word:
            keys.append(word)
        pos = _skip(text, end) if comma else end
        if comma is None:
            return KeyList(tuple(keys), pos, truncated)
    return KeyList(tuple(keys), pos, bool(keys) or pos >= len(text))


def is_stump(key: str) -> bool:
    """Whether an unquoted key at the very end of a text was cut: its last word is the start of a usual one."""
    leaf = key.rpartition(".")[2]
    return leaf == "" or (leaf not in _LEAVES and any(usual.startswith(leaf) for usual in _LEAVES))


def clean_key(inside: str) -> str:
    """Take the breaks of a terminal and the bold of markdown out of a quoted key."""
    return "".join(inside.split()).replace("**", "")


def _is_prose(inside: str) -> bool:
    if _NOT_IN_A_KEY.search(inside) and not inside.rstrip().endswith("..."):
        return True
    words = inside.split()
    return len(inside) > 2000 or (len(words) > 2 and sum(map(len, words)) < 12 * len(words))


def expand(item: str) -> tuple[str, ...]:
    """Write out groups of alternatives: `x.{bias, weight}` is two keys.

    Args:
        item: a key, or one with groups in braces; `{0...31}` is the whole range.

    Returns:
        The keys; empty where a group lacks its closing brace or stands for too many keys.
    """
    keys = [""]
    pos = 0
    for group in _GROUP.finditer(item):
        names = _members(group[1])
        if len(keys) * len(names) > _MOST_KEYS:
            return ()
        keys = [key + item[pos : group.start()] + name for key in keys for name in names]
        pos = group.end()
    tail = item[pos:]
    return () if "{" in tail else tuple(key + tail for key in keys)


def _members(group: str) -> list[str]:
    span = _RANGE.fullmatch(group)
    if span and int(span[2]) - int(span[1]) <= _MOST_KEYS:
        return [str(i) for i in range(int(span[1]), int(span[2]) + 1)]
    return [name.strip() for name in group.split(",")]
