"""What keys and shapes do not decide: values of another kind, and one model tensor that the checkpoint has twice."""

from __future__ import annotations

from itertools import product
from operator import itemgetter
from typing import NamedTuple

from automatch.matching.assignment import Assignment
from automatch.spec import StateDictSpec, TensorSpec

FLOATS = ("float", "bfloat", "double", "half")
WHOLE = ("int", "uint", "qint", "quint")
# Whole numbers that a model wants only where it computes with quantised weights; masks and counters are of other kinds.
PACKED = ("int8", "int32", "qint8", "quint8", "qint32", "quint4x2")


class MismatchedDtype(NamedTuple):
    """A pair whose values are of another kind: converting the numbers would not give the weights."""

    key: str
    checkpoint_key: str
    checkpoint_dtype: str
    model_dtype: str


class PartedTie(NamedTuple):
    """Two keys of one tensor in the model, for which the checkpoint has two tensors."""

    key: str
    other: str
    checkpoint_key: str
    other_checkpoint_key: str


def mismatched_dtypes(
    checkpoint: StateDictSpec, model: StateDictSpec, assignment: Assignment
) -> tuple[MismatchedDtype, ...]:
    """Pairs of whole numbers and floats, such as int8 weights for a float model; precisions of floats may differ.

    Args:
        checkpoint: dtypes of the file.
        model: dtypes of the model; a float buffer takes whole numbers (masks), a scalar anything (counters).
        assignment: which serves which.
    """
    # kinds before pairs: a hundred thousand tensors have two or three
    sides = [set(map(itemgetter(1, 2, 3), side.tensors)) for side in (checkpoint, model)]
    kinds = [
        {(dtype, kind): TensorSpec("", shape, dtype, kind) for shape, dtype, kind in side if shape} for side in sides
    ]
    if not any(_clash(given, wanted) for given, wanted in product(*(side.values() for side in kinds))):
        return ()
    out = []
    for match in assignment.matches:
        for key in match.model_keys:
            wanted = model.by_key[key]
            for source in match.checkpoint_keys:
                given = checkpoint.by_key[source]
                if given.dtype != wanted.dtype and _clash(given, wanted):
                    out.append(MismatchedDtype(key, source, given.dtype, wanted.dtype))
    return tuple(out)


def _clash(given: TensorSpec, wanted: TensorSpec) -> bool:
    if not given.shape or not wanted.shape:
        return False
    if wanted.dtype.startswith(FLOATS):
        complex_weights = given.dtype.startswith("complex")
        return complex_weights or (given.dtype.startswith(WHOLE) and wanted.kind != "buffer")
    return wanted.dtype in PACKED and given.dtype.startswith(FLOATS)


def dtype_sentence(pairs: tuple[MismatchedDtype, ...]) -> str:
    """What the pairs have in common, without a full stop; "" where there are none."""
    if not pairs:
        return ""
    first = pairs[0]
    more = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    quantised = (
        "the checkpoint seems quantised" if first.model_dtype.startswith(FLOATS) else "the model seems quantised"
    )
    return (
        f"{first.checkpoint_key} holds {first.checkpoint_dtype}{more} where the model wants {first.model_dtype}: "
        f"{quantised}, and no renaming makes these weights usable"
    )


def parted_ties(checkpoint: StateDictSpec, model: StateDictSpec, assignment: Assignment) -> tuple[PartedTie, ...]:
    """Keys that share a tensor in the model while the checkpoint has a tensor for each."""
    tied = [t for t in model.tensors if t.tied is not None]
    if not tied:
        return ()
    sources = {
        match.model_keys[0]: match.checkpoint_keys[0]
        for match in assignment.matches
        if len(match.model_keys) == len(match.checkpoint_keys) == 1
    }
    out = []
    for tensor in tied:
        first = tensor.tied or ""
        ours, theirs = sources.get(first), sources.get(tensor.key)
        if ours is None or theirs is None or _root(checkpoint, ours) == _root(checkpoint, theirs):
            continue
        out.append(PartedTie(first, tensor.key, ours, theirs))
    return tuple(out)


def tie_sentence(tie: PartedTie) -> str:
    """What happens to the two, without a full stop."""
    return (
        f"{tie.key} and {tie.other} are one tensor in the model, the checkpoint has two ({tie.checkpoint_key} and "
        f"{tie.other_checkpoint_key}): unless these are equal, one of them is lost"
    )


def _root(checkpoint: StateDictSpec, key: str) -> str:
    return checkpoint.by_key[key].tied or key
