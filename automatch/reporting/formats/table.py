"""Plain text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from automatch.diagnosing.comparison import Comparison
from automatch.reporting.report import Section, report
from automatch.reporting.style import Style

NAME = "table"
NUMBER_COLUMNS = ("keys", "confidence")
LEAST_LAST_COLUMN = 24
# No other column is made narrower than this.
LEAST_COLUMN = 10
INDENT = 2
GAP = 2
# What tabulate adds to the width of a head.
HEAD_PADDING = 2


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
    """The table's lines; on a terminal cells are shortened so that nothing wraps."""
    from tabulate import tabulate  # 40 ms that other formats need not wait for

    if style.width is not None and not style.full:
        columns, *rows = _fitted(columns, rows, style.width - INDENT)
    align = ["right" if column in NUMBER_COLUMNS else "left" for column in columns]
    text = tabulate(rows, columns, tablefmt="simple", colalign=align, disable_numparse=True)
    return [line.rstrip() for line in text.splitlines()]


def _fitted(columns: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[list[str]]:
    """Heads and rows that fit into the room: the last column is cut at its end, the widest others in their middle."""
    heads = [len(column) + HEAD_PADDING for column in columns]
    widths = [max(head, *map(len, cells)) for head, cells in zip(heads, zip(*rows, strict=True), strict=True)]
    last = len(widths) - 1
    texts = [i for i, column in enumerate(columns) if column not in NUMBER_COLUMNS]
    for floor, among in ((LEAST_LAST_COLUMN, [last]), (LEAST_LAST_COLUMN, texts), (LEAST_COLUMN, texts)):
        over = sum(widths) + GAP * last - room
        for _ in range(over):
            widest = max(among, key=lambda i: (widths[i], i))
            widths[widest] -= widths[widest] > floor
    heads = [width - HEAD_PADDING for width in widths]
    return [
        [_shortened(cell, width, i < last) for i, (cell, width) in enumerate(zip(row, limits, strict=True))]
        for row, limits in [(columns, heads), *((row, widths) for row in rows)]
    ]


def _shortened(text: str, width: int, middle: bool) -> str:
    """The text in at most so many characters, without its middle (both ends of a key tell more) or its end."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2 if middle else 0
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"
