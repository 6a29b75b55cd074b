"""Makes files that ask to run code, or lie; none of them is kept on disk."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
PROTOCOL = pickle.dumps(1001, protocol=2)
MACHINE = pickle.dumps({"little_endian": True}, protocol=2)
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    b"X\x03\x00\x00\x00cpuK\x02tQK\x00K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR"
)
DATA = bytes(8)


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def short(value: str) -> bytes:
    data = value.encode()
    return b"\x8c" + bytes((len(data),)) + data


def write_zip(path: Path, pickled: bytes, **members: bytes) -> Path:
    """A torch zip around a pickle; `members` are further records, `data_0` is the storage "0"."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", b"3\n")
        for name, data in {"data_0": DATA, **members}.items():
            archive.writestr(f"archive/{name.replace('_', '/')}", data)
    return path


def write_legacy(path: Path, pickled: bytes) -> Path:
    keys = [b for b in (b"0",) if TENSOR in pickled]
    tail = pickle.dumps([k.decode() for k in keys], protocol=2)
    storages = b"".join(struct.pack("<q", 2) + DATA for _ in keys)
    legacy = pickled.replace(b"X\x03\x00\x00\x00cpuK\x02tQ", b"X\x03\x00\x00\x00cpuK\x02NtQ")
    path.write_bytes(MAGIC + PROTOCOL + MACHINE + legacy + tail + storages)
    return path


def write_plain(path: Path, pickled: bytes) -> Path:
    path.write_bytes(pickled)
    return path


WRITERS = {"zip": write_zip, "legacy": write_legacy, "pickle": write_plain}


def calls(command: str) -> dict[str, bytes]:
    """Every way in which a pickle can ask for `os.system(command)` or the like; each leaves one value."""
    argument = text(command)
    code = f"open({command.split()[-1]!r}, 'w').close()"
    return {
        "REDUCE": b"cos\nsystem\n" + argument + b"\x85R",
        "STACK_GLOBAL": short("os") + short("system") + b"\x93" + argument + b"\x85R",
        "INST": b"(" + argument + b"ios\nsystem\n",
        "OBJ": b"(cos\nsystem\n" + argument + b"o",
        "NEWOBJ": b"csubprocess\nPopen\n" + argument + b"\x85\x81",
        "NEWOBJ_EX": b"csubprocess\nPopen\n" + argument + b"\x85}\x92",
        "BUILD": b"cos\n_wrap_close\n)\x81}" + text("x") + argument + b"sb",
        "builtins.eval": b"cbuiltins\neval\n" + text(code) + b"\x85R",
        "builtins.exec of Python 2": b"c__builtin__\nexec\n" + text(code) + b"\x85R",
        "pkgutil.resolve_name": b"cpkgutil\nresolve_name\n" + text("os:system") + b"\x85R" + argument + b"\x85R",
        "nested load": b"ctorch.storage\n_load_from_bytes\n" + argument + b"\x85R",
        "type through a tensor builder": b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\ncos\nsystem\n"
        + argument
        + b"\x85NtR",
        "inside a parameter": b"ctorch._utils\n_rebuild_parameter\n(cos\nsystem\n" + argument + b"\x85R\x89NtR",
        "default factory": b"ccollections\ndefaultdict\n(cos\nsystem\n" + argument + b"\x85RtR",
        "called, then thrown away": b"(cos\nsystem\n" + argument + b"o0}",
    }
