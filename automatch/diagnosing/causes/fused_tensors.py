"""One side keeps as one tensor what the other keeps as several: q, k, v or gate and up."""

from __future__ import annotations

import re

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import tokens

_FUSED = re.compile(
    r"qkv|qkv_proj|in_proj|in_proj_weight|in_proj_bias|c_attn|query_key_value|Wqkv|wqkv|W_pack|qkv_linear"
    r"|to_qkv|kv|to_kv|kv_proj|gate_up_proj|gate_and_up_proj|w12|w13|W1W3|attn_qkv|linear_qkv|linear_fc1"
    r"|proj_qkv|qkv_projection|in_linear|c_kv|fused_qkv"
)
_SPLIT = re.compile(
    r"q|k|v|q_proj|k_proj|v_proj|query|key|value|to_q|to_k|to_v|wq|wk|wv|linear_q|linear_k|linear_v|q_lin|k_lin"
    r"|v_lin|query_proj|key_proj|value_proj|gate_proj|up_proj|w1|w3|w2|q_linear|k_linear|v_linear|proj_q|proj_k"
    r"|proj_v|W_q|W_k|W_v|Wq|Wk|Wv"
)


def check(evidence: Evidence) -> Finding | None:
    """Whether the fused name stands on one side and the parts on the other."""
    fused_unexpected, split_unexpected = _count(evidence.unexpected_keys)
    fused_missing, split_missing = _count(evidence.missing_keys)
    joined = min(fused_unexpected, split_missing)
    cut = min(split_unexpected, fused_missing)
    if not joined and not cut:
        return _one_list(evidence, fused_unexpected, fused_missing)
    keys = len(evidence.unexpected_keys) + len(evidence.missing_keys)
    part = (fused_unexpected + split_missing if joined >= cut else split_unexpected + fused_missing) / keys
    score = 0.85 if part > 0.6 else 0.6 if part > 0.2 else 0.35
    if joined >= cut:
        sentence = (
            f"the checkpoint keeps {fused_unexpected} fused tensors (query, key and value in one), the model "
            f"wants {split_missing} separate ones"
        )
        advice = (
            "cut each fused tensor along its first dimension; `automatch diagnose CHECKPOINT MODEL` needs the "
            "shapes to say where"
        )
    else:
        sentence = (
            f"the checkpoint keeps {split_unexpected} separate tensors (query, key, value), the model wants "
            f"{fused_missing} fused ones"
        )
        advice = (
            "join them along the first dimension in the order query, key, value; `automatch diagnose "
            "CHECKPOINT MODEL` needs the shapes to prove it"
        )
    return Finding("fused/split tensors", score, sentence, advice)


def _one_list(evidence: Evidence, fused_unexpected: int, fused_missing: int) -> Finding | None:
    """Only fused tensors are listed, the parts lie beyond a cut or under names that both sides have."""
    if evidence.unexpected_keys and evidence.missing_keys:
        return None
    number, keys = max((fused_unexpected, evidence.unexpected_keys), (fused_missing, evidence.missing_keys))
    if number < 2 or number < 0.4 * len(keys):
        return None
    has, lacks = ("checkpoint", "model") if keys is evidence.unexpected_keys else ("model", "checkpoint")
    return Finding(
        "fused/split tensors",
        0.6,
        f"the {has} has {number} fused tensors (query, key and value in one) that the {lacks} lacks; the rest of "
        f"their blocks is not listed",
        "look for the separate tensors on the other side: `automatch diagnose CHECKPOINT MODEL` shows both with "
        "their shapes",
    )


def _count(keys: tuple[str, ...]) -> tuple[int, int]:
    fused = split = 0
    for key in keys:
        words = tokens(key)[-2:]
        fused += any(bool(_FUSED.fullmatch(w)) for w in words)
        split += any(bool(_SPLIT.fullmatch(w)) for w in words)
    return fused, split
