"""Options of the wrong kind, and a file that is not there, are refused before anything takes time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

from automatch.errors import InputError
from automatch.matching.engine import By
from automatch.reading.source import open_file


def check_options(by: object, at: object, source: object = None) -> None:
    """Refuse options of the wrong kind, and a source that is no file, before a model is built for it.

    Raises:
        InputError: names the option or the file.
    """
    if isinstance(source, (str, os.PathLike)):
        open_file(Path(os.fsdecode(source)))
    if by not in get_args(By):
        raise InputError(f"by={by!r}: choose one of {', '.join(map(repr, get_args(By)))}")
    if at is not None and not isinstance(at, str):
        raise InputError(f"at={at!r}: give the dotted path to the state_dict as a text, such as 'ema.model'")
