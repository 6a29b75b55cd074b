r"""A key as the words, numbers and separators that it is made of.

Two control characters stand for what several keys of one tensor do not share: `PART` for the
word that tells the parts of a concat apart, `BY` for the number that orders a stack. In
templates `#` stands for a number, so that a `#` of the key itself becomes `HASH`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

PART = "\x01"
BY = "\x02"
HASH = "\x03"

_TOKENS = re.compile(r"[0-9]+|[A-Za-z]+|[^0-9A-Za-z]")
_NUMBER = re.compile(r"([0-9]+)")

Tokens = tuple[str, ...]


@lru_cache(maxsize=65536)
def tokens(text: str) -> Tokens:
    """Words, numbers and single other characters, in order; they join to the text again."""
    return tuple(_TOKENS.findall(text))


def template(text: str) -> str:
    """The text with every number replaced by `#`, and a `#` of its own by `HASH`."""
    return split(text)[0]


def split(text: str) -> tuple[str, Tokens]:
    """The template of a text, and its numbers as they are written."""
    parts = _NUMBER.split(text.replace("#", HASH) if "#" in text else text)
    return "#".join(parts[::2]), tuple(parts[1::2])


def common_ends(rows: Sequence[Tokens]) -> tuple[int, int]:
    """How many tokens all rows begin with alike, and how many of the rest they end with alike."""
    short = min(map(len, rows))
    start = end = 0
    while start < short and len({row[start] for row in rows}) == 1:
        start += 1
    while end < short - start and len({row[-1 - end] for row in rows}) == 1:
        end += 1
    return start, end


def is_number(token: str) -> bool:
    """Whether a token is a number."""
    return token[0] in "0123456789"


def is_word(token: str) -> bool:
    """Whether a token is a word."""
    return token.isascii() and token.isalpha()
