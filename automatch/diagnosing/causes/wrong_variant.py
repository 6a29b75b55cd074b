"""Another architecture or another size of it; no renaming makes it fit."""

from __future__ import annotations

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import is_buffer, is_table
from automatch.diagnosing.shapes import is_entries_only, is_first_size_only, is_inputs_only, is_kernel
from automatch.diagnosing.variant import differences
from automatch.matching.assignment import Mismatch


def check(evidence: Evidence) -> Finding | None:
    """What is left when names and shapes do not belong together: says how they differ."""
    keys = [k for k in (*evidence.missing_keys, *evidence.unexpected_keys) if not is_buffer(k)]
    if not keys and not evidence.mismatched and not evidence.half_read:
        return None
    told = differences(evidence)
    deep = [m for m in evidence.mismatched if not _is_at_an_end(m)]
    score = 0.6 if len(deep) >= 3 else 0.4
    if "first-key-only" in evidence.hints and evidence.listed[0][:1].isdigit():
        score = 0.5  # a bare nn.Sequential, as files of base networks are
    if any(is_kernel(m) and not is_table(m.key) for m in evidence.mismatched):
        score = 0.65
    if told:
        sentence = f"wrong variant: the checkpoint has {'; '.join(told)}"
    else:
        sentence = f"another architecture or variant: {_more(evidence, keys)}"
    return Finding(
        "wrong-architecture/variant",
        score,
        sentence,
        "build the model with the configuration that the checkpoint was trained with, or take the checkpoint of this "
        "variant; renaming cannot help",
    )


def _is_at_an_end(mismatch: Mismatch) -> bool:
    """Whether only a table, an input layer or an output layer differs, as in one and the same architecture."""
    return (
        is_first_size_only(mismatch)
        or is_inputs_only(mismatch)
        or (is_table(mismatch.key) and is_entries_only(mismatch))
    )


def _more(evidence: Evidence, keys: list[str]) -> str:
    """Which side has more, where nothing else can be told."""
    if evidence.missing_keys and not evidence.unexpected_keys:
        return f"the model has what the checkpoint lacks, such as `{keys[0] if keys else evidence.missing_keys[0]}`"
    if evidence.unexpected_keys and not evidence.missing_keys:
        return f"the checkpoint has what the model lacks, such as `{keys[0] if keys else evidence.unexpected_keys[0]}`"
    if evidence.half_read:
        return f"`{evidence.half_read[0]}` has another shape; the text is cut before it says which"
    return (
        f"no change of names joins {len(evidence.missing_keys)} missing and {len(evidence.unexpected_keys)} "
        f"unexpected keys"
    )
