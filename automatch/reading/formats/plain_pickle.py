"""A pickle that torch did not write: arrays or plain values by name (Detectron2's model zoo, old scripts)."""

from __future__ import annotations

import re
from mmap import ACCESS_READ, mmap

from automatch.errors import UnsafeInputError
from automatch.reading.nested import find_state_dicts
from automatch.reading.pickle_values import HIGHEST_PROTOCOL
from automatch.reading.safe_pickle import load_inert
from automatch.reading.source import Context, File, FileFormat, Found

# protocols 0 and 1 have no mark of their own; a dict, a list, a call or an object at the start gives them away
OLD_START = re.compile(rb"c[\w.]+\n[\w.]+\n|\([dl]p\d+\n|\(?[dl]?[}\]]?q.|\([ci][\w.]+\n[\w.]+\n", re.DOTALL)


def accepts(file: File) -> bool:
    """Whether it starts like a pickle."""
    if file.head[:1] == b"\x80":
        return file.head[1:2] <= bytes((HIGHEST_PROTOCOL,))
    return OLD_START.match(file.head) is not None


def read(file: File, context: Context) -> Found:
    """Reads the pickle as data.

    Raises:
        InputError: it is damaged.
        UnsafeInputError: more follows behind it.
    """
    where = str(file.path)
    with file.path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
        pickled = load_inert(data, where, context.limits)
        trailing = len(data) - pickled.end
    if trailing:
        raise UnsafeInputError(f"{where}: {trailing} bytes follow the pickle; another file hides there")
    candidates = find_state_dicts(pickled.value, where, context.limits, pickled.metadata)
    return Found("pickle, read as data", candidates, pickled.notes, opaque=pickled.opaque)


FORMAT = FileFormat("pickle", accepts, read)
