"""A vocabulary, a resolution, a sequence or the number of input channels changed; the architecture did not."""

from __future__ import annotations

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import count, is_buffer, is_table, share
from automatch.matching.assignment import Mismatch


def check(evidence: Evidence) -> Finding | None:
    """Whether only tables or input layers differ in shape."""
    mismatched = evidence.mismatched
    if not mismatched:
        return _half_read(evidence)
    tables = [m for m in mismatched if is_table(m.key) and _entries_differ(m)]
    inputs = [m for m in mismatched if m not in tables and _inputs_differ(m)]
    buffers = [m for m in mismatched if m not in tables and m not in inputs and is_buffer(m.key)]
    part = (len(tables) + len(inputs) + len(buffers)) / len(mismatched)
    if part < 0.6:
        return None
    if tables and len(tables) >= len(inputs):
        score, what = 0.88 * part, f"{count(len(tables), 'table')} of a vocabulary or of positions"
    elif buffers and len(buffers) >= len(inputs):
        score, what = 0.8 * part, f"{count(len(buffers), 'buffer')} whose size follows the input"
    elif len(mismatched) <= 2 and inputs:
        score, what = (0.45 if evidence.truncated else 0.62), "the number of inputs of a layer"
    else:
        return None
    first = (tables or buffers or inputs)[0]
    a, b = next((a, b) for a, b in zip(first.checkpoint_shape, first.model_shape, strict=True) if a != b)
    return Finding(
        "vocab-or-shape-change",
        score,
        f"{a} in the checkpoint against {b} in the model: {what} changed (`{first.key}`), "
        f"{count(len(mismatched), 'tensor')} in all",
        f"build the model with {a} here (vocabulary, tokenizer, image size or channels as when it was saved), or "
        f"resize that tensor on purpose",
    )


def _half_read(evidence: Evidence) -> Finding | None:
    if not evidence.half_read or share(evidence.half_read, is_table) < 1.0:
        return None
    return Finding(
        "vocab-or-shape-change",
        0.6,
        f"`{evidence.half_read[0]}`, a table of a vocabulary or of positions, has another shape; the text is cut "
        f"before it says which",
        "run `automatch diagnose CHECKPOINT MODEL` to see both shapes; then build the model with the vocabulary of "
        "the checkpoint",
    )


def _entries_differ(mismatch: Mismatch) -> bool:
    """Whether the number of entries differs and their width does not."""
    a, b = mismatch.checkpoint_shape, mismatch.model_shape
    if len(a) != len(b):
        return False
    different = [i for i in range(len(a)) if a[i] != b[i]]
    if len(a) <= 2 and a[:1] != (1,):
        return different == [0]
    return 0 not in different and (
        len(a) == 2 or (different in ([1], [2], [3], [2, 3]) and different != [len(a) - 1]) or len(a) == 4
    )


def _inputs_differ(mismatch: Mismatch) -> bool:
    a, b = mismatch.checkpoint_shape, mismatch.model_shape
    return len(a) == len(b) >= 2 and [i for i in range(len(a)) if a[i] != b[i]] == [1]
