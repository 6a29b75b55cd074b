"""mmcv and mmengine: unquoted lists, `unexpected key in source state_dict: a, b`.

Written by `load_state_dict` in mmengine/runner/checkpoint.py; num_batches_tracked is left out of
the missing list there. Old versions print sets, in any order.
"""

from __future__ import annotations

import re

from automatch.explaining.error_report import Found
from automatch.explaining.key_lists import next_sentence, read_list

_HEADER = re.compile(r"\b(missing|unexpected)\s+keys?\s+in\s+(?:the\s+)?source\s+state_dict\s*:", re.I)
_BLOCK = re.compile(r"\s{0,9}[\"'](?=[^\"'\n]{1,400},)")  # the whole list in one pair of quotes


def read(text: str) -> Found | None:
    """Read both lists; None where the text has neither."""
    headers = list(_HEADER.finditer(text))
    if not headers:
        return None
    found = Found()
    for header in headers:
        start = _BLOCK.match(text, header.end())
        begin = start.end() if start else header.end()
        keys = read_list(text, begin, next_sentence(text, begin))
        found.add(header[1].lower(), keys.keys, keys.truncated)
    return found
