"""One side keeps as one tensor what the other keeps as several: q, k, v or gate and up."""

from __future__ import annotations

import re
from dataclasses import dataclass

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import count, tokens

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
    there, here = _parts(evidence.unexpected_keys), _parts(evidence.missing_keys)
    joined = min(len(there.fused), len(here.split))
    cut = min(len(there.split), len(here.fused))
    if not joined and not cut:
        return _one_list(evidence, there, here)
    fused, split = (there.fused, here.split) if joined >= cut else (here.fused, there.split)
    keys = len(evidence.unexpected_keys) + len(evidence.missing_keys)
    part = (len(fused) + len(split)) / keys
    score = 0.85 if part > 0.6 else 0.6 if part > 0.2 else 0.35
    one, several = _called(fused[:1]), _called(split)
    if joined >= cut:
        sentence = (
            f"the checkpoint keeps {several} in {count(len(fused), 'fused tensor')} ({one}), the model wants "
            f"{count(len(split), 'separate one')}"
        )
        advice = (
            "cut each fused tensor along its first dimension; `automatch diagnose CHECKPOINT MODEL` needs the "
            "shapes to say where"
        )
    else:
        sentence = (
            f"the checkpoint keeps {several} in {count(len(split), 'separate tensor')}, the model wants "
            f"{count(len(fused), 'fused one')} ({one})"
        )
        advice = (
            f"join {several} along the first dimension; `automatch diagnose CHECKPOINT MODEL` needs the shapes to "
            "prove it, and the code of the model says in which order"
        )
    return Finding("fused/split tensors", score, sentence, advice)


@dataclass(frozen=True)
class _Parts:
    """The keys of one list that are named like fused tensors or like parts, each with the word that says so."""

    fused: tuple[str, ...]
    split: tuple[str, ...]


def _parts(keys: tuple[str, ...]) -> _Parts:
    found: tuple[list[str], list[str]] = ([], [])
    for key in keys:
        words = tokens(key)[-2:]
        for pattern, into in zip((_FUSED, _SPLIT), found, strict=True):
            into += [word for word in words if pattern.fullmatch(word)][-1:]
    return _Parts(tuple(found[0]), tuple(found[1]))


def _called(words: tuple[str, ...]) -> str:
    """The different words, at most four: "`q`, `k` and `v`"."""
    names = [f"`{word}`" for word in dict.fromkeys(words)][:4]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _one_list(evidence: Evidence, there: _Parts, here: _Parts) -> Finding | None:
    """Only fused tensors are listed, the parts lie beyond a cut or under names that both sides have."""
    if evidence.unexpected_keys and evidence.missing_keys:
        return None
    fused, keys = (there.fused, evidence.unexpected_keys) if there.fused else (here.fused, evidence.missing_keys)
    fewest = 1 if "first-key-only" in evidence.hints else 2
    if len(fused) < fewest or len(fused) < 0.4 * len(keys):
        return None
    has, lacks = ("checkpoint", "model") if there.fused else ("model", "checkpoint")
    return Finding(
        "fused/split tensors",
        0.6,
        f"the {has} has {count(len(fused), 'fused tensor')} ({_called(fused)}) that the {lacks} lacks; the rest of "
        f"their blocks is not listed",
        "look for the separate tensors on the other side: `automatch diagnose CHECKPOINT MODEL` shows both with "
        "their shapes",
    )
