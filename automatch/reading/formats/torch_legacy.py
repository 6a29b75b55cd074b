"""`torch.save` before 1.6: five pickles one after the other, then the raw storages.

The pickles are a magic number, the protocol, facts about the machine, the object, and the list of
storage keys; then each storage as its number of elements (8 bytes) and its data.
Source: `_legacy_save` in torch/serialization.py.
"""

from __future__ import annotations

from mmap import ACCESS_READ, mmap
from typing import Any

from automatch.errors import InputError, UnsafeInputError
from automatch.reading.nested import find_state_dicts
from automatch.reading.records import Global, StorageRecord
from automatch.reading.safe_pickle import Pickled, load_inert
from automatch.reading.source import Context, File, FileFormat, Found
from automatch.reading.torch_builders import storage_record

MAGIC = 0x1950A86A20F9469CFC6C
MAGIC_BYTES = b"\x8a\x0a" + MAGIC.to_bytes(10, "little")
PROTOCOL = 1001
COUNT_BYTES = 8


def accepts(file: File) -> bool:
    """Whether the first pickle holds the magic number."""
    return file.head[:1] == b"\x80" and MAGIC_BYTES in file.head[:32]


def read(file: File, context: Context) -> Found:
    """Reads the five pickles as data and checks that the storages behind them fill the file.

    Raises:
        InputError: a pickle is damaged or the file is truncated.
        UnsafeInputError: pickles and storages contradict each other.
    """
    where = str(file.path)
    storages = _Storages()
    with file.path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
        magic = load_inert(data, where, context.limits)
        protocol = load_inert(data, where, context.limits, start=magic.end)
        machine = load_inert(data, where, context.limits, start=protocol.end)
        if magic.value != MAGIC or type(magic.value) is not int or protocol.value != PROTOCOL:
            raise InputError(f"{where}: not a torch file of a known version; save it again with a current torch")
        pickled = load_inert(data, where, context.limits, storages, start=machine.end)
        keys = load_inert(data, where, context.limits, start=pickled.end)
        end = _check_storages(data, keys, storages.roots, where)
        trailing = len(data) - end
    notes = []
    if trailing:
        notes.append(f"{trailing} bytes follow the last storage")
    if isinstance(machine.value, dict) and machine.value.get("little_endian") is False:
        notes.append("saved on a big-endian machine")
    candidates = find_state_dicts(pickled.value, where, context.limits, pickled.metadata)
    return Found("torch legacy file, pickle read as data", candidates, (*notes, *pickled.notes), opaque=pickled.opaque)


def _check_storages(data: mmap, keys: Pickled, roots: dict[str, StorageRecord], where: str) -> int:
    """Walks over the storages from their declared sizes; returns the position behind the last one."""
    if not isinstance(keys.value, list) or any(type(key) is not str for key in keys.value):
        raise InputError(f"{where}: the list of storages is damaged; save or fetch the file again")
    listed_keys = set(keys.value)
    if len(listed_keys) != len(keys.value) or listed_keys != set(roots):
        raise UnsafeInputError(f"{where}: the storages that are listed are not those that the tensors use")
    position = keys.end
    for key in keys.value:
        record = roots[key]
        count = int.from_bytes(data[position : position + COUNT_BYTES], "little", signed=True)
        size = record.numel * record.itemsize
        if position + COUNT_BYTES + size > len(data):
            raise InputError(f"{where}: the file ends inside the data of its tensors; it is truncated, fetch it again")
        if count != record.numel:
            raise UnsafeInputError(f"{where}: a storage says {count} elements but its tensors say {record.numel}")
        position += COUNT_BYTES + size
    return position


class _Storages:
    """Gives the record of a storage for its persistent id, and remembers the whole storages that they are part of."""

    def __init__(self) -> None:
        self.roots: dict[str, StorageRecord] = {}

    def __call__(self, pid: Any) -> StorageRecord | Global:
        if type(pid) is not tuple or not pid or type(pid[0]) not in (str, bytes):
            raise ValueError("it refers to something outside that is no storage")
        if pid[0] in ("module", b"module") and len(pid) == 4 and isinstance(pid[1], Global):
            return pid[1]  # the class of a whole module, saved beside its source text
        if pid[0] not in ("storage", b"storage") or len(pid) not in (5, 6) or type(pid[2]) is not str:
            raise ValueError("it refers to something outside that is no storage")
        kind, key, _, numel, *view = pid[1:]
        root = storage_record(kind, key, numel)
        known = self.roots.setdefault(key, root)
        if (known.dtype, known.numel) != (root.dtype, root.numel):
            raise ValueError(f"storage {key[:40]!r} has two types or sizes")
        return _part(known, view[0]) if view and view[0] is not None else known


def _part(root: StorageRecord, view: Any) -> StorageRecord:
    """A storage that is a slice of another: `(key, offset, size)`."""
    if type(view) is not tuple or len(view) != 3 or any(type(n) is not int or n < 0 for n in view[1:]):
        raise ValueError("a view of a storage is not described as one")
    if view[1] + view[2] > root.numel:
        raise ValueError("a view reaches beyond its storage")
    return StorageRecord(f"{root.key}:{view[1]}:{view[2]}", root.dtype, root.itemsize, view[2])


FORMAT = FileFormat("torch legacy", accepts, read)
