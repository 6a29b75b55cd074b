"""Which kind of file holds the values; told by the first bytes, as the reading stage tells it."""

from __future__ import annotations

from pathlib import Path

ZIP_START = b"PK\x03\x04"
PICKLE_START = b"\x80"
HEAD_BYTES = 512


def is_safetensors(path: Path) -> bool:
    """Eight bytes of length, then a JSON object."""
    head = _head(path)
    return head[8:72].lstrip(b" \t\r\n")[:1] == b"{" and head[:1] not in (b"{", b"<")


def is_numpy_archive(path: Path) -> bool:
    """A zip archive whose first member is an array."""
    head = _head(path)
    return head.startswith(ZIP_START) and head[30 : 30 + int.from_bytes(head[26:28], "little")].endswith(b".npy")


def is_torch_zip(path: Path) -> bool:
    """Any other zip archive."""
    return _head(path).startswith(ZIP_START) and not is_numpy_archive(path)


def is_torch_file(path: Path) -> bool:
    """A torch zip, or a pickle as in the legacy format."""
    return is_torch_zip(path) or _head(path).startswith(PICKLE_START)


def _head(path: Path) -> bytes:
    """The first bytes of the file."""
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)
