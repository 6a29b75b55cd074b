"""A function to paste, instead of a report."""

from __future__ import annotations

from automatch.diagnosing.comparison import Comparison
from automatch.reporting.style import Style

NAME = "python"


def render(comparison: Comparison, style: Style) -> str:
    """The rules as `convert(state_dict)`; it is always full and never coloured."""
    from automatch.exporting.background import background_of  # all dialects: a report does not wait for them
    from automatch.exporting.export import export

    return export(comparison.rules, NAME, background_of(comparison))
