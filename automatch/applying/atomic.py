"""Writing a file beside its place and renaming it into place: the name is the old file or the whole new one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from automatch.errors import InputError

_HEADER = b"A proposal of automatch"
CHECKPOINTS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".gguf", ".npz", ".h5", ".onnx")


@contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """Gives the path of an empty file in the folder of `target`, which becomes `target` when the block ends well.

    Whatever is raised in the block (an interrupt too), the new file is removed and `target` is as it was.

    Args:
        target: the file to write; an older one is replaced.

    Raises:
        InputError: `target` is no plain file, its folder cannot be written to, or the disk is full.
    """
    refuse_no_file(target)
    part = target.parent / f".{target.name}.{secrets.token_hex(4)}.part"
    try:
        # Created here and by nobody else: another run that writes the same name must not share the file.
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield part
            with part.open("rb+") as stream:
                os.fsync(stream.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        other = error.filename not in (None, str(part)) and str(error.filename)
        raise InputError(
            f"{other or target}: {error.strerror or error}; {target} was not written and nothing was left behind"
        ) from error
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Makes the new name last over a power cut, where the system lets a folder be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(target: Path, text: str) -> None:
    """Writes a text file beside its place and renames it into place; a device or a pipe is written to directly.

    Raises:
        InputError: the file cannot be written.
    """
    if target.exists() and not target.is_file() and not target.is_dir():
        try:
            with target.open("w", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise InputError(f"{target}: {error.strerror or error}; give the name of another file") from None
        return
    with written_beside(target) as part:
        part.write_text(text, encoding="utf-8")


def refuse_no_file(target: Path) -> None:
    """Refuses to replace a folder or a device.

    Raises:
        InputError: something stands there that is no plain file.
    """
    if target.exists() and not target.is_file():
        raise InputError(f"{target}: not a file that can be written; give the name of a new file")


def refuse_no_place(target: Path) -> None:
    """Refuses a file before the work that it is for: no file can be made there.

    Raises:
        InputError: something else stands there, or its folder is not there or cannot be written to.
    """
    if str(target) == "-":
        raise InputError("-: a checkpoint is written to a file, not to stdout; give the file's name")
    refuse_no_file(target)
    folder = target.parent
    if not folder.is_dir():
        raise InputError(f"{target}: there is no folder {folder}; make it first, or give another name")
    if not target.exists() and not os.access(folder, os.W_OK):
        raise InputError(f"{target}: the folder {folder} cannot be written to; give another name")


def refuse_no_text(target: Path) -> None:
    """Refuses to write text where it would be taken for a checkpoint, or over a program that somebody else wrote.

    Raises:
        InputError: it has a checkpoint's ending, or is a Python file that does not begin as automatch's own do.
    """
    if target.exists() and not target.is_file() and not target.is_dir():
        return  # a device or a pipe
    refuse_no_place(target)
    if target.suffix.lower() in CHECKPOINTS:
        raise InputError(f"{target}: {target.suffix} is the ending of a checkpoint, and this is text; end it in .txt")
    if target.suffix == ".py" and target.exists() and _HEADER not in target.read_bytes():
        raise InputError(f"{target}: is there already, and automatch did not write it; give another name")


def refuse_same_file(source: Path, target: Path) -> None:
    """Refuses to write over the input, by whatever name.

    Raises:
        InputError: both paths are one file.
    """
    try:
        same = target.samefile(source)
    except (OSError, ValueError):  # one of the two is not there
        return
    if same:
        raise InputError(f"{target}: is the input itself; give the output another name")
