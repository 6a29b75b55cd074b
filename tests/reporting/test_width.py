"""On a terminal no table wraps; both ends of a long key stay. Piped and full reports are whole."""

import pytest

from automatch.reporting.formats import table
from automatch.reporting.report import report
from automatch.reporting.style import Style
from tests.reporting.cases import CASES


def table_lines(text: str) -> list[str]:
    """The lines of all tables: those under a ruler, until the next empty line."""
    out: list[str] = []
    for block in text.split("\n\n"):
        lines = block.splitlines()
        ruler = next((i for i, line in enumerate(lines) if set(line) == {" ", "-"}), None)
        if ruler is not None:
            out += lines[ruler - 1 :]
    return out


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("case", CASES)
def test_tables_do_not_wrap(case, width) -> None:
    lines = table_lines(table.render(CASES[case](), Style(width=width)))
    assert lines and max(map(len, lines)) <= width


@pytest.mark.parametrize("case", CASES)
def test_a_piped_report_shortens_nothing(case) -> None:
    found = CASES[case]()
    text = table.render(found, Style())
    assert "…" not in text
    assert all(cell in text for section in report(found) for row in section.rows for cell in row)
    assert "…" not in table.render(found, Style(full=True, width=80))


def test_both_ends_of_a_long_key_stay() -> None:
    text = table.render(CASES["densenet"](), Style(width=80))
    assert "missing: feat" in text and "batches_tracked" in text
