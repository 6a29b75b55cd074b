"""DataParallel, DistributedDataParallel and AveragedModel: every key of one side carries `module.`."""

from __future__ import annotations

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.wrappers import unwrapped

WORDS = ("module",)

AVERAGED = "n_averaged"
"""What `torch.optim.swa_utils.AveragedModel` keeps beside the module that it averages."""


def check(evidence: Evidence) -> Finding | None:
    """Whether one side carries `module.` and the other does not."""
    found = unwrapped(evidence, WORDS)
    if found is None:
        return None
    words = found.words or "module"
    averaged = found.in_checkpoint and AVERAGED in evidence.unexpected_keys
    wrapper = "AveragedModel, torch's average of weights" if averaged else "DataParallel"
    twice = wrapper if "." not in words or not found.front else f"{wrapper} wrapped twice"
    inner = f"`model.{words}`" if found.front else "the part without `module.`"
    if found.in_checkpoint:
        sentence = f"saved from {twice}: {found.how_many} `{words}.`, the model has none"
        save = f"`model.{words}.state_dict()`" if found.front else "the state_dict of the unwrapped parts"
        advice = f"take `{words}.` out of the checkpoint's keys, or save {save} next time"
    else:
        sentence = f"the model is wrapped in DataParallel, the checkpoint is not: {found.how_many} `{words}.`"
        advice = f"load into {inner} instead of `model`, or load before wrapping"
    return Finding("prefix-module", found.score, sentence, advice, found.rules)
