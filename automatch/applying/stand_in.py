"""What takes the place of objects whose classes are not imported, and the tensors of a whole module among them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from automatch.reading.inert_module import is_inert_module, module_entries


class StandIn:
    """Takes the place of an object whose class is not imported; keeps what was stored for it and does nothing."""

    def __init__(self, *_: object) -> None:
        """Takes whatever the real class takes."""

    def __new__(cls, *args: object) -> StandIn:
        """Made from any arguments, which it keeps."""
        made = super().__new__(cls)
        made.args = args
        made.state = None
        return made

    args: tuple[object, ...]
    state: object

    def __setstate__(self, state: object) -> None:
        """Keeps the state as data."""
        self.state = state

    @property
    def members(self) -> Collection[object]:
        """What it was made from, if that is a collection, as for a set."""
        first = self.args[0] if self.args else ()
        return first if isinstance(first, (list, tuple, set, frozenset)) else ()


def tensors_of(value: Any, where: str) -> Any:
    """The tensors of a module that was pickled whole, under the keys that its `state_dict()` would have.

    Args:
        value: what the safe loader gave; anything but such a module is returned as it is.
        where: names the file in errors.
    """
    if not isinstance(value, StandIn) or not is_inert_module(value):
        return value
    return {key: tensor for key, tensor, _ in module_entries(value, StandIn, where) if tensor is not None}
