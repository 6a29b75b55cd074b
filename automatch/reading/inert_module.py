"""Keys of a whole module that was pickled (`torch.save(model)`), from what stands for its parts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Protocol, TypeVar

from automatch.errors import UnsafeInputError
from automatch.reading.limits import DEFAULT_LIMITS, Limits

PARTS = ("_parameters", "_buffers", "_modules")


class Inert(Protocol):
    """What stands for an object whose class is not imported."""

    @property
    def state(self) -> object:
        """What the pickle would have handed to `__setstate__`."""

    @property
    def members(self) -> Collection[object]:
        """What it would hold if it were a set."""


AnyInert = TypeVar("AnyInert", bound=Inert)


def is_inert_module(value: Inert) -> bool:
    """Whether it carries what every `nn.Module` carries."""
    state = _state(value)
    return all(isinstance(state.get(part), dict) for part in PARTS)


def module_entries(
    module: AnyInert, kind: type[AnyInert], where: str, limits: Limits = DEFAULT_LIMITS
) -> Iterator[tuple[str, Any, str]]:
    """Key, value and kind of each entry that `state_dict()` of the module would have, in its order.

    Args:
        module: what `is_inert_module` accepts.
        kind: the class of what stands for submodules and sets.
        where: names the source in errors.
        limits: how many submodules there may be, and how deep.

    Raises:
        UnsafeInputError: the submodules contain themselves or are more than the limits allow.
    """
    waiting: list[tuple[str, AnyInert, int]] = [("", module, 0)]
    visited = 0
    while waiting:
        prefix, current, depth = waiting.pop()
        visited += 1
        if visited > limits.tensors or depth > limits.depth:
            raise UnsafeInputError(f"{where}: the pickled module {module} contains itself or too many submodules")
        state = _state(current)
        for name, value in state["_parameters"].items():
            yield f"{prefix}{name}", value, "parameter"
        hidden = state.get("_non_persistent_buffers_set")
        hidden = hidden.members if isinstance(hidden, kind) else hidden
        hidden = hidden if isinstance(hidden, (list, tuple, set, frozenset, dict)) else ()
        for name, value in state["_buffers"].items():
            if name not in hidden:
                yield f"{prefix}{name}", value, "buffer"
        children = [
            (f"{prefix}{name}.", child, depth + 1)
            for name, child in state["_modules"].items()
            if isinstance(child, kind) and is_inert_module(child)
        ]
        waiting.extend(reversed(children))


def _state(value: Inert) -> dict[str, Any]:
    """The attributes of a pickled object; `__slots__` beside them are of no interest."""
    state = value.state[0] if isinstance(value.state, tuple) and value.state else value.state
    return state if isinstance(state, dict) else {}
