"""A function to paste, instead of a report."""

from __future__ import annotations

from automatch.diagnosing.comparison import Comparison
from automatch.exporting.background import background_of
from automatch.exporting.export import export
from automatch.reporting.style import Style

NAME = "python"


def render(comparison: Comparison, style: Style) -> str:
    """The rules as `convert(state_dict)`; it is always full and never coloured."""
    return export(comparison.rules, NAME, background_of(comparison))
