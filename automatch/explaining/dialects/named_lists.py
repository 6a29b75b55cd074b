"""Lists under the names that programs give them: `missing_keys=[...]`, `unet unexpected: [...]`.

`_IncompatibleKeys(missing_keys=[...], unexpected_keys=[...])` is what load_state_dict(strict=False)
returns; ComfyUI, diffusers' LoRA loader and many training scripts print the same lists.
"""

from __future__ import annotations

import re

from automatch.explaining.error_report import Found
from automatch.explaining.key_lists import next_sentence, read_list

_HEADER = re.compile(
    r"(?<![\w.\-/])(?P<kind>missing|unexpected|unused|left[ _]over)"
    r"(?:[ _]?keys?(?:\(s\))?|[ _]parameters|[ _]weights)?(?:\s+(?:in|when|while|for|from)\s[^\n:=\[]{1,80})?"
    r"(?:\s{0,3}[\"']?\s{0,3}[:=]\s{0,9}(?=[\[\"'{]|dict_keys|set\()|\s{0,3}(?=\[|dict_keys\(|set\())",
    re.I,
)
_ALL_MATCHED = re.compile(r"All\s+keys\s+matched\s+successfully")
_WRAPPER = re.compile(r"(?:dict_keys\(|set\()\s{0,9}")
_NOT_LOADED = re.compile(r"\blora\s+key\s+not\s+loaded\s{0,3}:?\s{0,3}([\w.\-/]{1,400})")


def read(text: str) -> Found | None:
    """Read the named lists; None where the text has none."""
    found = Found(unexpected=_NOT_LOADED.findall(text))
    seen = bool(found.unexpected)
    for header in _HEADER.finditer(text):
        if header["kind"].lower() in ("missing", "unexpected") and "state_dict" in header[0].lower():
            continue
        wrapper = _WRAPPER.match(text, header.end())
        start = wrapper.end() if wrapper else header.end()
        stop = min(next_sentence(text, start), _next_header(text, start))
        listed = read_list(text, start, stop)
        kind = "missing" if header["kind"].lower() == "missing" else "unexpected"
        found.add(kind, listed.keys, listed.truncated)
        seen = True
    if _ALL_MATCHED.search(text) or (seen and not found.missing and not found.unexpected and not found.truncated):
        found.hints.append(
            "all-matched"
        )  # `missing_keys=[], unexpected_keys=[]` is success, and often taken for an error
        seen = True
    return found if seen else None


def _next_header(text: str, start: int) -> int:
    match = _HEADER.search(text, start)
    return match.start() if match else len(text)
