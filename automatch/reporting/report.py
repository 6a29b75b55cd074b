"""What a report says, in order, as data: sections of rows and lines. The formats only draw them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from automatch.diagnosing.comparison import Comparison, is_doubtful
from automatch.diagnosing.naming import count
from automatch.reporting.match_rows import Layout, ambiguous_rows, key_rows, match_rows, mismatch_rows
from automatch.reporting.next_steps import next_steps
from automatch.reporting.printable import printable
from automatch.reporting.rule_lines import rule_lines
from automatch.spec import StateDictSpec

LEGEND = "{1..2;1..3}: one range for each value of the number before it"
# Sections are cut to this many rows unless the full report is asked for.
MOST_ROWS = 40


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        title: heading, "" for none.
        columns: heads of the table; () where there is none.
        rows: cells, as many in each row as there are columns.
        lines: sentences before the table, or the whole section.
        code: text to copy as it stands, one entry a line.
        tone: "good", "bad" or "" for neither.
    """

    title: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    lines: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    tone: str = ""


def report(comparison: Comparison, full: bool = False) -> tuple[Section, ...]:
    """All sections that have something to say.

    Args:
        comparison: what was found.
        full: every key on a row of its own, nothing folded or cut.

    Returns:
        Sections whose texts are safe to print.
    """
    layout = Layout(comparison, full)
    sections = (
        Section(lines=(_verdict(comparison),), tone="good" if comparison.complete else "bad"),
        _sides(comparison),
        _notes(comparison),
        _matches(comparison, layout),
        _ambiguous(comparison, layout),
        _mismatched(comparison, layout),
        *_left_over(comparison, layout),
        _rules(comparison, full),
        Section("next", code=next_steps(comparison)),
    )
    shown = [section for section in sections if section.rows or section.lines or section.code]
    return tuple(section if full else _cut(section) for section in shown)


def _verdict(comparison: Comparison) -> str:
    """The sentence that says it all."""
    return printable(comparison.verdict)


def _sides(comparison: Comparison) -> Section:
    """Who is who, with counts and how it was read."""

    def row(side: str, spec: StateDictSpec) -> tuple[str, ...]:
        place = f"{spec.origin}, at {spec.at}" if spec.at else spec.origin
        return side, printable(spec.name), count(len(spec), "key"), printable(place)

    rows = (
        row("original" if comparison.learnt else "checkpoint (what the file has)", comparison.checkpoint),
        row("conversion" if comparison.learnt else "model (what the code wants)", comparison.model),
    )
    return Section(columns=("side", "name", "holds", "read as"), rows=rows)


def _notes(comparison: Comparison) -> Section:
    """What the readers and the matching want the user to know."""
    notes = (*comparison.checkpoint.notes, *comparison.model.notes, *comparison.notes)
    return Section("notes", lines=tuple(map(printable, notes)))


def _matches(comparison: Comparison, layout: Layout) -> Section:
    """Which key serves which, folded by family."""
    sure = [match for match in comparison.matches if not is_doubtful(match)]
    served = sum(len(match.model_keys) for match in sure)
    title = f"matches: {served} of {len(comparison.model)} model keys are served"
    columns = ("keys", "op", "confidence", "checkpoint => model", "evidence")
    rows = match_rows(sure, layout)
    legend = (LEGEND,) if not layout.full and any(";" in row[3] for row in rows) else ()
    return Section(title, columns if sure else (), rows, legend, tone="good" if sure else "bad")


def _ambiguous(comparison: Comparison, layout: Layout) -> Section:
    """What the evidence does not decide, and how a person can."""
    matches = comparison.doubtful
    if not matches:
        return Section()
    first = matches[0]
    pin = f"--pin '{printable(first.checkpoint_keys[0])}={printable(first.model_keys[0])}'"
    return Section(
        f"ambiguous: {count(sum(len(m.model_keys) for m in matches), 'key')}, not loaded until you decide",
        ("keys", "op", "confidence", "checkpoint => model", "would do as well", "evidence"),
        ambiguous_rows(matches, layout),
        (f"decide with pins, the rest follows: {pin}   (or --forbid '...')",),
        tone="bad",
    )


def _mismatched(comparison: Comparison, layout: Layout) -> Section:
    """What belongs together but has another shape."""
    pairs = comparison.mismatched_keys
    return Section(
        f"size mismatch: {count(len(pairs), 'key')}, never loaded",
        ("keys", "checkpoint => model", "shape in the checkpoint", "shape in the model"),
        mismatch_rows(pairs, layout),
        tone="bad",
    )


def _left_over(comparison: Comparison, layout: Layout) -> tuple[Section, ...]:
    """Missing and unexpected keys; those that do no harm apart, each with its reason."""
    harmless = comparison.assignment.harmless
    sized = {pair.key for pair in comparison.mismatched_keys}
    resized = {pair.checkpoint_key for pair in comparison.mismatched_keys}
    missing = [key for key in comparison.missing_keys if key not in harmless and key not in sized]
    unexpected = [key for key in comparison.unexpected_keys if key not in harmless and key not in resized]
    absent = [key for key in comparison.missing_keys if key in harmless and key not in sized]
    surplus = [key for key in comparison.unexpected_keys if key in harmless and key not in resized]
    return (
        Section(
            f"missing from the checkpoint: {count(len(missing), 'key')} that the model wants",
            ("keys", "model", "shape"),
            key_rows(missing, comparison.model, layout),
            tone="bad",
        ),
        Section(
            f"unexpected in the checkpoint: {count(len(unexpected), 'key')} that the model has no place for",
            ("keys", "checkpoint", "shape"),
            key_rows(unexpected, comparison.checkpoint, layout),
            tone="bad",
        ),
        Section(
            f"harmless: {count(len(absent) + len(surplus), 'key')} missing or unexpected",
            ("keys", "key", "shape", "why it does no harm"),
            (
                *key_rows(absent, comparison.model, layout, harmless, "missing: "),
                *key_rows(surplus, comparison.checkpoint, layout, harmless, "unexpected: "),
            ),
        ),
    )


def _rules(comparison: Comparison, full: bool) -> Section:
    """The rules and how far they are proven."""
    number = len(comparison.rules.rules)
    if not number and not comparison.matches:
        return Section()
    title = f"rules: {number}" if number else "rules: none needed"
    lines, code = rule_lines(comparison, full)
    return Section(title, lines=lines, code=code, tone="good" if comparison.proof.ok else "bad")


def _cut(section: Section) -> Section:
    """The section with its first rows, and how many more there are."""
    more = len(section.rows) - MOST_ROWS
    if more <= 0:
        return section
    rows = (*section.rows[:MOST_ROWS], (f"{more} more lines (--full)", *[""] * (len(section.columns) - 1)))
    return replace(section, rows=rows)
