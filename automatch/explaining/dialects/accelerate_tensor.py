r"""diffusers and accelerate: single sentences about a model on the meta device.

Cannot load <class 'C'> from P because the following keys are missing: \n a, b. \n Please make sure ...
Cannot load P because k expected shape torch.Size([..]), but got torch.Size([..]).    MODEL FIRST
Trying to set a tensor of shape torch.Size([..]) in "weight" (which has shape torch.Size([..]))    CHECKPOINT FIRST
"""

from __future__ import annotations

import re

from automatch.explaining.error_report import Found
from automatch.explaining.key_lists import read_list
from automatch.explaining.shape_text import SHAPE, mismatch_of

_MISSING = re.compile(r"because\s+the\s+following\s+keys\s+are\s+missing\s*:\s{0,9}")
_CLASS = re.compile(r"Cannot\s+load\s+<class\s+'(?:[\w.]{0,200}\.)?(\w{1,100})'>")
_EXPECTED = re.compile(
    rf"(?<![\w./\-])(?P<key>[\w./\-]{{1,400}})\s+expected\s+shape\s+(?:tensor\()?(?P<model>{SHAPE})\)?,\s+but\s+got\s+(?P<checkpoint>{SHAPE})"
)
_SET = re.compile(
    rf"set\s+a\s+tensor\s+of\s+shape\s+(?P<checkpoint>{SHAPE})\s+in\s+\"(?P<key>[^\"]{{1,400}})\"\s+"
    rf"\(which\s+has\s+shape\s+(?P<model>{SHAPE})\)"
)


def read(text: str) -> Found | None:
    """Read these sentences; None where the text has none."""
    missing = _MISSING.search(text)
    shapes = [m for p in (_EXPECTED, _SET) for m in p.finditer(text)]
    if missing is None and not shapes:
        return None
    title = _CLASS.search(text)
    found = Found(class_name=title[1] if title else None)
    if missing:
        stop = text.find("Please make sure", missing.end())
        listed = read_list(text, missing.end(), stop if stop >= 0 else len(text))
        found.add("missing", listed.keys, listed.truncated)
    for m in shapes:
        found.mismatched.append(mismatch_of(m))
        found.truncated = True  # these loaders stop at the first tensor
    return found
