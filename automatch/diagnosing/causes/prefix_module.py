"""DataParallel and DistributedDataParallel: every key of one side carries `module.`."""

from __future__ import annotations

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.wrappers import unwrapped

WORDS = ("module",)


def check(evidence: Evidence) -> Finding | None:
    """Whether one side carries `module.` and the other does not."""
    found = unwrapped(evidence, WORDS)
    if found is None:
        return None
    if found.in_checkpoint:
        sentence = f"saved from DataParallel: {found.how_many} `module.`, the model has none"
        advice = (
            "take `module.` out of the checkpoint's keys (the rule does it), or save "
            "`model.module.state_dict()` next time"
        )
    else:
        sentence = f"the model is wrapped in DataParallel, the checkpoint is not: {found.how_many} `module.`"
        advice = (
            "load into `model.module` instead of `model`, or load before wrapping; the rule does the same to the keys"
        )
    return Finding("prefix-module", found.score, sentence, advice, found.rules)
