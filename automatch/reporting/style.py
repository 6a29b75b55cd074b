"""How a report is drawn: colour or not, folded or full. The command line decides; nothing here looks at a terminal."""

from __future__ import annotations

from dataclasses import dataclass

CODES = {"good": "32", "bad": "31", "title": "1"}


@dataclass(frozen=True)
class Style:
    """What the reader of the output can see.

    Attributes:
        full: every key on its own line, nothing cut.
        colour: whether ANSI colours are understood.
        width: columns of the terminal; None where nothing needs to be cut to fit.
    """

    full: bool = False
    colour: bool = False
    width: int | None = None

    def paint(self, text: str, tone: str) -> str:
        """The text in the colour of a tone ("good", "bad", "title"), or as it is."""
        code = CODES.get(tone)
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text else text
