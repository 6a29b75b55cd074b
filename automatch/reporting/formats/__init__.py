"""All ways to draw a report. One more is one file and one name in the tuple."""

from automatch.reporting.formats import json_text, markdown, table

FORMATS = (table, json_text, markdown)

__all__ = ["FORMATS"]
