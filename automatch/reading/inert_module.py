"""Keys of a whole module that was pickled (`torch.save(model)`), from the inert records of its parts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from automatch.errors import UnsafeInputError
from automatch.reading.limits import Limits
from automatch.reading.records import Call, TensorRecord

PARTS = ("_parameters", "_buffers", "_modules")


def is_inert_module(call: Call) -> bool:
    """Whether the record carries what every `nn.Module` carries."""
    state = _state(call)
    return all(isinstance(state.get(part), dict) for part in PARTS)


def module_entries(module: Call, where: str, limits: Limits) -> Iterator[tuple[str, TensorRecord, str]]:
    """Key, tensor and kind of each entry that `state_dict()` of the module would have, in its order.

    Raises:
        UnsafeInputError: the submodules contain themselves or are more than the limits allow.
    """
    waiting: list[tuple[str, Call, int]] = [("", module, 0)]
    visited = 0
    while waiting:
        prefix, current, depth = waiting.pop()
        visited += 1
        if visited > limits.tensors or depth > limits.depth:
            raise UnsafeInputError(f"{where}: the pickled module {module} contains itself or too many submodules")
        state = _state(current)
        for name, value in state["_parameters"].items():
            if isinstance(value, TensorRecord):
                yield f"{prefix}{name}", value, "parameter"
        hidden = _names(state.get("_non_persistent_buffers_set"))
        for name, value in state["_buffers"].items():
            if isinstance(value, TensorRecord) and name not in hidden:
                yield f"{prefix}{name}", value, "buffer"
        children = [
            (f"{prefix}{name}.", child, depth + 1)
            for name, child in state["_modules"].items()
            if isinstance(child, Call) and is_inert_module(child)
        ]
        waiting.extend(reversed(children))


def _state(call: Call) -> dict[Any, Any]:
    """The attributes of a pickled object; `__slots__` beside them are of no interest."""
    state = call.state[0] if isinstance(call.state, tuple) and call.state else call.state
    return state if isinstance(state, dict) else {}


def _names(value: object) -> Collection[object]:
    if isinstance(value, Call):
        return value.members
    return value if isinstance(value, (list, tuple, dict)) else ()
