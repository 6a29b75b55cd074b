"""What torch saved, loaded by its own safe loader, and the dict inside it that holds the tensors."""

from __future__ import annotations

import pickle
import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from automatch.applying.stand_in import StandIn
from automatch.errors import InputError, quoted
from automatch.reading import format_of, split_at

# The class or function in the text of torch's safe loader.
GLOBAL = re.compile(r"GLOBAL (?P<name>[\w.]+)")


def load_document(path: Path, whole: bool = True) -> Any:
    """Load a `.pt`, `.pth`, `.bin` or `.ckpt` file with `weights_only=True`; a zip is mapped, not read.

    Call it only for a file that the reading stage accepted: mapping checks no record sizes.

    Args:
        path: the file.
        whole: whether everything in it must be what was saved. If not, objects of classes that the safe loader does
            not know become inert stand-ins: nothing is imported, and the tensors can be had.

    Raises:
        InputError: the safe loader refuses it, because it names a class or is damaged.
    """
    import torch

    zipped = format_of(path) == "torch zip"
    mapped = zipped and _is_stored(path)
    try:
        with nullcontext() if whole or not zipped else _stand_ins(path):
            return torch.load(path, map_location="cpu", mmap=mapped, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        named = GLOBAL.search(str(error))
        reason = (
            f"it names {named['name']}, so a whole module or another object was pickled in it"
            if named
            else quoted(error, 200)
        )
        raise InputError(
            f"{path}: torch's safe loader (weights_only=True) refuses it: {reason}; where you trust the file, save its "
            f"state_dict alone (safetensors, or torch.save(checkpoint['state_dict'], ...)) and use that"
        ) from None


def _is_stored(path: Path) -> bool:
    """Whether no member is compressed: torch would map compressed bytes as if they were the weights."""
    try:
        with ZipFile(path) as archive:
            return all(member.compress_type == ZIP_STORED for member in archive.infolist())
    except BadZipFile as error:
        raise InputError(f"{path}: damaged zip archive ({error}); fetch it again") from None


def _stand_ins(path: Path) -> AbstractContextManager[None]:
    """Makes the safe loader take every class that the file names for one that does nothing (torch >= 2.6)."""
    from torch import serialization

    if not hasattr(serialization, "get_unsafe_globals_in_checkpoint"):
        return nullcontext()
    names = sorted(serialization.get_unsafe_globals_in_checkpoint(str(path)))
    # One class for each name: the loader tells them apart by identity.
    return serialization.safe_globals([(type("StandIn", (StandIn,), {}), name) for name in names])


def locate(document: Any, at: str, where: str) -> tuple[Any, ...]:
    """The keys or positions that lead to the dict at the dotted path of a `StateDictSpec`; () for the top.

    Raises:
        InputError: nothing stands there.
    """
    path: list[Any] = []
    for text in split_at(at):
        steps = range(len(document)) if isinstance(document, (list, tuple)) else list(document)
        step = next((step for step in steps if str(step) == text), None)
        if step is None:
            raise InputError(f"{where}: nothing stands at {at!r}; leave out --at to see which dicts there are")
        path.append(step)
        document = document[step]
    return tuple(path)


def at_path(document: Any, path: tuple[Any, ...]) -> Any:
    """What stands at the end of a path from `locate`."""
    for key in path:
        document = document[key]
    return document


def state_dict_at(document: Any, path: tuple[Any, ...]) -> Any:
    """The dict at the end of a path from `locate`; a list of tensors as the dict that it was read as."""
    found = at_path(document, path)
    return {str(i): value for i, value in enumerate(found)} if isinstance(found, (list, tuple)) else found
