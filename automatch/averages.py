"""What averages of weights (EMA, SWA) are called where they are kept beside the weights."""

from __future__ import annotations

import re

AVERAGES = ("ema", "swa", "averaged", "shadow")
"""Words of timm, mmcv, ema_pytorch, torch_ema and torch.optim.swa_utils."""

_WEIGHTS = "(?:model|net|network|module|weights|params)"
_WORD = re.compile(
    rf"(?:^|[^A-Za-z]|(?<=[a-z])(?=[A-Z]))(?:{'|'.join(f'{w}|{w.title()}|{w.upper()}' for w in AVERAGES)})(?![a-z])"
    rf"|{_WEIGHTS}[._]?(?:avg|average)(?![a-z])|(?<![A-Za-z])(?:avg|average)_?{_WEIGHTS}(?![a-z])"
)


def is_average(name: str) -> bool:
    """Does a name (`ema`, `model_ema`, `modelEma`, `model_avg`) say that it is an average? No `avg_pool`, no slot."""
    return _WORD.search(name) is not None
