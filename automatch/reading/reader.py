"""Any source of keys and shapes -> `StateDictSpec`. No tensor data is read and nothing is executed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from automatch.collecting import paused
from automatch.errors import InputError, UnsafeInputError
from automatch.reading.checks import check_names, check_shapes
from automatch.reading.choosing import choose, escaped, split_at
from automatch.reading.formats import FILE_FORMATS, OBJECT_FORMATS
from automatch.reading.limits import DEFAULT_LIMITS, Limits
from automatch.reading.source import Context, File, FileFormat, Found, listed, open_file
from automatch.reading.unreadable import refusal
from automatch.spec import StateDictSpec

DEEPEST_PART = 2  # a folder, its index, a shard


def read_checkpoint(
    source: object,
    *,
    at: str | None = None,
    usual: str | None = None,
    like: StateDictSpec | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> StateDictSpec:
    r"""Describes a checkpoint: keys, shapes and dtypes in state_dict order.

    Args:
        source: a path; a `Mapping[str, Tensor]`, nested or not; a live `nn.Module`; or a `StateDictSpec`,
            which is returned as it is. The format of a file is told by its first bytes, not by its name.
        at: dotted path to the state_dict inside a nested checkpoint; a dot inside a key is written `\\.`.
        usual: the path that is meant without `at`, unless the source has but one dict, elsewhere.
        like: the other side; of several dicts in the file, the one that fits it best is chosen.
        limits: bounds on what a file may declare.

    Returns:
        The description; `at` says which dict of a nested checkpoint was chosen, `notes` name the others.

    Raises:
        InputError: nothing is there, or it is no checkpoint, or damaged.
        UnsafeInputError: it asks to run code where the state_dict should be, or its sizes cannot be true.
    """
    if isinstance(source, StateDictSpec):
        if at is not None and split_at(source.at)[: len(split_at(at))] != split_at(at):
            raise InputError(
                f"{source.name}: was read at {source.at!r} and holds nothing else; at={at!r} needs the file itself"
            )
        return source
    if isinstance(source, (str, os.PathLike)):
        name = os.fsdecode(source)
        found = _read_file(Path(name), limits)
    else:
        name = "state_dict" if isinstance(source, Mapping) else type(source).__name__
        found = _read_object(source, limits)
    return _described(found, name, at, usual, like, limits)


def format_of(path: Path) -> str:
    """The name of the format in which `read_checkpoint` reads a file ("safetensors", "torch zip"); "" if in none.

    Raises:
        InputError: the file cannot be opened.
    """
    format_ = _format(open_file(path))
    return format_.name if format_ else ""


def _read_file(path: Path, limits: Limits, level: int = 0) -> Found:
    if level > DEEPEST_PART:
        raise InputError(f"{path}: an index that leads to itself")
    context = Context(limits, lambda part: _read_file(part, limits, level + 1))
    file = open_file(path)
    format_ = _format(file)
    if format_ is None:
        raise InputError(refusal(file))
    with paused():
        found = format_.read(file, context)
    return found if found.files else replace(found, files=(str(path),))


def _format(file: File) -> FileFormat | None:
    return next((format_ for format_ in FILE_FORMATS if format_.accepts(file)), None)


def _read_object(source: object, limits: Limits) -> Found:
    context = Context(limits, lambda part: _read_file(part, limits))
    for format_ in OBJECT_FORMATS:
        if format_.accepts(source):
            return format_.read(source, context)
    what = f"the class {source.__name__}" if isinstance(source, type) else type(source).__name__
    raise InputError(f"{what} is no checkpoint; give a path, a mapping of names to tensors or an nn.Module")


def _described(
    found: Found, name: str, at: str | None, usual: str | None, like: StateDictSpec | None, limits: Limits
) -> StateDictSpec:
    if not found.candidates:
        if found.opaque:
            raise UnsafeInputError(
                f"{name}: instead of a state_dict it asks to call {listed(found.opaque)}; nothing was executed; "
                f"save the state_dict alone (torch.save(model.state_dict(), ...) or safetensors)"
            )
        raise InputError(f"{name}: {found.empty}; give a file that holds a state_dict")
    choice = choose(found, name, at, like, usual)
    chosen, notes = choice.candidate, choice.notes
    if chosen.odd_keys:
        raise InputError(
            f"{name}: key {chosen.odd_keys[0]} is not a string; every key of a state_dict is one "
            f"(rename it before saving, or choose another dict with --at)"
        )
    if not chosen.tensors:
        raise InputError(f"{name}: {found.empty}; give a file that holds a state_dict")
    if not chosen.checked:
        names = [t.key for t in chosen.tensors]
        check_names(names, name, limits)
        check_shapes(names, [t.shape for t in chosen.tensors], name, limits)
    if chosen.dropped:
        notes += (f"not tensors, left out: {listed(chosen.dropped)}",)
    notes = (*found.notes, *notes, *chosen.notes)
    place = escaped(chosen.path)
    return StateDictSpec(
        name=name,
        tensors=chosen.tensors,
        origin=found.origin,
        at=place,
        notes=notes,
        files=found.files,
        rivals=choice.rivals,
        beside=choice.beside,
        versions=chosen.versions,
    )
