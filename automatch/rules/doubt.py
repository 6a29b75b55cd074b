"""Which matches are not decided, as the JSON of a diagnosis tells it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# A match below this is more likely wrong than right.
DOUBTFUL = 0.5


def undecided_keys(matches: Iterable[Any]) -> list[str]:
    """Checkpoint keys of the ambiguous matches in the JSON of a diagnosis; what has another form is passed over."""
    out: dict[str, None] = {}
    for match in matches:
        if not isinstance(match, dict) or not isinstance(match.get("checkpoint_keys"), list):
            continue
        confidence = match.get("confidence", 1)
        weak = isinstance(confidence, (int, float)) and confidence < DOUBTFUL
        if match.get("ambiguous") is True or weak:
            out.update(dict.fromkeys(map(str, match["checkpoint_keys"])))
    return list(out)
