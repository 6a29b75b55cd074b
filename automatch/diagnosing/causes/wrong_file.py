"""Not a model's state_dict at all, or tensors without values: no renaming can help."""

from __future__ import annotations

from math import prod

from automatch.diagnosing.evidence import Evidence, Finding


def check(evidence: Evidence) -> Finding | None:
    """Whether the file is an optimizer's, or its tensors (or the model's) hold no values."""
    unexpected = set(evidence.unexpected_keys)
    if unexpected and unexpected <= {"state", "param_groups"}:
        return _finding(
            0.97,
            "this is an optimizer's file: it holds `state` and `param_groups`, no model",
            "load the model's own file; the optimizer's goes into `optimizer.load_state_dict`",
        )
    empty = [m for m in evidence.mismatched if _is_placeholder(m.checkpoint_shape, m.model_shape)]
    if empty and len(empty) > 0.7 * len(evidence.mismatched):
        return _finding(
            0.93,
            f"{len(empty)} tensors of the checkpoint are placeholders of shape {list(empty[0].checkpoint_shape)}: "
            "it was saved while the parameters were partitioned (DeepSpeed ZeRO-3, FSDP)",
            "gather the parameters before saving (`zero_to_fp32.py`, `model.save_checkpoint`, a full state_dict of "
            "FSDP) and load that file",
        )
    empty = [m for m in evidence.mismatched if _is_placeholder(m.model_shape, m.checkpoint_shape)]
    if empty and len(empty) > 0.7 * len(evidence.mismatched):
        return _finding(
            0.93,
            f"{len(empty)} parameters of the model are placeholders of shape {list(empty[0].model_shape)}: "
            "it is partitioned (DeepSpeed ZeRO-3, FSDP) while loading",
            "load before the model is partitioned, or inside `deepspeed.zero.GatheredParameters`",
        )
    return _by_hints(evidence)


def _by_hints(evidence: Evidence) -> Finding | None:
    if "meta" in evidence.hints:
        return _finding(
            0.9,
            "tensors on the meta device have no values to copy",
            "load with `load_state_dict(state_dict, assign=True)`, or make the model on a real device first "
            "(`to_empty`)",
        )
    if "fsdp" in evidence.hints:
        return _finding(
            0.85,
            "an assertion of FullyShardedDataParallel failed while it gathered or scattered the state_dict",
            "make the model and wrap it exactly as when it was saved, and load a full state_dict before wrapping",
        )
    if "copy-failed" in evidence.hints:
        return _finding(
            0.6,
            "torch could not copy a tensor although both shapes are equal",
            "compare the types of both tensors (layout, quantisation, device): the exception behind the sentence "
            "says which differs",
        )
    return None


def _finding(score: float, sentence: str, advice: str) -> Finding:
    return Finding("other", score, sentence, advice)


def _is_placeholder(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return (
        (prod(shape) == 0 or shape == (1,))
        and prod(other) > 1
        and len(shape) == 1
        and (shape == (0,) or len(other) != 1 or other[0] > 8)
    )
