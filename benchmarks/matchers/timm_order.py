"""timm's remap_state_dict: both sides in their order, as long as the numbers of elements agree.

It needs tensors and a model. It gets tensors that hold nothing but their own number, repeated without memory, and an
object that has a state_dict.
"""

from __future__ import annotations

from types import SimpleNamespace

from cases import Case
from libraries import import_torchvision
from scoring import Answer, Answers

from matchers.matcher import Matcher, NoAnswerError


def match(case: Case) -> Answers:
    """The remapped state_dict, read back."""
    import torch

    import_torchvision()
    from timm.models._helpers import remap_state_dict

    empty = {key: torch.empty(shape, device="meta") for key, shape, _ in case.target}

    checkpoint = {
        key: torch.tensor(float(i), dtype=torch.float64).expand(shape) for i, (key, shape, _) in enumerate(case.source)
    }
    try:
        remapped = remap_state_dict(checkpoint, SimpleNamespace(state_dict=lambda: empty))
    except AssertionError as error:
        raise NoAnswerError(str(error)) from error
    sources = [key for key, _, _ in case.source]
    return {
        key: Answer((sources[int(tensor[(0,) * tensor.dim()])],)) for key, tensor in remapped.items() if tensor.numel()
    }


MATCHER = Matcher("timm remap_state_dict", match, "timm", "timm")
