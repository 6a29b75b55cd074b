"""What an exception says beside its keys: words that point to a cause no key shows."""

from __future__ import annotations

import re

from automatch.explaining.error_report import Found

_WORDS = (
    ("meta", re.compile(r"\bmeta\s+(?:tensor|device|parameter)|meta\s+to\s+(?:a\s+)?cpu|no\s+data!", re.I)),
    (
        "quantized",
        re.compile(
            r"\bQU?Int\d{1,2}\b|\bdequantize\b|quantized\s+tensor|Params4bit|Int8Params|4-?bit\s+quant|8-?bit\s+quant",
            re.I,
        ),
    ),
)
_RUNNING = re.compile(
    r"Unexpected\s+running\s+stats\s+buffer\(s\)\s+\"([^\"]{1,400})\"(?:\s+and\s+\"([^\"]{1,400})\")?"
)


def read(text: str) -> Found | None:
    """Read the hints, and InstanceNorm's sentence about running statistics; None where there are none."""
    hints = [hint for hint, pattern in _WORDS if pattern.search(text)]
    stats = [key for match in _RUNNING.finditer(text) for key in match.groups() if key]
    if stats:
        hints.append("running-stats")
    return Found(unexpected=stats, hints=hints) if hints else None
