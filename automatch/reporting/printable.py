"""Text from a file, made safe to show: nothing in it can move the cursor, recolour the screen or reverse the line."""

from __future__ import annotations

import unicodedata

# Control, format (bidirectional marks, zero width), surrogate, line and paragraph separators; plain blanks stay.
HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn")


def printable(text: str) -> str:
    r"""The text with every character that a terminal would obey or hide written as `\x1b`, `\u202e`...

    Letters of any alphabet stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in HIDDEN else c for c in text)


def _escaped(character: str) -> str:
    """One character as Python writes it in a string literal."""
    return character.encode("unicode_escape").decode("ascii")
