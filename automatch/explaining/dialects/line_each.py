"""Loaders of their own that print a line for each key, and FSDP's assertion about one.

    Unexpected key detector.features.17.weight in state_dict with size torch.Size([512, 256, 3, 3])
    Missing key: head.bias
    AssertionError: FSDP assumes head.bias is in the state_dict but the state_dict only has odict_keys([...])

The keys that FSDP lists are all keys of the checkpoint, not the unexpected ones.
"""

from __future__ import annotations

import re

from automatch.explaining.error_report import Found

_LINE = re.compile(
    r"(?:^|[^\w\n])(?P<kind>missing|unexpected|extra|unused)\s+(?:key|parameter|param"
    r"|weight)s?\s{0,3}[:=]?\s{1,3}['\"`]?"
    r"(?P<key>[\w\-/]{1,100}(?:\.[\w\-/]{1,100}){1,40})['\"`]?(?=\s+in\s+(?:the\s+)?(?:state_dict|checkpoint"
    r"|model)\b|\s*$)",
    re.I | re.M,
)
_CUT = re.compile(
    r"\n\s{0,9}(?:missing|unexpected|extra|unused)\s{0,3}(?:key\s{0,3})?[\w.\-/]{0,200}\s*(?:```)?\s*$", re.I
)
_FSDP = re.compile(r"FSDP\s+assumes\s+([\w.\-/]{1,400})\s+is\s+in\s+the\s+state_dict")


def read(text: str) -> Found | None:
    """Read the lines; None where the text has none."""
    lines = list(_LINE.finditer(text))
    assumed = _FSDP.findall(text)
    if not lines and not assumed:
        return None
    found = Found()
    for line in lines:
        kind = "missing" if line["kind"].lower() == "missing" else "unexpected"
        found.add(kind, [line["key"]], False)
    found.truncated = bool(lines and _CUT.search(text, lines[-1].end()))
    if assumed:
        found.add("missing", assumed, True)
        found.hints.append("fsdp")
    return found
