"""Inert records: what a pickle describes, without anything of it having been imported, called or built.

Plain slotted classes, since a checkpoint asks for a hundred thousand of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from automatch.spec import Shape


@dataclass(slots=True, eq=False)
class Global:
    """A name that a pickle wants imported; it never is.

    Attributes:
        module: where the pickle would import it from.
        name: what it would take from there.
        describe: turns the arguments of a call into a record, for the few names whose meaning is known.
        harmless: whether reports need not mention it.
    """

    module: str
    name: str
    describe: Callable[[tuple[Any, ...]], object] | None = None
    harmless: bool = False

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """A call that a pickle asks for and nobody makes: REDUCE, NEWOBJ, OBJ, INST.

    Attributes:
        function: what it wants called; nearly always a `Global`.
        args: with which arguments.
        state: what BUILD would have handed to `__setstate__`.
        items: what SETITEMS would have stored (subclasses of dict).
        members: what APPENDS or ADDITEMS would have added (subclasses of list and set).
    """

    function: object
    args: tuple[Any, ...] = ()
    state: object = None
    items: dict[Any, Any] = field(default_factory=dict)
    members: list[Any] = field(default_factory=list)

    def __str__(self) -> str:
        return str(self.function) if isinstance(self.function, Global) else f"a {type(self.function).__name__}"

    def __repr__(self) -> str:
        """With its first plain arguments; others may hold it again, or share so much that writing them never ends."""
        args = [repr(arg) if type(arg) in (str, bytes, int, float) else "..." for arg in self.args[:4]]
        return f"{self}({', '.join(args)})"


@dataclass(slots=True, eq=False)
class StorageRecord:
    """A storage that a tensor is a view of.

    Attributes:
        key: tells it from the other storages of the file.
        dtype: torch's word for the type of its elements; "uint8" for an untyped one.
        itemsize: bytes of one element.
        numel: how many elements it says it has.
    """

    key: str
    dtype: str
    itemsize: int
    numel: int


@dataclass(slots=True, eq=False)
class TensorRecord:
    """A tensor as a pickle describes it.

    Attributes:
        shape: its sizes.
        dtype: torch's word, without the `torch.`.
        storage: equal for two tensors exactly if they show the same elements of one storage; None if it has none.
    """

    shape: Shape
    dtype: str
    storage: object = None


@dataclass(slots=True, eq=False)
class ArrayRecord(TensorRecord):
    """A NumPy array; its shape and dtype come with the BUILD after the call that makes it."""
