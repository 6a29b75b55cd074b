"""Shapes as error texts write them."""

from __future__ import annotations

import re

from automatch.spec import Shape

SHAPE = r"(?:torch\.Size\(\s{0,9}\[[\d,\s]{0,200}\]\s{0,9}\)|\([\d,\s]{0,200}\)|\[[\d,\s]{0,200}\])"


def shape_of(text: str) -> Shape:
    """Give the sizes in `torch.Size([2, 3])`, `(2, 3)` or `[2, 3]`; digits split by a line break are not joined."""
    return tuple(int(size) for size in re.findall(r"\d{1,18}", text))
