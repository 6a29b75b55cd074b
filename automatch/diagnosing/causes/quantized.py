"""One side is quantised: scales, zero points and packed weights beside or instead of the weights."""

from __future__ import annotations

import re
from fractions import Fraction
from math import prod

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.matching.assignment import Mismatch

_MARK = re.compile(
    r"(?:^|.*[._])(?:absmax|nested_absmax|quant_map|nested_quant_map|quant_state(?:\..+)?|bitsandbytes__\w+|SCB"
    r"|weight_format|qweight\w*|q_weight|qzeros|g_idx|scale_weight|scale_input|scaled_fp8|W_q|_num_bits|signed_tensor"
    r"|q_perm|q_scale\w*|q_groups|q_group_map|q_invperm|qscales?|scales|scales_and_zeros|weight_scale(?:_inv|_2)?"
    r"|weight_scales|input_scale(?:_2)?|output_scale"
    r"|k_scale|v_scale|q_scale|zero_points?|weight_zero_point|input_zero_point|zeros|_packed_params(?:\..+)?"
    r"|weight_packed|weight_shape"
    r"|weight_fake_quant\..+|activation_post_process(?:\..+)?|\w*fake_quant\w*(?:\..+)?|\w*_quantizer\.?.*|_amax"
    r"|weight_quantizer|act_quant\w*"
    r"|quant_scale|int_weight|qtype|weight_q|quantization_\w+|qconfig|fake_quant_enabled|observer_enabled|eps_quant"
    r"|min_val|max_val)$"
)
# Bytes for a value: two to eight values in one, and blocks of 32 or 256 values with their scales, as GGUF keeps them.
_PACKINGS = frozenset(
    Fraction(*f)
    for f in ((1, 2), (1, 4), (1, 8), (18, 32), (20, 32), (22, 32), (24, 32), (34, 32), (110, 256), (176, 256))
) | {Fraction(84, 256), Fraction(210, 256)}
_LONG_ROW = 256
_SCALE = re.compile(r"(?P<module>.*\.)scale$")


def check(evidence: Evidence) -> Finding | None:
    """Whether keys or shapes are those of quantised tensors."""
    for keys, side, other in (
        (evidence.unexpected_keys, "checkpoint", "model"),
        (evidence.missing_keys, "model", "checkpoint"),
    ):
        marks = _marks(keys)
        if marks and len(marks) >= 0.2 * len(keys):
            score = 0.95 if len(marks) >= 0.4 * len(keys) else 0.7
            return _finding(
                score, f"the {side} is quantised, the {other} is not: {len(marks)} keys such as `{marks[0]}`", side
            )
    packed = [m for m in evidence.mismatched if _is_packed(m)] or _packed_rows(evidence.mismatched)
    if packed and len(packed) > 0.5 * len(evidence.mismatched):
        first = packed[0]
        side = "checkpoint" if prod(first.checkpoint_shape) < prod(first.model_shape) else "model"
        sentence = (
            f"the {side} holds packed weights: `{first.key}` is {list(first.checkpoint_shape)} in the checkpoint and "
            f"{list(first.model_shape)} in the model"
        )
        return _finding(0.92, sentence, side)
    if "quantized" in evidence.hints:
        return _finding(0.75, "a quantised tensor met one that is not", "checkpoint")
    if "copy-failed-silently" in evidence.hints and "meta" not in evidence.hints:
        sentence = (
            "torch could not copy tensors whose shapes are equal: one side's are of a type that cannot be "
            "copied, as quantised ones are"
        )
        return _finding(0.62, sentence, "checkpoint")
    return None


def _marks(keys: tuple[str, ...]) -> list[str]:
    """The keys that belong to quantised weights; a plain `scale` does if a zero point lies beside it."""
    beside = frozenset(keys)
    return [
        k for k in keys if _MARK.match(k) or ((scale := _SCALE.match(k)) and f"{scale['module']}zero_point" in beside)
    ]


def _is_packed(mismatch: Mismatch) -> bool:
    """Packed to a column, as bitsandbytes does: [n, 1] for two values a byte."""
    small, large = sorted((mismatch.checkpoint_shape, mismatch.model_shape), key=prod)
    return len(small) == 2 and 1 in small and prod(small) > 64 and prod(large) % prod(small) == 0 and 1 not in large


def _packed_rows(mismatched: tuple[Mismatch, ...]) -> list[Mismatch]:
    """All rows shortened by one ratio of a packing, whatever the layer: 4096 values as 2048 bytes."""
    ratios = set()
    for m in mismatched:
        a, b = m.checkpoint_shape, m.model_shape
        if len(a) != 2 or len(b) != 2 or a[0] != b[0] or b[1] < _LONG_ROW or not a[1]:
            return []
        ratios.add(Fraction(a[1], b[1]))
    several = len(mismatched) > 1 and len({m.model_shape[0] for m in mismatched}) > 1
    return list(mismatched) if several and len(ratios) == 1 and ratios <= _PACKINGS else []


def _finding(score: float, sentence: str, side: str) -> Finding:
    if side == "checkpoint":
        advice = (
            "load it through the library and the settings that quantised it, or take the unquantised file; no "
            "renaming makes these weights usable"
        )
    else:
        advice = (
            "load the full-precision weights before the model is quantised, or take the file that was saved quantised"
        )
    return Finding("quantized", score, sentence, advice)
