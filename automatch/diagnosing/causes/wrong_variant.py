"""Another architecture or another size of it, as far as names and shapes tell."""

from __future__ import annotations

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import count, is_table
from automatch.diagnosing.outline import alike, contrast, outline
from automatch.diagnosing.shapes import is_entries_only, is_first_size_only, is_inputs_only, is_kernel
from automatch.diagnosing.variant import differences
from automatch.matching.assignment import Mismatch


def check(evidence: Evidence) -> Finding | None:
    """What is left when names and shapes do not belong together: says how they differ."""
    keys = [k for k in (*evidence.missing_keys, *evidence.unexpected_keys) if k not in evidence.buffers]
    if not keys and not evidence.mismatched and not evidence.half_read:
        return None
    told = differences(evidence)
    deep = [m for m in evidence.mismatched if not _is_at_an_end(m)]
    score = 0.6 if len(deep) >= 3 else 0.4
    if any(is_kernel(m) and not is_table(m.key) for m in evidence.mismatched):
        score = 0.65
    sentence = f"wrong variant: the checkpoint has {'; '.join(told)}" if told else _seen(evidence, keys)
    return Finding("wrong-architecture/variant", score, sentence, _advice(evidence, told))


def _advice(evidence: Evidence, told: tuple[str, ...]) -> str:
    build = (
        "build the model with the configuration that the checkpoint was trained with, or take the checkpoint of this "
        "variant"
    )
    if evidence.checkpoint is not None or (evidence.mismatched and not evidence.truncated):
        return f"{build}; renaming cannot help where shapes differ"
    if told:
        return build
    return (
        "run `automatch diagnose CHECKPOINT MODEL`: with the shapes it tells a renaming from another variant; if it is "
        f"one, {build}"
    )


def _is_at_an_end(mismatch: Mismatch) -> bool:
    """Whether only a table, an input layer or an output layer differs, as in one and the same architecture."""
    return (
        is_first_size_only(mismatch)
        or is_inputs_only(mismatch)
        or (is_table(mismatch.key) and is_entries_only(mismatch))
    )


def _seen(evidence: Evidence, keys: list[str]) -> str:
    """Which side has what, where nothing else can be told: what is known, and no more."""
    if evidence.mismatched:
        first = evidence.mismatched[0]
        shapes = f"{list(first.checkpoint_shape)} in the checkpoint and {list(first.model_shape)} in the model"
        others = len(evidence.mismatched) - 1
        return f"`{first.key}` is {shapes}{f', and {others} more differ in shape' if others else ''}: another variant"
    if evidence.half_read:
        return f"`{evidence.half_read[0]}` has another shape; the text is cut before it says which"
    missing, unexpected = len(evidence.missing_keys), len(evidence.unexpected_keys)
    if not unexpected or not missing:
        has, lacks = ("model", "checkpoint") if missing else ("checkpoint", "model")
        first_key = keys[0] if keys else evidence.listed[0]
        what = f"the {has} has {count(missing or unexpected, 'key')} that the {lacks} lacks, such as `{first_key}`"
        more = "; the list is cut, the other side's is not seen" if evidence.truncated else ""
        return f"{what}: another variant, or parts of it under other names{more}"
    if evidence.truncated:
        return (
            f"none of {missing} missing and {unexpected} unexpected keys has a counterpart among those that the cut "
            "text shows: another architecture, or other names"
        )
    there, here = outline(evidence.unexpected_keys), outline(evidence.missing_keys)
    differ = contrast(there, here) if alike(there, here) < 1.0 else ""
    return (
        f"no change of names joins {missing} missing and {unexpected} unexpected keys"
        f"{f' (last words differ: {differ})' if differ else ''}: another architecture or variant is likely"
    )
