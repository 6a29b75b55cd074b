"""`*.npz`: NumPy arrays by name in a zip archive; only their headers are read.

Source: `numpy.lib.format`, versions 1.0 to 3.0.
"""

from __future__ import annotations

import ast
import re
from mmap import ACCESS_READ, mmap

from automatch.errors import InputError
from automatch.reading.checks import check_names, check_shapes, make_specs
from automatch.reading.source import Candidate, Context, File, FileFormat, Found, listed, shown
from automatch.reading.zip_directory import read_directory, read_start

MAGIC = b"\x93NUMPY"
START_BYTES = 12_288
DTYPE = re.compile(r"[<>|=]?(?P<kind>[fiuc])(?P<size>\d{1,2})|\|b1")
KINDS = {"f": "float", "i": "int", "u": "uint", "c": "complex"}


def accepts(file: File) -> bool:
    """Whether it is a zip archive whose first member is an array."""
    length = int.from_bytes(file.head[26:28], "little")
    return file.head[:4] == b"PK\x03\x04" and file.head[30 : 30 + length].endswith(b".npy")


def read(file: File, context: Context) -> Found:
    """Reads the header of every array.

    Raises:
        InputError: an array is damaged.
    """
    where = str(file.path)
    names, shapes, dtypes, dropped = [], [], [], []
    with file.path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
        directory = read_directory(data, where, context.limits)
        for member in directory.members.values():
            name = member.name.removesuffix(".npy")
            shape, dtype = _header(read_start(data, member, where, START_BYTES), f"{where}: array {shown(name)}")
            if dtype is None:
                dropped.append(name)
                continue
            names.append(name)
            shapes.append(shape)
            dtypes.append(dtype)
    check_names(names, where, context.limits)
    check_shapes(names, shapes, where, context.limits)
    notes = directory.notes + ((f"not numbers, left out: {listed(dropped)}",) if dropped else ())
    candidates = (Candidate((), make_specs(names, shapes, dtypes), checked=True),) if names else ()
    return Found("NumPy archive, headers only", candidates, notes)


def _header(start: bytes, what: str) -> tuple[tuple[int, ...], str | None]:
    """Shape and dtype of one array; no dtype for text, objects and structures."""
    width = 2 if start[6:7] == b"\x01" else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    header = start[8 + width : 8 + width + length]
    if not start.startswith(MAGIC) or len(header) != length:
        raise InputError(f"{what} is damaged; save or fetch the file again")
    try:
        fields = ast.literal_eval(header.decode("utf-8").strip())
        shape, descr = fields["shape"], fields["descr"]
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError):
        raise InputError(f"{what} has a damaged header; save or fetch the file again") from None
    if not isinstance(shape, tuple):
        raise InputError(f"{what} has no shape; save or fetch the file again")
    match = DTYPE.fullmatch(descr) if isinstance(descr, str) else None
    if match is None:
        return (), None
    return shape, f"{KINDS[match['kind']]}{int(match['size']) * 8}" if match["kind"] else "bool"


FORMAT = FileFormat("NumPy archive", accepts, read)
