"""What a caller in Python gives as the path of a file."""

from __future__ import annotations

import os
from pathlib import Path

from automatch.errors import InputError


def path_of(value: object, role: str) -> Path:
    """The path that an argument names.

    Args:
        value: a text or a path.
        role: what the argument is called, for the error.

    Raises:
        InputError: it is neither, or no file can have such a name.
    """
    if not isinstance(value, (str, os.PathLike)):
        own = "; give its .rules" if role == "rules" and hasattr(value, "rules") else ""
        raise InputError(
            f"{role}: {type(value).__name__} is no path{own or '; give the name of a file as a text or a Path'}"
        )
    path = os.fspath(value)
    try:
        sound = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        sound = False
    if not sound:
        raise InputError(f"{role}: {path!r} cannot be the name of a file; give another one")
    return Path(os.fsdecode(path))
