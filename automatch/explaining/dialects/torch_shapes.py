"""One sentence for each tensor that torch could not copy.

The current wording names the checkpoint's shape first, that of torch 0.4.0 and older the model's.
detectron2, mmengine and Lightning pass these sentences on.
"""

from __future__ import annotations

import re

from automatch.explaining.error_report import Found
from automatch.explaining.shape_text import SHAPE, shape_of
from automatch.matching.assignment import Mismatch

_START = re.compile(r"size\s+mismatch\s+for\s+(?!\{\})|While\s+copying\s+the\s+parameter\s+named\s+(?!\{\}|\"\{\}\")")
_COPYING = (
    r"copying\s+a\s+param(?:eter)?\s+(?:with\s+shape|of)\s+"
    rf"(?P<checkpoint>{SHAPE})\s+from\s+(?:the\s+)?checkpoint,\s+(?:while\s+|where\s+)?the\s+shape\s+"
    rf"(?:in\s+(?:the\s+)?current\s+model\s+)?(?:is|of)\s+(?P<model>{SHAPE})"
)
_CHECKPOINT_FIRST = re.compile(rf"size\s+mismatch\s+for\s+(?P<key>[^:]{{1,400}}?)\s{{0,20}}:\s+{_COPYING}")
_NAMELESS = re.compile(rf"(?P<head>size\s+mismatch\s+for\s+[^:]{{1,400}}:\s+)?{_COPYING}")
_MODEL_FIRST = re.compile(
    r"While\s+copying\s+the\s+parameter\s+named\s+\"?(?P<key>[^\",]{1,400}?)\"?,\s+"
    rf"whose\s+dimensions\s+in\s+the\s+model\s+are\s+(?P<model>{SHAPE})\s+and\s+"
    rf"whose\s+dimensions\s+in\s+the\s+checkpoint\s+are\s+(?P<checkpoint>{SHAPE})"
)
_HALF = re.compile(r"size\s+mismatch\s+for\s+([\w.\-/]{1,400}):")
_CUT = re.compile(r"torch\.Size\(\[[\d,\s]{0,200}\]\)[.)\s]{0,9}\s(?:\[?\.{2,}|…)|^\s{0,40}\.{3,}\s*(?:```)?\s*$", re.M)
_EXCEPTION = re.compile(
    r"an\s+exception\s+occur|expected\s+torch\.Tensor\s+or\s+Tensor-like|Cannot\s+copy\s+out\s+of\s+meta\s+tensor", re.I
)


def read(text: str) -> Found | None:
    """Read the shape sentences; None where the text has none."""
    starts = len(_START.findall(text))
    found = Found(nameless=_without_name(text))
    if not starts:
        found.truncated = bool(found.nameless)
        return found if found.nameless else None
    matches = [m for p in (_CHECKPOINT_FIRST, _MODEL_FIRST) for m in p.finditer(text)]
    for match in sorted(matches, key=lambda m: m.start()):
        checkpoint, model = shape_of(match["checkpoint"]), shape_of(match["model"])
        key = "".join(match["key"].split()).replace("**", "").strip("\"'`")
        if checkpoint != model:
            found.mismatched.append(Mismatch(key, key, checkpoint, model))
    if _EXCEPTION.search(text):
        found.hints.append("copy-failed")
    elif matches and not found.mismatched:
        found.hints.append("copy-failed-silently")
    whole = {m["key"] for m in matches}
    found.half_read = [m[1] for m in _HALF.finditer(text) if m[1] not in whole]
    old_first_only = "While copying" in text and "Error(s) in loading" not in text and bool(found.mismatched)
    found.truncated = len(matches) < starts or old_first_only or bool(_CUT.search(text))
    return found


def _without_name(text: str) -> list[Mismatch]:
    """Sentences whose beginning was lost, and the key with it."""
    return [
        Mismatch("", "", shape_of(m["checkpoint"]), shape_of(m["model"]))
        for m in _NAMELESS.finditer(text)
        if m["head"] is None and m["checkpoint"] != m["model"]
    ]
