"""A vocabulary, a resolution, a sequence or the number of input channels changed; the architecture did not."""

from __future__ import annotations

from collections.abc import Sequence

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import count, is_table, share
from automatch.diagnosing.shapes import (
    first_pair,
    is_entries_only,
    is_first_size_only,
    is_inputs_only,
    is_layer_of_classes,
)
from automatch.matching.assignment import Mismatch


def check(evidence: Evidence) -> Finding | None:
    """Whether only tables or input layers differ in shape."""
    mismatched = evidence.mismatched
    if not mismatched:
        return _half_read(evidence)
    keys = {m.key for m in mismatched}
    tables = [m for m in mismatched if is_table(m.key) and is_entries_only(m) and not is_layer_of_classes(m.key, keys)]
    # an output layer of the vocabulary changes with its table
    entries = {first_pair(m) for m in tables}
    rest = _others(mismatched, tables)
    tables += [m for m in rest if is_first_size_only(m) and first_pair(m) in entries]
    rest = _others(rest, tables)
    inputs = [m for m in rest if is_inputs_only(m) and not is_table(m.key)]
    buffers = [m for m in _others(rest, inputs) if m.key in evidence.buffers]
    part = (len(tables) + len(inputs) + len(buffers)) / len(mismatched)
    if part < 0.6:
        return None
    if tables and len(tables) >= len(inputs):
        score, what = (
            (0.94 if part == 1.0 else 0.88 * part),
            f"{count(len(tables), 'table')} of a vocabulary or of positions",
        )
    elif buffers and len(buffers) >= len(inputs):
        score, what = 0.8 * part, f"{count(len(buffers), 'buffer')} whose size follows the input"
    elif len(mismatched) <= 2 and inputs:
        score, what = (0.45 if evidence.truncated else 0.62), "the number of inputs of a layer"
    else:
        return None
    first = (tables or buffers or inputs)[0]
    a, b = first_pair(first)
    return Finding(
        "vocab-or-shape-change",
        score,
        f"{a} in the checkpoint against {b} in the model: {what} changed (`{first.key}`), "
        f"{count(len(mismatched), 'tensor')} in all",
        f"build the model with {a} here (vocabulary, tokenizer, image size or channels as when it was saved), or "
        f"resize that tensor on purpose",
    )


def _others(mismatched: Sequence[Mismatch], told: Sequence[Mismatch]) -> list[Mismatch]:
    """Those that are not told of yet."""
    chosen = set(told)
    return [m for m in mismatched if m not in chosen]


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
