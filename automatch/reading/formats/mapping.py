"""A state_dict in memory, or a nested checkpoint as `torch.load` returns it; a list of tensors as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automatch.reading.nested import find_state_dicts
from automatch.reading.source import Context, Found, ObjectFormat
from automatch.reading.torch_words import is_tensor


def accepts(source: object) -> bool:
    """Whether it is a mapping, or a list of nothing but tensors."""
    return isinstance(source, Mapping) or (
        isinstance(source, (list, tuple)) and bool(source) and all(map(is_tensor, source))
    )


def read(source: Mapping[Any, Any] | list[Any], context: Context) -> Found:
    """Describes every dict in it that holds tensors; values need only a shape and a dtype."""
    candidates = find_state_dicts(source, "state_dict in memory", context.limits)
    return Found("state_dict in memory", candidates, empty="holds no tensors" if source else "is empty")


FORMAT = ObjectFormat(accepts, read)
