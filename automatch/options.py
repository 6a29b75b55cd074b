"""Options of the wrong kind are refused before anything is read."""

from __future__ import annotations

from typing import get_args

from automatch.errors import InputError
from automatch.matching.engine import By


def check_options(by: object, at: object) -> None:
    """Refuse options of the wrong kind.

    Raises:
        InputError: names the option.
    """
    if by not in get_args(By):
        raise InputError(f"by={by!r}: choose one of {', '.join(map(repr, get_args(By)))}")
    if at is not None and not isinstance(at, str):
        raise InputError(f"at={at!r}: give the dotted path to the state_dict as a text, such as 'ema.model'")
