"""`torch.save` since 1.6: a zip archive with `data.pkl` and one record for each storage."""

from __future__ import annotations

from mmap import ACCESS_READ, mmap
from typing import Any

from automatch.errors import InputError, UnsafeInputError
from automatch.reading.nested import find_state_dicts
from automatch.reading.records import StorageRecord
from automatch.reading.safe_pickle import load_inert
from automatch.reading.source import Context, File, FileFormat, Found, listed, shown
from automatch.reading.torch_builders import storage_record
from automatch.reading.zip_directory import Directory, read_directory, read_member

PICKLE = "data.pkl"
SAVE_STATE_DICT = "save its state_dict instead: torch.save(model.state_dict(), FILE)"


def accepts(file: File) -> bool:
    """Whether it is a zip archive."""
    return file.head[:4] == b"PK\x03\x04" or file.head[:4] == b"PK\x05\x06"


def read(file: File, context: Context) -> Found:
    """Reads the pickle of the archive as data and compares each storage with its record.

    Raises:
        InputError: it is another kind of archive (TorchScript, .pt2, ...), encrypted or damaged.
        UnsafeInputError: archive, pickle and records contradict each other.
    """
    where = str(file.path)
    with file.path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
        directory = read_directory(data, where, context.limits)
        root = _root(directory, where)
        member = directory.members[root + PICKLE]
        stream_bytes, notes = read_member(data, member, where, context.limits.pickle_bytes, context.limits)
        order, _ = (
            read_member(data, directory.members[f"{root}byteorder"], where, 16, context.limits)
            if f"{root}byteorder" in directory.members
            else (b"little", ())
        )
    storages = _Storages(directory, root)
    pickled = load_inert(stream_bytes, f"{where}: {member.name}", context.limits, storages)
    if pickled.end != len(stream_bytes):
        raise UnsafeInputError(f"{where}: {len(stream_bytes) - pickled.end} bytes follow the pickle in {member.name}")
    if order.strip() == b"big":
        notes += ("saved on a big-endian machine",)
    candidates = find_state_dicts(pickled.value, where, context.limits, pickled.metadata)
    origin = "torch zip, pickle read as data"
    return Found(origin, candidates, (*directory.notes, *notes, *pickled.notes), opaque=pickled.opaque)


def _root(directory: Directory, where: str) -> str:
    """The folder in the archive that holds `data.pkl`, with its slash."""
    names = directory.members
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/" + PICKLE)]
    if not pickles:
        raise InputError(f"{where}: {_other_kind(directory)}")
    root = pickles[0].removesuffix(PICKLE)
    strangers = [name for name in names if not name.startswith(root)]
    if strangers:
        raise UnsafeInputError(
            f"{where}: the archive holds {shown(strangers[0])} beside {root}; it is not one checkpoint"
        )
    if f"{root}constants.pkl" in names and any(name.startswith(f"{root}code/") for name in names):
        raise InputError(f"{where}: a TorchScript archive, which carries code; {SAVE_STATE_DICT}")
    return root


def _other_kind(directory: Directory) -> str:
    names = list(directory.members)
    if not names:
        return "an empty zip archive"
    tails = {name.split("/", 1)[-1] for name in names}
    if tails & {"archive_format", "serialized_exported_program.json"}:
        return f"an exported program (.pt2), which carries code; {SAVE_STATE_DICT}"
    inside = [n for n in names if n.endswith((".safetensors", ".pt", ".pth", ".bin", ".ckpt"))]
    if inside:
        return f"a zip archive that holds {listed(list(map(shown, inside)), 3)}; unpack it and give that file"
    return f"a zip archive that is no torch checkpoint (it holds {listed(list(map(shown, names)), 3)})"


class _Storages:
    """Gives the record of a storage for its persistent id; each must have exactly one record of its size."""

    def __init__(self, directory: Directory, root: str) -> None:
        self._members = directory.members
        self._root = root
        self._known: dict[str, StorageRecord] = {}

    def __call__(self, pid: Any) -> StorageRecord:
        if type(pid) is not tuple or len(pid) != 5 or pid[0] != "storage" or type(pid[2]) is not str:
            raise ValueError("it refers to something outside that is no storage")
        _, kind, key, _, numel = pid
        record = storage_record(kind, key, numel)
        known = self._known.get(key)
        if known is not None:
            if (known.dtype, known.numel) != (record.dtype, record.numel):
                raise ValueError(f"storage {key[:40]!r} has two types or sizes")
            return known
        member = self._members.get(f"{self._root}data/{key}")
        if member is None:
            raise ValueError(f"storage {key[:40]!r} has no record in the archive")
        if member.size != record.numel * record.itemsize:
            raise ValueError(
                f"storage {key[:40]!r} should have {record.numel * record.itemsize} bytes, its record has {member.size}"
            )
        self._known[key] = record
        return record


FORMAT = FileFormat("torch zip", accepts, read)
