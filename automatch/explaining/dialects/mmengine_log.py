"""mmcv and mmengine: unquoted lists, `unexpected key in source state_dict: a, b`.

Written by `load_state_dict` in mmengine/runner/checkpoint.py; num_batches_tracked is left out of
the missing list there. Old versions print sets, in any order.
"""

from __future__ import annotations

import re

from automatch.explaining.error_report import Found
from automatch.explaining.key_lists import next_sentence, read_list

_HEADER = re.compile(r"\b(missing|unexpected)\s+keys?\s+in\s+(?:the\s+)?source\s+state_dict\s*:", re.I)


def read(text: str) -> Found | None:
    """Read both lists; None where the text has neither."""
    headers = list(_HEADER.finditer(text))
    if not headers:
        return None
    found = Found()
    for header in headers:
        keys = read_list(text, header.end(), next_sentence(text, header.end()))
        found.add(header[1].lower(), keys.keys, keys.truncated)
    return found
