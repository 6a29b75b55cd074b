"""What takes the place of objects whose classes are not imported, and the tensors of a whole module among them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

PARTS = ("_parameters", "_buffers", "_modules")


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


def tensors_of(value: Any) -> Any:
    """The tensors of a module that was pickled whole, under the keys that its `state_dict()` would have.

    Args:
        value: what the safe loader gave; anything but such a module is returned as it is.
    """
    return dict(_entries(value)) if _is_module(value) else value


def _entries(module: StandIn) -> Iterator[tuple[str, Any]]:
    """Key and tensor of each entry, in the order of a state_dict."""
    waiting: list[tuple[str, StandIn]] = [("", module)]
    while waiting:
        prefix, current = waiting.pop()
        state = _state(current)
        hidden = _names(state.get("_non_persistent_buffers_set"))
        yield from ((f"{prefix}{name}", t) for name, t in state["_parameters"].items() if t is not None)
        yield from (
            (f"{prefix}{name}", t) for name, t in state["_buffers"].items() if t is not None and name not in hidden
        )
        children = [(f"{prefix}{name}.", child) for name, child in state["_modules"].items() if _is_module(child)]
        waiting.extend(reversed(children))


def _is_module(value: object) -> bool:
    """Whether it carries what every `nn.Module` carries."""
    return isinstance(value, StandIn) and all(isinstance(_state(value).get(part), Mapping) for part in PARTS)


def _state(value: StandIn) -> Mapping[str, Any]:
    """The attributes that were stored; `__slots__` beside them are of no interest."""
    state = value.state[0] if isinstance(value.state, tuple) and value.state else value.state
    return state if isinstance(state, Mapping) else {}


def _names(value: object) -> Collection[object]:
    """The members of a set, which may be a stand-in itself."""
    if isinstance(value, StandIn):
        value = value.args[0] if value.args else ()
    return value if isinstance(value, (list, tuple, set, frozenset)) else ()
