"""The text was cut before it tells anything."""

from __future__ import annotations

import re

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import count, is_buffer, tokens

_STEM = re.compile(
    r"conv_?(?:0|1|first|in|stem|pre)?|stem\w*|\w*embed\w*|emb|wte|tok_\w+|inc|head0|first\w*|features?|backbone"
    r"|encoder|layers?|model|net|blocks?|main|0",
    re.I,
)
_DEEPEST = 4
_ENOUGH = 3


def check(evidence: Evidence) -> Finding | None:
    """Whether a cut list shows the beginning of a model, or next to nothing."""
    keys = (*evidence.missing_keys, *evidence.unexpected_keys)
    if not evidence.truncated or evidence.mismatched or evidence.half_read or "first-key-only" in evidence.hints:
        return None
    if evidence.missing_keys and not evidence.unexpected_keys and not evidence.missing_whole:
        first = evidence.missing_keys[0]
        if _begins_a_model(first):
            return Finding(
                "prefix-module",
                0.45,
                f"the missing keys begin with what looks like the model's first one (`{first}`) and the text is cut "
                "before the unexpected ones: when every key is missing, the checkpoint's usually carry a prefix "
                "(`module.` of DataParallel is the commonest) or lie in a dict inside the file",
                "look at the file's own keys (`automatch keys FILE`), or run `automatch diagnose CHECKPOINT MODEL`, "
                "which finds a prefix and proves the rule",
            )
    if 0 < len(keys) < _ENOUGH:
        return Finding(
            "other",
            0.41,
            f"the text is cut: it shows {count(len(keys), 'key')} (`{keys[0]}`), too little to tell a prefix or a "
            "renaming from another architecture",
            "paste the error to its last full stop, or run `automatch diagnose CHECKPOINT MODEL`, which sees all keys "
            "and shapes",
        )
    return None


def _begins_a_model(key: str) -> bool:
    """Whether a key may be the first of a whole model: an outer stem or embedding, or number 0 of something."""
    parts = tokens(key)
    numbers = [p for p in parts if p.isdigit()]
    if is_buffer(key) or len(parts) > _DEEPEST or any(int(n) > 1 for n in numbers):
        return False
    return bool(numbers) or any(_STEM.fullmatch(p) for p in parts[:-1])
