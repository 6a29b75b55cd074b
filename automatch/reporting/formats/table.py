"""Plain text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from automatch.diagnosing.comparison import Comparison
from automatch.reporting.report import Section, report
from automatch.reporting.style import Style

NAME = "table"
NUMBER_COLUMNS = ("keys", "confidence")
LEAST_LAST_COLUMN = 24


def render(comparison: Comparison, style: Style) -> str:
    """The whole report as text, without a newline at its end."""
    return "\n\n".join(_section(section, style) for section in report(comparison, style.full))


def _section(section: Section, style: Style) -> str:
    """Heading, sentences, table, text to copy."""
    if not section.title and not section.columns:
        return "\n".join(style.paint(line, section.tone) for line in section.lines)
    lines = [style.paint(section.title, section.tone or "title")] if section.title else []
    lines += [f"  {line}" for line in section.lines]
    if section.columns:
        lines += [f"  {line}" for line in _table(section.columns, section.rows, style)]
    lines += [f"  {line}" for line in section.code]
    return "\n".join(lines)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], style: Style) -> list[str]:
    """The table's lines; on a terminal the last column is cut so that nothing wraps."""
    from tabulate import tabulate  # 40 ms that other formats need not wait for

    align = ["right" if column in NUMBER_COLUMNS else "left" for column in columns]
    text = tabulate(rows, columns, tablefmt="simple", colalign=align, disable_numparse=True)
    lines = [line.rstrip() for line in text.splitlines()]
    if style.width is None or style.full:
        return lines
    start = lines[1].rfind(" ") + 1  # where the last column begins
    room = max(style.width - 2, start + LEAST_LAST_COLUMN)
    return [line if len(line) <= room else f"{line[: room - 1]}…" for line in lines]
