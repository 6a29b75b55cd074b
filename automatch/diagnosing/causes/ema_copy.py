"""An averaged copy of the weights (EMA, SWA) beside the weights, on one side only."""

from __future__ import annotations

from automatch.averages import is_average
from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import count, share


def check(evidence: Evidence) -> Finding | None:
    """Whether what one side has too much is an averaged copy."""
    for keys, others, side in (
        (evidence.unexpected_keys, evidence.missing_keys, "checkpoint"),
        (evidence.missing_keys, evidence.unexpected_keys, "model"),
    ):
        if share(keys, _is_copy) >= 0.8 and len(others) < 0.2 * len(keys):
            other = "model" if side == "checkpoint" else "checkpoint"
            if side == "checkpoint":
                advice = (
                    "drop these keys from the state_dict, or load the averaged copy on purpose in place of the weights"
                )
            else:
                advice = (
                    "build the model without its averaged copy (`use_ema=False`), or start the copy from the "
                    "loaded weights"
                )
            sentence = (
                f"the {side} has an averaged copy of the weights that the {other} lacks: "
                f"{count(len(keys), 'key')} such as `{keys[0]}`"
            )
            return Finding("other", 0.66, sentence, advice)
    return None


def _is_copy(key: str) -> bool:
    """Is it of an averaged module, or a module and all in one token, as mmcv's `ema_backbone_conv1_weight`?"""
    return is_average(key.rpartition(".")[0] or key)
