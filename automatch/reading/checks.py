"""Checks that every file format makes on keys and shapes, done on whole columns so that they stay cheap."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from math import prod
from typing import Any, NoReturn

from automatch.errors import InputError, UnsafeInputError
from automatch.reading.limits import Limits
from automatch.reading.source import shown
from automatch.spec import Shape, TensorSpec

LARGEST = 2**63


def parse_json(text: str | bytes, where: str, pairs_hook: type[tuple[Any, ...]] | None = None) -> Any:
    """Parses JSON that nobody vouches for.

    Args:
        text: the document, UTF-8 if bytes.
        where: names it in errors.
        pairs_hook: `tuple` turns each object into a tuple of (key, value), which keeps duplicates visible.

    Raises:
        InputError: it is not JSON by the letter (NaN and Infinity are refused), or nested too deeply.
    """

    def refuse(constant: str) -> NoReturn:
        raise InputError(f"{where}: {constant} is not a number of JSON")

    try:
        return json.loads(
            text.decode("utf-8") if isinstance(text, bytes) else text,
            object_pairs_hook=pairs_hook,
            parse_constant=refuse,
        )
    except RecursionError:
        raise UnsafeInputError(f"{where}: nested too deeply to be a checkpoint") from None
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON ({error})") from None


def check_names(names: Sequence[object], where: str, limits: Limits) -> None:
    """Refuses keys that are not strings, too long, not encodable or there twice.

    Raises:
        InputError: names the first such key.
    """
    if set(map(type, names)) - {str}:
        odd = next(name for name in names if type(name) is not str)
        raise InputError(f"{where}: key {shown(odd)} is not a string; every key of a state_dict is one")
    if len(names) > limits.tensors:
        raise UnsafeInputError(
            f"{where}: {len(names)} keys are more than the limit of {limits.tensors} (limit tensors)"
        )
    texts: Sequence[str] = names  # type: ignore[assignment]  # checked above
    if len(set(texts)) != len(texts):
        raise InputError(f"{where}: key {shown(_first_twice(texts))} is there twice")
    if len(max(texts, key=len, default="")) * 4 > limits.name_bytes:
        for name in texts:
            if len(name.encode("utf-8", "surrogatepass")) > limits.name_bytes:
                raise UnsafeInputError(f"{where}: key {shown(name)} is longer than {limits.name_bytes} bytes")
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError:
        odd = next(name for name in texts if any("\ud800" <= c <= "\udfff" for c in name))
        raise InputError(f"{where}: key {shown(odd)} is not valid Unicode") from None


def _first_twice(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""


def check_shapes(names: Sequence[str], shapes: Sequence[Shape], where: str, limits: Limits) -> None:
    """Refuses sizes that are not whole numbers >= 0, too many dimensions and sizes that overflow.

    Raises:
        UnsafeInputError: names the first key whose shape cannot be true.
    """
    whole = set(map(type, chain.from_iterable(shapes))) <= {int}
    if whole and all(_plausible(shape, limits.rank) for shape in set(shapes)):
        return
    for name, shape in zip(names, shapes, strict=True):
        if set(map(type, shape)) - {int} or not _plausible(shape, limits.rank):
            raise UnsafeInputError(f"{where}: key {shown(name)} has shape {shown(list(shape))}, which cannot be true")


def _plausible(shape: Shape, rank: int) -> bool:
    return not shape or (len(shape) <= rank and min(shape) >= 0 and prod(d for d in shape if d) < LARGEST)


def make_specs(names: Sequence[str], shapes: Sequence[Shape], dtypes: Sequence[str]) -> tuple[TensorSpec, ...]:
    """One `TensorSpec` for each row of three columns that were checked before."""
    rows = zip(names, shapes, dtypes, repeat(None), repeat(None))
    return tuple(map(tuple.__new__, repeat(TensorSpec), rows))  # `TensorSpec._make`, without a call for each row
