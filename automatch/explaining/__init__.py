"""From torch's own error text to what happened, told from the names alone."""

from __future__ import annotations

from automatch.explaining.error_report import ErrorReport
from automatch.explaining.error_text import parse_error
from automatch.explaining.explanation import Explanation, explain

__all__ = ["ErrorReport", "Explanation", "explain", "parse_error"]
