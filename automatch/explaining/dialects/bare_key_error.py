"""A loader's bare `KeyError: 'lm_head.weight'`: a key of the checkpoint that the model lacks.

vLLM and converters raise it where they look up `params[name]`. `KeyError: 'state_dict'` is the other
way round: a script wanted a container that the file has not.
"""

from __future__ import annotations

import re

from automatch.explaining.error_report import Found

_KEY = re.compile(r"\bKeyError:\s{0,9}['\"]([\w\-/.]{1,400})['\"]")
_CONTAINERS = frozenset({"state_dict", "model_state_dict", "model", "net", "module", "params", "params_ema", "ema"})


def read(text: str) -> Found | None:
    """Read the key; None where the text has no bare KeyError about a tensor."""
    keys = _KEY.findall(text)
    tensors = [k for k in keys if "." in k]
    if any(k in _CONTAINERS for k in keys):
        return Found(truncated=True, hints=["container-wanted"])
    if not tensors:
        return None
    found = Found(hints=["first-key-only"])
    found.add("unexpected", tensors, True)
    return found
