"""The state of the interpreter in `safe_pickle`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from mmap import mmap
from typing import Any

from automatch.reading.records import Global


@dataclass(slots=True)
class Machine:
    """The state of one run.

    Attributes:
        data: the file or stream.
        pos: position of the next byte.
        end: no instruction may reach beyond; the end of the frame inside of one.
        size: where the stream ends at the latest.
        persistent: gives the record for what a pickle calls a persistent id (a storage).
        depth: how many marks may be open.
        copies: how many values of lists and dicts may still be copied.
        stack: values since the last mark.
        marks: stacks below the marks.
        memo: values by the number the pickle gave them.
        globals: every name that it wants imported, in order of appearance.
        metadata: dicts on which the pickle hangs a `_metadata`, by their ids, each with that.
    """

    data: bytes | mmap
    pos: int
    end: int
    size: int
    persistent: Callable[[Any], object]
    depth: int
    copies: int
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    globals: dict[tuple[str, str], Global] = field(default_factory=dict)
    metadata: dict[int, tuple[dict[Any, Any], object]] = field(default_factory=dict)
