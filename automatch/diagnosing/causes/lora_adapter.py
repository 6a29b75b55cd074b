"""Adapter weights (LoRA and its kin): a small file that belongs beside a base model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import count, share

_MARK = re.compile(
    r"(?:^|.*[._])(?:lora_\w+|lora[AB]?\d?|\w*_lora|lora|hada_w\d_\w|lokr_w\d\w*|loha_\w+|base_layer"
    r"|modules_to_save|original_module|ia3_l|"
    r"prompt_encoder|prompt_embeddings|prefix_encoder|prefix_tokens|prompt_learner|to_[kv]_ip|lora_magnitude_vector|adapters?|adapter_\w+|dora_scale|oft_\w+)(?:\..*|$)"
)


def check(evidence: Evidence) -> Finding | None:
    """Whether the keys are those of an adapter, on either side."""
    keys = evidence.listed
    if not keys:
        return None
    sides = (evidence.unexpected_keys, evidence.missing_keys, tuple(m.key for m in evidence.mismatched))
    marked = max(share(side, _MARK.match) for side in sides)
    wrapped = max(share(side, lambda k: k.startswith("base_model.model.")) for side in sides)
    if marked < 0.2 and wrapped < 0.8:
        return None
    score = 0.93 if marked >= 0.5 else 0.86 if marked >= 0.2 else 0.56
    in_checkpoint = share(evidence.unexpected_keys, _MARK.match) > share(evidence.missing_keys, _MARK.match)
    number = sum(bool(_MARK.match(k)) for k in keys)
    if evidence.mismatched and number and share([m.key for m in evidence.mismatched], _MARK.match) >= 0.5:
        others = sum(bool(_MARK.match(m.key)) for m in evidence.mismatched)
        sentence = f"the adapter was trained for another base model or rank: {others} adapter tensors have other shapes"
        advice = "attach the adapter to the base model named in its adapter_config.json, with the same rank"
    elif halves := _served(evidence):
        what = "an adapter's file for a model that has its adapter attached"
        sentence = f"{what}: {count(halves, 'adapter key')}, all placed"
        advice = (
            "what is missing is the base model's: load the base weights before the adapter is attached, then this file "
            "with the library that trained it, or by the rules with `strict=False`"
        )
    elif in_checkpoint:
        own = sum(bool(_MARK.match(k)) for k in evidence.unexpected_keys)
        alone = own == len(evidence.unexpected_keys) and (not evidence.checkpoint or own == len(evidence.checkpoint))
        what = "a LoRA adapter, not a model" if alone else "a model with a LoRA adapter attached, not the bare model"
        sentence = f"{what}: {count(own, 'adapter key')}"
        advice = (
            "load the base model, then the adapter with the library that trained it "
            "(`PeftModel.from_pretrained`), and merge it if a bare model is wanted"
        )
    elif number and any(map(_MARK.match, evidence.unexpected_keys)):
        lost, left = (sum(bool(_MARK.match(k)) for k in side) for side in sides[1::-1])
        sentence = f"both have an adapter, on other modules: {lost} adapter keys are missing, {left} unexpected"
        advice = (
            "attach the adapter to the modules that it was trained for (`target_modules` of its adapter_config.json)"
        )
    elif number:
        sentence = f"the model has an adapter attached that the checkpoint has not: {number} adapter keys are missing"
        advice = "load the base weights before the adapter is attached, then load the adapter's own file"
    else:
        sentence = f"keys begin with `base_model.model.`, as peft wraps a model: {len(keys)} keys"
        advice = "load with the library that saved it (`PeftModel.from_pretrained`), or into the wrapped base model"
    return Finding("lora/peft", score, sentence, advice)


def _served(evidence: Evidence) -> int:
    """How many adapter tensors the checkpoint has, if all of either side have partners; else 0.

    The scales that kohya's scripts write beside the halves (`alpha`) are none, and have no place in PEFT's models.
    """
    sides: tuple[Sequence[str], Sequence[str]] = evidence.unexpected_keys, evidence.missing_keys
    if not any(map(_MARK.match, evidence.unexpected_keys)) and evidence.checkpoint and evidence.model:
        sides = evidence.checkpoint.keys, evidence.model.keys  # a file with the adapter's name in its keys
    own, wanted = (
        [k for k in side if _MARK.match(k) and "base_layer" not in k and not k.endswith(".alpha")] for side in sides
    )
    if evidence.assignment is None or not wanted:
        return 0
    matches = evidence.assignment.matches
    used = {key for m in matches for key in m.checkpoint_keys}
    served = {key for m in matches for key in m.model_keys}
    halves = set(wanted)  # which the file may call `q.A` and `q.B`
    own = own or [key for m in matches if not halves.isdisjoint(m.model_keys) for key in m.checkpoint_keys]
    return len(own) if used.issuperset(own) and served.issuperset(wanted) else 0
