"""Another architecture or another size of it; no renaming makes it fit."""

from __future__ import annotations

from collections import Counter

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import is_buffer
from automatch.diagnosing.shapes import is_first_size_only
from automatch.diagnosing.variant import differences


def check(evidence: Evidence) -> Finding | None:
    """What is left when names and shapes do not belong together: says how they differ."""
    keys = [k for k in (*evidence.missing_keys, *evidence.unexpected_keys) if not is_buffer(k)]
    if not keys and not evidence.mismatched and not evidence.half_read:
        return None
    told = differences(evidence)
    sizes = Counter(
        (a, b) for m in evidence.mismatched for a, b in zip(m.checkpoint_shape, m.model_shape, strict=False) if a != b
    )
    score = 0.4
    if len(evidence.mismatched) >= 3 and len(sizes) >= 1:
        score = 0.6
    if all(is_first_size_only(m) for m in evidence.mismatched):
        score = 0.4
    if "first-key-only" in evidence.hints and evidence.listed[0][:1].isdigit():
        score = 0.5  # a bare nn.Sequential, as files of base networks are
    if any(len(m.checkpoint_shape) != len(m.model_shape) for m in evidence.mismatched):
        score = max(score, 0.65)
    what = "; ".join(told) if told else "neither names nor shapes belong together"
    lists = f"{len(evidence.missing_keys)} missing, {len(evidence.unexpected_keys)} unexpected, {len(evidence.mismatched)} of another shape"
    return Finding(
        "wrong-architecture/variant",
        score,
        f"the checkpoint is of another architecture or variant: {what} ({lists})",
        "build the model with the configuration that the checkpoint was trained with, or take the checkpoint of this variant; renaming cannot help",
    )
