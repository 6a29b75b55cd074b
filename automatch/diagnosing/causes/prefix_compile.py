"""torch.compile: keys of one side carry `_orig_mod.`, in front or, for compiled parts, inside."""

from __future__ import annotations

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.wrappers import unwrapped

WORDS = ("_orig_mod",)


def check(evidence: Evidence) -> Finding | None:
    """Whether one side carries `_orig_mod.` and the other does not."""
    alone, inside_ddp = unwrapped(evidence, WORDS), unwrapped(evidence, (*WORDS, "module"), must="_orig_mod")
    found = max((f for f in (alone, inside_ddp) if f), key=lambda f: f.score, default=None)
    if found is None:
        return None
    if found.in_checkpoint:
        sentence = f"saved from a compiled model: {found.how_many} `_orig_mod.`, the model has none"
        advice = (
            "take `_orig_mod.` out of the checkpoint's keys (the rule does it), or save "
            "`model._orig_mod.state_dict()` next time"
        )
    else:
        sentence = f"the model is compiled, the checkpoint is not: {found.how_many} `_orig_mod.`"
        advice = "load before torch.compile, or into `model._orig_mod`; the rule does the same to the keys"
    return Finding("prefix-compile", min(1.0, found.score + 0.02), sentence, advice, found.rules)
