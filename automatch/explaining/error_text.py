"""From an error text to its lists."""

from __future__ import annotations

import re

from automatch.explaining.decoration import plain
from automatch.explaining.dialects import DIALECTS
from automatch.explaining.error_report import ErrorReport, Found, merge

_SPOKEN_OF = re.compile(r"\b(?:missing|unexpected)\b|size\s+mismatch|state_dict", re.I)


def parse_error(text: str | BaseException) -> ErrorReport:
    """Read an error text in any of the known dialects.

    Args:
        text: what was printed, logged, pasted or raised; an exception object is read as its text.

    Returns:
        The lists as far as the text shows them; an empty report where it says nothing about a state_dict.
    """
    words = str(text.args[0]) if isinstance(text, KeyError) and text.args else str(text)
    if isinstance(text, KeyError):
        words = f"KeyError: {text}" if "in state_dict" not in words else words
    cleaned = plain(words)
    parts = [part for part in (read(cleaned) for read in DIALECTS) if part is not None]
    if not parts and _SPOKEN_OF.search(cleaned):
        parts = [Found(truncated=True)]  # keys are spoken of, none is listed
    return merge(parts)
