"""Where in its block a name says that a module stands, and so which of two comes first."""

from __future__ import annotations

from collections.abc import Iterable

from automatch.matching.basis.names import Word

FIRST, LAST = 0, 4

PLACES = {
    **dict.fromkeys(("first", "pre", "before", "in", "input", "start", "entry", "left"), FIRST),
    **dict.fromkeys(("attention", "selfattn"), 1),
    "cross": 2,
    "mlp": 3,
    "mean": FIRST,
    **dict.fromkeys(("second", "post", "after", "out", "output", "final", "last", "end", "exit", "right"), LAST),
    **dict.fromkeys(("var", "deviation"), LAST),
}
"""Words, and concepts of the lexicon, that speak of a place in a block, and which."""


def place_of(words: Iterable[Word]) -> int | None:
    """Which place in a block a name speaks of; None where it speaks of none, or of several."""
    said = {PLACES[w] for word in words for w in (word.text, *word.concepts) if w in PLACES}
    return said.pop() if len(said) == 1 else None
