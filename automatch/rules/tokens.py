r"""A key as the words, numbers and separators that it is made of.

Two control characters stand for what several keys of one tensor do not share: `PART` for the
word that tells the parts of a concat apart, `BY` for the number that orders a stack.
"""

from __future__ import annotations

import re
from functools import lru_cache

PART = "\x01"
BY = "\x02"

_TOKENS = re.compile(r"[0-9]+|[A-Za-z]+|[^0-9A-Za-z]")
_NUMBER = re.compile(r"[0-9]+")

Tokens = tuple[str, ...]


@lru_cache(maxsize=65536)
def tokens(text: str) -> Tokens:
    """Words, numbers and single other characters, in order; they join to the text again."""
    return tuple(_TOKENS.findall(text))


def template(text: str) -> str:
    """The text with every number replaced by `#` (a literal `#` by a character that keys do not have)."""
    return _NUMBER.sub("#", text.replace("#", "\x03") if "#" in text else text)


def numbers(text: str) -> tuple[str, ...]:
    """The numbers of a text, in order, as they are written."""
    return tuple(_NUMBER.findall(text))


def is_number(token: str) -> bool:
    """Whether a token is a number."""
    return token[0] in "0123456789"


def is_word(token: str) -> bool:
    """Whether a token is a word."""
    return token.isascii() and token.isalpha()
