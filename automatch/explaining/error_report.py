"""What an error text says, as data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from automatch.matching.assignment import Mismatch


@dataclass(frozen=True)
class ErrorReport:
    """The lists of an error text, each key once, in the order of the text.

    Attributes:
        class_name: class of the model that was loaded into, None where the text does not say.
        missing_keys: the model has them, the checkpoint does not.
        unexpected_keys: the checkpoint has them, the model does not.
        mismatched_keys: both have them, with different shapes.
        truncated: the text was cut, or its dialect names only the first key.
        missing_whole: the text shows the end of the missing keys (True too where it has none).
        unexpected_whole: likewise for the unexpected keys.
        half_read: keys whose shapes the cut took away.
        nameless: pairs of shapes whose key the cut took away.
        hints: what the text says beside its lists, in the words of `automatch.diagnosing.evidence.HINTS`.
    """

    class_name: str | None = None
    missing_keys: tuple[str, ...] = ()
    unexpected_keys: tuple[str, ...] = ()
    mismatched_keys: tuple[Mismatch, ...] = ()
    truncated: bool = False
    missing_whole: bool = True
    unexpected_whole: bool = True
    half_read: tuple[str, ...] = ()
    nameless: tuple[Mismatch, ...] = ()
    hints: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether the text says anything about a state_dict."""
        lists = self.missing_keys or self.unexpected_keys or self.mismatched_keys
        return bool(lists or self.class_name or self.hints or self.truncated)


@dataclass
class Found:
    """What one dialect read from a text; `merge` joins them."""

    class_name: str | None = None
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[Mismatch] = field(default_factory=list)
    truncated: bool = False
    half_read: list[str] = field(default_factory=list)
    nameless: list[Mismatch] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    cut_lists: set[str] = field(default_factory=set)

    def add(self, kind: str, keys: Iterable[str], truncated: bool) -> None:
        """Add a list that was read.

        Args:
            kind: "missing" or "unexpected".
            keys: its keys.
            truncated: keys of it are lost.
        """
        (self.missing if kind == "missing" else self.unexpected).extend(keys)
        if truncated:
            self.truncated = True
            self.cut_lists.add(kind)


def merge(parts: Sequence[Found]) -> ErrorReport:
    """Join what the dialects read: each key once, in the order it was met."""
    mismatched = {item.key: item for part in reversed(parts) for item in reversed(part.mismatched)}
    return ErrorReport(
        class_name=next((p.class_name for p in parts if p.class_name), None),
        missing_keys=_once(k for p in parts for k in p.missing),
        unexpected_keys=_once(k for p in parts for k in p.unexpected),
        mismatched_keys=tuple(mismatched[k] for k in _once(m.key for p in parts for m in p.mismatched)),
        truncated=any(p.truncated for p in parts),
        missing_whole=not any("missing" in p.cut_lists for p in parts),
        unexpected_whole=not any("unexpected" in p.cut_lists for p in parts),
        nameless=tuple(m for p in parts for m in p.nameless),
        half_read=_once(k for p in parts for k in p.half_read),
        hints=_once(h for p in parts for h in p.hints),
    )


def _once(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))
