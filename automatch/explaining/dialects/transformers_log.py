"""transformers up to version 4, and diffusers in its wording: warnings with a Python list.

Some weights of the model checkpoint at P were not used when initializing C: ['a']    UNEXPECTED
Some weights of C were not initialized from the model checkpoint at P and are newly initialized: ['b']    MISSING
... newly initialized because the shapes did not match:
- k: found shape A in the checkpoint and B in the model instantiated    MISMATCHED
Weights of C not initialized from pretrained model: ['b']    MISSING (0.x to 2.x)
Weights from pretrained model not used in C: ['a']    UNEXPECTED
"""

from __future__ import annotations

import re

from automatch.explaining.error_report import Found
from automatch.explaining.key_lists import read_list
from automatch.explaining.shape_text import SHAPE, mismatch_of

_WHAT = r"(?:weights|layers|parameters|buffers)"
_UNEXPECTED = re.compile(
    rf"(?:{_WHAT}\s+(?:of|from)\s+(?:the\s+)?(?:model|PyTorch|TF|Flax)?[^\n]{{0,300}}?(?:were|are)\s+not\s+used\s+(?:when|by)"
    rf"\s+(?:initializing\s+)?(?:the\s+)?(?:[\w. ]{{0,60}}?model\s+)?(?P<c1>\w+)?[^:\[\n]{{0,60}}:?"
    rf"|Weights\s+from\s+pretrained\s+model\s+not\s+used\s+in\s+(?P<c2>\w+)\s*:)\s{{0,20}}(?=\n?\s{{0,20}}\[)",
    re.I,
)
_MISSING = re.compile(
    r"(?:(?:Some|All)\s+(?:the\s+)?(?:weights|layers)\s+of\s+(?:the\s+)?(?:[\w "
    r"]{0,40}?model\s+)?(?P<c1>\w+)\s+were\s+not\s+"
    r"initialized\s+from[^\n\[]{0,300}?newly\s+initialized\s*:"
    r"|Weights\s+of\s+(?P<c2>\w+)\s+not\s+initialized\s+from\s+pretrained\s+model\s*:)\s{0,20}",
    re.I,
)
_SHAPES = re.compile(
    rf"(?<![^\s:\"'])(?P<key>[^\s:\"']{{1,400}}):\s+found\s+shape\s+(?P<checkpoint>{SHAPE})\s+in\s+the\s+checkpoint\s+and\s+"
    rf"(?P<model>{SHAPE})\s+in\s+the\s+model"
)
_SHAPES_HEADER = re.compile(r"newly\s+initialized\s+because\s+the\s+shapes\s+did\s+not\s+match")


def read(text: str) -> Found | None:
    """Read the warnings; None where the text has none of them."""
    found = Found(mismatched=list(map(mismatch_of, _SHAPES.finditer(text))))
    headers = 0
    for pattern, kind in ((_UNEXPECTED, "unexpected"), (_MISSING, "missing")):
        for header in pattern.finditer(text):
            headers += 1
            listed = read_list(text, header.end(), len(text))
            found.add(kind, listed.keys, listed.truncated)
            found.class_name = found.class_name or header["c1"] or header["c2"]
    if not headers and not found.mismatched:
        return None
    found.truncated = found.truncated or bool(_SHAPES_HEADER.search(text) and not found.mismatched)
    found.hints.append("warning")
    return found
