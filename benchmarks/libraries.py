"""Libraries of models, as far as they are installed."""

from __future__ import annotations

import sys
from typing import Any

# Kept alive: a library that is collected takes its operators with it.
_OPERATORS: list[Any] = []


def import_torchvision() -> Any:
    """Imports torchvision, also where its compiled part was built for another torch: then without its box operators.

    timm and transformers import it themselves, so this has to come first.

    Returns:
        The module.

    Raises:
        ImportError: it is not installed.
    """
    import torch

    try:
        import torchvision
    except RuntimeError:  # "operator torchvision::nms does not exist"
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library: Any = torch.library.Library  # untyped
        _OPERATORS.append(library("torchvision", "DEF"))
        for name in ("nms", "qnms"):
            _OPERATORS[0].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision
