"""What a matcher is, to the benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from cases import Case, Entry
from scoring import Answers


class NoAnswerError(Exception):
    """The matcher says itself that it cannot answer, or raises as it does for its users."""


@dataclass(frozen=True)
class Matcher:
    """One way to match the keys of a checkpoint with those of a model.

    Attributes:
        name: as the table says it.
        match: answers a case without its truth; imports what it needs inside.
        package: what has to be importable for it, or "" where automatch's own dependencies do.
        distribution: what pip calls that package.
    """

    name: str
    match: Callable[[Case], Answers]
    package: str = ""
    distribution: str = ""

    @property
    def installed(self) -> bool:
        """Whether it can be run here."""
        return not self.package or find_spec(self.package) is not None

    @property
    def version(self) -> str:
        """The version of its distribution, or "" where it has none of its own."""
        from importlib.metadata import version

        return version(self.distribution) if self.distribution and self.installed else ""


def keys_by_shape(entries: Sequence[Entry]) -> dict[tuple[int, ...], list[str]]:
    """The keys of each shape, in their order."""
    keys: dict[tuple[int, ...], list[str]] = {}
    for key, shape, _ in entries:
        keys.setdefault(shape, []).append(key)
    return keys
