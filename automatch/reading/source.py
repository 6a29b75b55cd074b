"""What a format is handed and what it gives back; beside `formats/` so that no format imports another."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from automatch.errors import InputError
from automatch.module_versions import Versions
from automatch.reading.limits import Limits
from automatch.spec import TensorSpec

HEAD_BYTES = 65_536
_URL = re.compile(r"(?:https?|ftp|s3|gs|hf):/")
# `package.module:factory` or `path/file.py:factory`, not a drive letter.
FACTORY = re.compile(r"[^:]{2,}:[A-Za-z_][\w.]*(\(.*\))?", re.DOTALL)


@dataclass(frozen=True)
class File:
    """A regular file or a folder, with the bytes that tell its format.

    Attributes:
        path: as the user gave it; every error names it.
        size: in bytes; 0 for a folder.
        head: the first `HEAD_BYTES` bytes; empty for a folder.
        is_folder: whether it is a folder.
    """

    path: Path
    size: int
    head: bytes
    is_folder: bool = False


@dataclass(frozen=True)
class Candidate:
    """One dict of a source that holds tensors.

    Attributes:
        path: keys (or positions in a list) that lead to it from the top; () for the top.
        tensors: its entries that are tensors, in order.
        dropped: its other keys.
        odd_keys: keys of its tensors that are not strings, as they would be printed.
        notes: sentences for the user, shown if this one is chosen.
        is_optimizer: it is the state of an optimizer; its tensors were not looked at.
        versions: what it says of its modules (torch's `_metadata`); empty where it says nothing.
        checked: its keys and shapes have been checked (`checks`), so that nobody needs to do it again.
    """

    path: tuple[str, ...]
    tensors: tuple[TensorSpec, ...]
    dropped: tuple[str, ...] = ()
    odd_keys: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_optimizer: bool = False
    versions: Versions = field(default_factory=dict)
    checked: bool = False


@dataclass(frozen=True)
class Found:
    """All that a format read from one source.

    Attributes:
        origin: how it was read, e.g. "safetensors, header only".
        candidates: every dict that holds tensors, outermost first.
        notes: sentences for the user, whichever candidate is chosen.
        empty: why there is no candidate, as the end of a sentence ("holds only ...").
        opaque: names of calls that a pickle asks for and nobody made.
        files: paths of the files that hold it, where that is not just the one that was read.
    """

    origin: str
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...] = ()
    empty: str = "holds no tensors"
    opaque: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Context:
    """What a format may ask for while it reads.

    Attributes:
        limits: bounds on what the file may declare.
        read_part: reads another file (a shard, the only checkpoint of a folder) by whatever format fits.
    """

    limits: Limits
    read_part: Callable[[Path], Found]


@dataclass(frozen=True)
class FileFormat:
    """One kind of file: `accepts` looks at the first bytes, `read` describes it."""

    name: str
    accepts: Callable[[File], bool]
    read: Callable[[File, Context], Found]


@dataclass(frozen=True)
class ObjectFormat:
    """One kind of Python object that holds tensors: recognised by what it can do, without importing torch."""

    accepts: Callable[[object], bool]
    read: Callable[[Any, Context], Found]


def open_file(path: Path) -> File:
    """Looks at a path without reading more than its first bytes.

    Raises:
        InputError: nothing is there, it cannot be read, or it is neither a regular file nor a folder.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return File(path, 0, b"", is_folder=True)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: not a regular file; copy its contents to a file first")
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            return File(path, size, stream.read(HEAD_BYTES))
    except FileNotFoundError:
        if FACTORY.fullmatch(str(path)):
            raise InputError(
                f"{path}: no such file; a factory stands for the model, and only there: give the checkpoint first"
            ) from None
        if _URL.match(str(path)):
            raise InputError(f"{path}: no such file; no network is opened, download it first") from None
        raise InputError(f"{path}: no such file; check the path (the working directory is {Path.cwd()})") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"{path}: cannot be read: {reason}") from None


def shown(key: object, length: int = 120) -> str:
    """A key as it may stand in a message: quoted, control characters escaped, at most `length` characters."""
    text = ascii(key) if isinstance(key, str) and not key.isprintable() else repr(key)
    return text if len(text) <= length else f"{text[: length - 4]}...{text[0]}"


def listed(items: tuple[str, ...] | list[str], most: int = 8) -> str:
    """`a, b, c and 4 more`: the first names of a list, for a message."""
    head = ", ".join(items[:most])
    return head if len(items) <= most else f"{head} and {len(items) - most} more"
