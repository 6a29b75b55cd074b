"""Which model keys get the same tensor, as the JSON of a diagnosis tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def tied_keys(matches: Iterable[Any], rename: Callable[[str], str]) -> list[tuple[str, str]]:
    """(served, other) for every checkpoint key that stands in several matches; what has another form is passed over.

    Args:
        matches: in the JSON of a diagnosis.
        rename: the model key that the rules give a checkpoint key.
    """
    ties = []
    for match in matches:
        if not isinstance(match, dict) or match.get("op", "rename") != "rename":
            continue
        sources, targets = match.get("checkpoint_keys"), match.get("model_keys")
        if isinstance(sources, list) and isinstance(targets, list) and len(sources) == len(targets) == 1:
            served = rename(str(sources[0]))
            if served != targets[0]:
                ties.append((served, str(targets[0])))
    return ties
