"""What averages of weights (EMA, SWA) are called where they are kept beside the weights."""

from __future__ import annotations

import re

AVERAGES = ("ema", "swa", "avg", "average", "averaged", "shadow")
"""Words of timm, mmcv, ema_pytorch, torch_ema and torch.optim.swa_utils."""

_WORD = re.compile(
    rf"(?:^|[^A-Za-z]|(?<=[a-z])(?=[A-Z]))(?:{'|'.join(f'{w}|{w.title()}|{w.upper()}' for w in AVERAGES)})(?![a-z])"
)


def is_average(name: str) -> bool:
    """Does one of the words of a name (`ema`, `model_ema`, `modelEma`, `net.averaged`) say that it is an average?"""
    return _WORD.search(name) is not None
