"""The libraries that dialects write for; the tests that need one are left out where it is not installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

OPERATORS: list[Any] = []  # a library of operators is taken down when nothing holds it


def library(name: str) -> ModuleType:
    """A module of transformers or peft; both import torchvision, whose compiled part may be built for another torch."""
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        pytest.skip(f"{name} is not installed")
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for module in [module for module in sys.modules if module.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
        OPERATORS.append(torch.library.Library("torchvision", "DEF"))
        for operator in ("nms", "qnms"):
            OPERATORS[0].define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except ImportError:
        pass
    return importlib.import_module(name)
