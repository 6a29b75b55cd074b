"""Finds every dict inside a source that holds tensors, by an iterative walk that visits each container once.

A list of nothing but tensors is one whose keys are the positions: so averaged parameters are saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from automatch.errors import UnsafeInputError
from automatch.module_versions import ATTRIBUTE, Versions, plain_versions
from automatch.reading.inert_module import is_inert_module, module_entries
from automatch.reading.limits import Limits
from automatch.reading.records import Call, TensorRecord
from automatch.reading.source import Candidate, shown
from automatch.reading.torch_words import dtype_of, is_module, is_tensor, shape_of, storage_of, with_ties
from automatch.spec import TensorSpec

Path = tuple[str, ...]
OPTIMIZER_KEYS = frozenset(("state", "param_groups"))


class Kind(Enum):
    """What the walk does with a value; decided by its type alone, so that it is looked up once per type."""

    TENSOR = "described"
    CONTAINER = "walked"
    OTHER = "left out"


def find_state_dicts(
    root: object, where: str, limits: Limits, metadata: Iterable[tuple[object, object]] = ()
) -> tuple[Candidate, ...]:
    """Every dict (or module) in `root` that holds tensors directly, outermost first.

    The state of an optimizer (`state` beside `param_groups`) is reported as such and not looked into.

    Args:
        root: dicts, lists, tuples, tensors or records of them, modules or records of them.
        where: names the source in errors.
        limits: how deep and how large it may be.
        metadata: dicts in `root` that come from a pickle which hangs a `_metadata` on them, each with that.

    Raises:
        UnsafeInputError: nested deeper than the limit.
        InputError: a tensor has no shape.
    """
    found: list[Candidate] = []
    versions = {id(value): said for value, said in metadata}
    kinds: dict[type, Kind] = {}
    seen: dict[int, object] = {}  # holds the values, so that no id is used twice
    waiting: list[tuple[Path, object]] = [((), root)]
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if len(path) > limits.depth:
            raise UnsafeInputError(f"{where}: nested deeper than {limits.depth} containers (limit depth)")
        if isinstance(value, Call) and is_inert_module(value):
            found += _inert_candidate(path, value, where, limits)
            continue
        if isinstance(value, Mapping) and value.keys() >= OPTIMIZER_KEYS:
            found.append(Candidate(path, (), is_optimizer=True))
            continue
        holder = _holder(value)
        entries = list(_entries(holder))
        for _, child in entries:
            if type(child) not in kinds:
                kinds[type(child)] = _kind(child)
        if isinstance(value, (list, tuple)) and any(kinds[type(child)] is not Kind.TENSOR for _, child in entries):
            # beside other things tensors in a list are no state_dict: only what may hold named ones is of interest
            entries = [(key, child) for key, child in entries if kinds[type(child)] is Kind.CONTAINER]
        said = versions.get(id(value)) or getattr(holder, ATTRIBUTE, None)
        found += _candidate(path, entries, kinds, plain_versions(said))
        inside = [((*path, str(key)), child) for key, child in entries if kinds[type(child)] is Kind.CONTAINER]
        waiting.extend(reversed(inside))
    return tuple(found)


def _kind(value: object) -> Kind:
    if isinstance(value, TensorRecord) or is_tensor(value):
        return Kind.TENSOR
    if isinstance(value, (Mapping, list, tuple, Call)) or is_module(value):
        return Kind.CONTAINER
    return Kind.OTHER


def _holder(value: Any) -> Any:
    """What has the entries of a container, and perhaps a `_metadata`: the state_dict of a module, else itself."""
    return value.state_dict(keep_vars=True) if not isinstance(value, Mapping) and is_module(value) else value


def _entries(value: Any) -> Iterable[tuple[Any, Any]]:
    """Keys and values of a container; positions count as keys of a list."""
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, Call):
        return value.items.items()
    if isinstance(value, (list, tuple)):
        return ((str(i), child) for i, child in enumerate(value))
    return ()


def _candidate(
    path: Path, entries: list[tuple[Any, Any]], kinds: dict[type, Kind], versions: Versions
) -> Iterator[Candidate]:
    named = [(key, value) for key, value in entries if kinds[type(value)] is Kind.TENSOR]
    if not named:
        return
    tensors = [TensorSpec(key, shape_of(value, key), dtype_of(value)) for key, value in named if type(key) is str]
    storages = [storage_of(value) for key, value in named if type(key) is str]
    yield Candidate(
        path,
        with_ties(tensors, storages),
        dropped=tuple(str(key) for key, value in entries if kinds[type(value)] is not Kind.TENSOR),
        odd_keys=tuple(shown(key) for key, _ in named if type(key) is not str),
        versions=versions,
    )


def _inert_candidate(path: Path, module: Call, where: str, limits: Limits) -> Iterator[Candidate]:
    entries = [entry for entry in module_entries(module, Call, where, limits) if isinstance(entry[1], TensorRecord)]
    tensors = [TensorSpec(key, record.shape, record.dtype, kind) for key, record, kind in entries]
    if tensors:
        note = (
            f"a whole module ({module}) was pickled; its keys are taken from its parameters, buffers and "
            f"submodules as recorded, without running its code"
        )
        yield Candidate(path, with_ties(tensors, [storage_of(record) for _, record, _ in entries]), notes=(note,))
