"""Markdown for an issue or a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from automatch.diagnosing.comparison import Comparison
from automatch.reporting.report import Section, report
from automatch.reporting.style import Style

NAME = "markdown"
# Columns of keys, shown as code.
CODE_COLUMNS = ("checkpoint => model", "checkpoint", "model", "key", "would do as well")
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def render(comparison: Comparison, style: Style) -> str:
    """The whole report as Markdown, without a newline at its end."""
    return "\n\n".join(block for section in report(comparison, style.full) for block in _blocks(section))


def _blocks(section: Section) -> Iterator[str]:
    """Heading, sentences, table, text to copy."""
    if section.title:
        yield f"### {_text(section.title)}"
    elif not section.columns:
        yield "\n".join(f"**{_text(line)}**" for line in section.lines)
        return
    if section.lines:
        yield "\n".join(f"- {_text(line)}" for line in section.lines)
    if section.columns:
        head = [_row(section.columns), _row(["---"] * len(section.columns))]
        cells = (zip(section.columns, row, strict=True) for row in section.rows)
        rows = (_row([_code(c) if name in CODE_COLUMNS else _text(c) for name, c in row]) for row in cells)
        yield "\n".join([*head, *rows])
    if section.code:
        fence = _fence(section.code)
        yield "\n".join([fence, *section.code, fence])


def _row(cells: Iterable[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """Prose in which nothing is taken for markup."""
    return SPECIAL.sub(r"\\\1", text)


def _code(text: str) -> str:
    """Code in a table cell: only the bar must be escaped there, and the ticks must be longer than any inside."""
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    inner = text.replace("|", "\\|")
    return f"{ticks} {inner} {ticks}" if "`" in text else f"{ticks}{inner}{ticks}" if text else ""


def _fence(lines: Iterable[str]) -> str:
    """Ticks longer than any in the lines."""
    return "`" * max(3, 1 + max((len(run) for line in lines for run in re.findall("`+", line)), default=0))
