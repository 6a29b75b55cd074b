"""A comparison that can show itself."""

from __future__ import annotations

from dataclasses import dataclass

from automatch.diagnosing.comparison import Comparison
from automatch.reporting.printable import printable
from automatch.reporting.style import Style


@dataclass(frozen=True)
class Diagnosis(Comparison):
    """What `automatch.diagnose` answers; `print` shows what the command line shows."""

    def __repr__(self) -> str:
        return f"<Diagnosis: {printable(self.verdict)}>"

    def __str__(self) -> str:
        return self.table()

    def table(self, full: bool = False) -> str:
        """The report as plain text; `full` gives every key a line of its own."""
        from automatch.reporting.formats import table

        return table.render(self, Style(full=full))

    def to_markdown(self, full: bool = False) -> str:
        """The report as Markdown for an issue or a pull request."""
        from automatch.reporting.formats import markdown

        return markdown.render(self, Style(full=full))

    def to_python(self) -> str:
        """A function `convert(state_dict)` that does what the rules do and needs no automatch."""
        return self.export("python")

    def export(self, dialect: str) -> str:
        """The rules as text in the language of the library that shall rename (docs/dialects.md).

        Raises:
            InputError: there is no such dialect, or it cannot say one of the rules.
        """
        from automatch.exporting.background import background_of
        from automatch.exporting.export import export

        return export(self.rules, dialect, background_of(self))

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return self.to_markdown()
