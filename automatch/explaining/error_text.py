"""From an error text to its lists."""

from __future__ import annotations

import re

from automatch.explaining.decoration import plain
from automatch.explaining.dialects import DIALECTS
from automatch.explaining.error_report import ErrorReport, Found, merge

_SPOKEN_OF = re.compile(r"\b(?:missing|unexpected)\b|size\s+mismatch|state_dict", re.I)


def parse_error(text: object) -> ErrorReport:
    """Read an error text in any of the known dialects.

    Args:
        text: what was printed, logged, pasted or raised. An exception, or what
            `load_state_dict(strict=False)` returned, is read as its text; a list of strings as its lines.

    Returns:
        The lists as far as the text shows them; an empty report where it says nothing about a state_dict.
    """
    cleaned = plain(_words(text))
    parts = [part for part in (read(cleaned) for read in DIALECTS) if part is not None]
    if not parts and _SPOKEN_OF.search(cleaned):
        parts = [Found(truncated=True)]  # keys are spoken of, none is listed
    return merge(parts)


def _words(text: object) -> str:
    if isinstance(text, str):
        return text
    if isinstance(text, KeyError):
        return f"KeyError: {text}"
    if isinstance(text, (list, tuple)) and not hasattr(text, "_fields"):
        return "\n".join(map(str, text))
    return repr(text) if hasattr(text, "_fields") and "matched successfully" not in str(text) else str(text)
