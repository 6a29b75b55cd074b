"""What a writer is told: which file becomes which, key by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Plan:
    """What becomes of the tensors of a file.

    Attributes:
        keys: the tensors that are meant, in their order.
        renamed: the new key of each where only names change, else None.
        apply: gives new keys and tensors for old ones.
        at: dotted path to the state_dict inside a nested checkpoint, "" at its top.
    """

    keys: tuple[str, ...]
    renamed: Mapping[str, str] | None
    apply: Callable[[Mapping[str, Any]], dict[str, Any]]
    at: str = ""


@dataclass(frozen=True)
class Writer:
    """One kind of file that can be written.

    Attributes:
        name: what to call it.
        suffixes: endings that promise this kind; an output that promises another is refused.
        formats: what `automatch.reading.format_of` calls the sources that it rewrites.
        write: writes the source under the plan's keys to a second, empty file.
    """

    name: str
    suffixes: tuple[str, ...]
    formats: tuple[str, ...]
    write: Callable[[Path, Path, Plan], None]
