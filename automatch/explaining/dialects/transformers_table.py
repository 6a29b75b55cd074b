"""transformers 5: a table `KEY | STATUS | DETAILS`, indices merged.

`layers.{0, 1, 2}.x` is exact; `{0...31}` and several groups in one key are merged so that gaps
cannot be seen: those keys are written out and the report counts as cut.
Printed by transformers/utils/loading_report.py.
"""

from __future__ import annotations

import re

from automatch.explaining.error_report import Found
from automatch.explaining.key_lists import expand
from automatch.explaining.shape_text import SHAPE, shape_of
from automatch.matching.assignment import Mismatch

_ROW = re.compile(
    r"^[\s|]{0,40}(?P<key>\S[^|\n]{0,5000}?)\s{0,400}\|\s{0,9}(?P<status>UNEXPECTED|MISSING|MISMATCH"
    r"|CONVERSION)\b(?P<rest>.*)$",
    re.M,
)
_DETAILS = re.compile(rf"ckpt:\s{{0,3}}(?P<checkpoint>{SHAPE})\s{{0,3}}vs\s{{1,3}}model:\s{{0,3}}(?P<model>{SHAPE})")
_CLASS = re.compile(r"\b([A-Za-z_]\w{1,80})\s+LOAD\s+REPORT")
_CUT = re.compile(r"\[?\.{2,}\]?(?:\s*\|.*)?")


def read(text: str) -> Found | None:
    """Read the rows of the table; None where the text has none."""
    rows = list(_ROW.finditer(text))
    if not rows:
        return None
    title = _CLASS.search(text)
    found = Found(class_name=title[1] if title else None, hints=["warning"])
    for row in rows:
        keys = expand(row["key"])
        merged = not keys or "..." in row["key"] or row["key"].count("{") > 1
        found.truncated = found.truncated or merged
        if row["status"] in ("MISSING", "UNEXPECTED"):
            found.add(row["status"].lower(), keys, merged)
        elif row["status"] == "MISMATCH":
            shapes = _DETAILS.search(row["rest"])
            found.truncated = found.truncated or shapes is None
            if shapes:
                checkpoint, model = shape_of(shapes["checkpoint"]), shape_of(shapes["model"])
                found.mismatched.extend(Mismatch(k, k, checkpoint, model) for k in keys)
    tail = text[rows[-1].end() :].strip().split("\n")[0]
    found.truncated = found.truncated or bool(_CUT.fullmatch(tail))
    return found
