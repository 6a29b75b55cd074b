"""Reads a pickle as data: an interpreter of its instructions that imports nothing and calls nothing.

What the pickle wants imported becomes a `Global`, what it wants called a `Call`; only the tensor
builders of `torch_builders` have a meaning. There is no way from here to `pickle.load` or `eval`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap
from typing import Any

from automatch.errors import InputError, UnsafeInputError
from automatch.reading.limits import Limits
from automatch.reading.pickle_machine import Machine
from automatch.reading.pickle_opcodes import HANDLERS
from automatch.reading.source import listed

STOP = 0x2E
CHECK_EVERY = 4096
FAULTS = (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error)


@dataclass(frozen=True)
class Pickled:
    """One pickle that was read.

    Attributes:
        value: dicts, lists, texts, numbers and records.
        end: position behind its last byte.
        opaque: names that it wants imported and that mean nothing to us, in order of appearance.
        metadata: dicts of it on which it hangs a `_metadata`, each with that.
    """

    value: object
    end: int
    opaque: tuple[str, ...] = ()
    metadata: tuple[tuple[dict[Any, Any], object], ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence that names what is opaque, if anything is."""
        if not self.opaque:
            return ()
        return (f"the pickle names {listed(self.opaque)}; nothing of it was imported or executed",)


def no_persistent_ids(pid: object) -> object:
    """For pickles that may not refer to anything outside."""
    raise ValueError("it refers to a storage where none can be")


def load_inert(
    data: bytes | mmap,
    where: str,
    limits: Limits,
    persistent: Callable[[Any], object] = no_persistent_ids,
    start: int = 0,
) -> Pickled:
    """Reads one pickle.

    Args:
        data: the stream; may hold more behind the pickle.
        where: names it in errors.
        limits: how many instructions and values it may have.
        persistent: gives the record for a persistent id; raises ValueError for one that it does not know.
        start: position of the first byte.

    Raises:
        InputError: it is damaged.
        UnsafeInputError: it goes beyond a limit.
    """
    size = min(len(data), start + limits.pickle_bytes)
    machine = Machine(data, start, size, size, persistent, limits.depth, limits.copied)
    try:
        for _ in range(-(-limits.opcodes // CHECK_EVERY)):
            if _run(machine):
                value = machine.stack.pop()
                opaque = tuple(str(g) for g in machine.globals.values() if not g.harmless)
                return Pickled(value, machine.pos, opaque, tuple(machine.metadata.values()))
            if len(machine.stack) + sum(map(len, machine.marks)) > limits.stack:
                raise UnsafeInputError(
                    f"{where}: the pickle needs more than {limits.stack} values at once (limit stack)"
                )
            if len(machine.memo) > limits.memo:
                raise UnsafeInputError(f"{where}: the pickle numbers more than {limits.memo} values (limit memo)")
    except FAULTS as error:
        if machine.pos >= size < len(data):
            raise UnsafeInputError(f"{where}: the pickle is longer than {limits.pickle_bytes} bytes") from None
        reason = str(error)[:200] if type(error) is ValueError else "an instruction has nothing to work on"
        raise InputError(
            f"{where}: damaged pickle: {reason} (at byte {machine.pos - start}); save or fetch the file again"
        ) from None
    raise UnsafeInputError(f"{where}: the pickle has more than {limits.opcodes} instructions (limit opcodes)")


def _run(machine: Machine) -> bool:
    """Runs up to `CHECK_EVERY` instructions; returns whether STOP was reached."""
    data, handlers = machine.data, HANDLERS
    for _ in range(CHECK_EVERY):
        pos = machine.pos
        if pos >= machine.end:
            if machine.end == machine.size:
                raise ValueError("it ends too early")
            machine.end = machine.size
        code = data[pos]
        machine.pos = pos + 1
        if code == STOP:
            if machine.marks or len(machine.stack) != 1 or (machine.end != machine.size and machine.pos != machine.end):
                raise ValueError("it stops before it is complete")
            return True
        handlers[code](machine)
    return False
