"""Shapes as error texts write them."""

from __future__ import annotations

import re

from automatch.matching.assignment import Mismatch
from automatch.spec import Shape

SHAPE = r"(?:torch\.Size\(\s{0,9}\[[\d,\s]{0,200}\]\s{0,9}\)|\([\d,\s]{0,200}\)|\[[\d,\s]{0,200}\])"


def shape_of(text: str) -> Shape:
    """Give the sizes in `torch.Size([2, 3])`, `(2, 3)` or `[2, 3]`; digits split by a line break are not joined."""
    return tuple(int(size) for size in re.findall(r"\d{1,18}", text))


def mismatch_of(match: re.Match[str]) -> Mismatch:
    """Give the pair of shapes in the groups `key`, `checkpoint` and `model` of a match."""
    return Mismatch(match["key"], match["key"], shape_of(match["checkpoint"]), shape_of(match["model"]))
