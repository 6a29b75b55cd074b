"""What is left of a checkpoint once all that stands beside the model has been left out."""

from __future__ import annotations

from dataclasses import dataclass

from automatch.matching.basis.leaves import Leaf


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The leaves worth matching.

    Attributes:
        leaves: what is left.
        dropped: key -> why it was left out.
        notes: sentences about what was left out.
        undecided: nothing told which of several copies is meant; then every pair is flagged.
    """

    leaves: list[Leaf]
    dropped: dict[str, str]
    notes: tuple[str, ...] = ()
    undecided: bool = False
