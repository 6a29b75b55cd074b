"""torch 0.2 and 0.3 stop at the first key: `KeyError: 'unexpected key "x" in state_dict'`.

Their other text is `missing keys in state_dict: "{'a', 'b'}"`, a Python set and whole.
"""

from __future__ import annotations

import re

from automatch.explaining.error_report import Found
from automatch.explaining.key_lists import clean_key, next_sentence

_UNEXPECTED = re.compile(r"unexpected\s+key\s+\"([^\"{}]{0,400})\"\s+in\s+state_dict")
_MISSING = re.compile(r"missing\s+keys\s+in\s+state_dict:\s{0,9}\"?[{\[(]")
_ITEM = re.compile(r"['\"]([^'\"\s{}\[\],]{1,400})['\"]")


def read(text: str) -> Found | None:
    """Read the first unexpected key, or the set of missing keys; None where the text has neither."""
    unexpected = _UNEXPECTED.findall(text)
    missing = _MISSING.search(text)
    if not unexpected and missing is None:
        return None
    found = Found(hints=["first-key-only"] if unexpected else [])
    found.add("unexpected", map(clean_key, unexpected), bool(unexpected))
    if missing:
        stop = next_sentence(text, missing.end())
        closing = min((p for p in (text.find(c, missing.end(), stop) for c in "}])") if p >= 0), default=-1)
        found.add("missing", _ITEM.findall(text, missing.end(), closing if closing >= 0 else stop), closing < 0)
    return found
