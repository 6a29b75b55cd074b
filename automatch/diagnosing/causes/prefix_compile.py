"""torch.compile: keys of one side carry `_orig_mod.`, in front or, for compiled parts, inside."""

from __future__ import annotations

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.wrappers import unwrapped

WORDS = ("_orig_mod",)
_OTHERS = ("module", "_fsdp_wrapped_module", "_forward_module")


def check(evidence: Evidence) -> Finding | None:
    """Whether one side carries `_orig_mod.` and the other does not, alone or beside another wrapper's word."""
    ways = [unwrapped(evidence, WORDS), *(unwrapped(evidence, (*WORDS, o), must="_orig_mod") for o in _OTHERS)]
    found = max((f for f in ways if f), key=lambda f: f.score, default=None)
    if found is None:
        return None
    words = found.words or "_orig_mod"
    inner = f"`model.{words}`" if found.front else "the wrapped parts"
    nested = _nested(words)
    if found.in_checkpoint:
        sentence = f"saved from a compiled model{nested}: {found.how_many} `{words}.`, the model has none"
        save = f"`model.{words}.state_dict()`" if found.front else "the state_dict from before torch.compile"
        advice = f"take `{words}.` out of the checkpoint's keys, or save {save} next time"
    else:
        sentence = f"the model is compiled{nested}, the checkpoint is not: {found.how_many} `{words}.`"
        advice = f"load before the model is wrapped, or into {inner}"
    return Finding("prefix-compile", min(1.0, found.score + 0.02), sentence, advice, found.rules)


def _nested(words: str) -> str:
    """What else wraps the model, and on which side of torch.compile."""
    outer, _, inner = words.partition("_orig_mod")
    named = {"module": "DataParallel", "_fsdp_wrapped_module": "FSDP", "_forward_module": "Lightning Fabric"}
    around = [named[w] for w in outer.split(".") if w in named]
    within = [named[w] for w in inner.split(".") if w in named]
    return (f" inside {around[0]}" if around else "") + (f" around {within[0]}" if within else "")
