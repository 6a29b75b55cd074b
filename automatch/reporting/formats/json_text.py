"""The documented JSON (see `automatch.diagnosing.document`)."""

from __future__ import annotations

from automatch.diagnosing.comparison import Comparison
from automatch.reporting.style import Style

NAME = "json"


def render(comparison: Comparison, style: Style) -> str:
    """The whole comparison; it is always full and never coloured."""
    return comparison.to_json()
