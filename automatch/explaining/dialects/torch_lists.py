r"""The lists of `Module.load_state_dict` since torch 0.4.

    RuntimeError: Error(s) in loading state_dict for Net:
        Missing key(s) in state_dict: "a", "b".
        Unexpected key(s) in state_dict: "c".

torch formats them in `torch/nn/modules/module.py`; people paste them in any order, without the
header, or without the beginning.
"""

from __future__ import annotations

import re

from automatch.explaining.error_report import Found
from automatch.explaining.key_lists import next_sentence, read_list

_CLASS = re.compile(r"Error\(s\)\s+in\s+loading\s+state_dict\s+for\s+([A-Za-z_][\w.]*)")
_HEADER = re.compile(r"\b(missing|unexpected)\s+key\(?s?\)?\s+in\s+state_dict\s*:(?!\s*\"[{\[])", re.I)
_ORPHAN = re.compile(r"(?<!File )\"([\w.\-/:]{1,300})\"\s{0,20}[,.]")
# torch ends each list with a full stop and prints the missing keys first: where they just end, so did the copying.
_JUST_ENDS = re.compile(r"\s*(?:```)?\s*$")


def read(text: str) -> Found | None:
    """Read the class and both lists; None where the text has neither."""
    headers = list(_HEADER.finditer(text))
    classes = _CLASS.search(text)
    if not headers and classes is None:
        return None
    found = Found(class_name=classes[1] if classes else None)
    for header in headers:
        if text[header.end() : header.end() + 4].strip().startswith("{}"):
            continue  # the template in a traceback's source line
        keys = read_list(text, header.end(), next_sentence(text, header.end()))
        kind = header[1].lower()
        cut = keys.truncated or (kind == "missing" and bool(keys.keys) and bool(_JUST_ENDS.match(text, keys.end)))
        found.add(kind, keys.keys, cut)
    if headers and headers[0][1].lower() == "unexpected" and not found.missing:
        orphans = [k for k in _ORPHAN.findall(text, 0, headers[0].start()) if "." in k]
        found.add("missing", orphans, bool(orphans))
    return found
