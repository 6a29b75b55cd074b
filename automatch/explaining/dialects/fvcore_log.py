"""fvcore and detectron2: one key or one group of keys a line, under one of two headings.

    Some model parameters or buffers are not found in the checkpoint:
    backbone.fpn_lateral2.{bias, weight}
    The checkpoint state_dict contains keys that are not used by the model:
      fc1000.{bias, weight}

Written by fvcore/common/checkpoint.py (`get_missing_parameters_message` and its sibling).
"""

from __future__ import annotations

import re

from automatch.explaining.error_report import Found
from automatch.explaining.key_lists import expand, is_stump
from automatch.explaining.shape_text import SHAPE, mismatch_of

_MISSING = re.compile(
    r"Some\s+model\s+parameters(?:\s+or\s+buffers)?\s+are\s+not\s+(?:found\s+)?in\s+the\s+checkpoint:?"
)
_UNEXPECTED = re.compile(
    r"The\s+checkpoint\s+(?:state_dict\s+)?contains\s+(?:keys"
    r"|parameters)\s+(?:that\s+are\s+)?not\s+used\s+by\s+the\s+model:?"
)
_SKIPPED = re.compile(
    r"Skip\s+loading\s+parameter\s+'(?P<key>[^']{1,400})'\s+to\s+the\s+model\s+due\s+to\s+incompatible\s+shapes:\s+"
    rf"(?P<checkpoint>{SHAPE})\s+in\s+the\s+checkpoint\s+but\s+(?P<model>{SHAPE})\s+in\s+the\s+model"
)
_KEY = re.compile(r"[\w\-/]+(?:\.[\w\-/]+)*(?:\.?\{[\w\-/., ]*\}?)?")
_CUT = re.compile(r"\.+|\[\.+\]")


def read(text: str) -> Found | None:
    """Read both lists and the skipped shapes; None where the text has none of them."""
    missing, unexpected = _MISSING.search(text), _UNEXPECTED.search(text)
    skipped = list(map(mismatch_of, _SKIPPED.finditer(text)))
    if missing is None and unexpected is None and not skipped:
        return None
    found = Found(mismatched=skipped)
    if missing:
        found.add("missing", *_lines(text[missing.end() :].split("\n")))
    elif unexpected:
        before, _ = _lines([*reversed(text[: unexpected.start()].rstrip().split("\n")), ""])
        if sum("." in k for k in before) > 1:
            found.add("missing", before[::-1], True)
    if unexpected:
        found.add("unexpected", *_lines(text[unexpected.end() :].split("\n")))
    return found


def _lines(lines: list[str]) -> tuple[list[str], bool]:
    """The keys of the lines up to the first that is none, and whether some are lost."""
    keys: list[str] = []
    truncated = False
    for number, line in enumerate(lines):
        word = line.strip().strip("`")
        if not word:
            continue
        if _CUT.fullmatch(word):
            truncated = True
            continue
        if not _KEY.fullmatch(word):
            break
        expanded = () if number == len(lines) - 1 and is_stump(word) else expand(word)
        truncated = truncated or not expanded
        keys.extend(expanded)
    return keys, truncated
