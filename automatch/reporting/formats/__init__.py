"""All ways to draw a report. One more is one file and one name in the tuple."""

from automatch.reporting.formats import json_text, markdown, python_code, table

FORMATS = (table, json_text, markdown, python_code)

__all__ = ["FORMATS"]
