"""The documented JSON of a diagnosis.

    {"schema": 1, "verdict": str, "complete": bool,
     "checkpoint": {"name", "keys", "origin", "at", "notes"}, "model": {...},
     "matches": [{"model_keys": [...], "checkpoint_keys": [...], "op": str, "confidence": 0..1, "ambiguous": bool,
                  "alternatives": [...], "reason": str, "dim": int, "perm": [...], "checkpoint_shapes": [[...]]}],
     "missing_keys": [...], "unexpected_keys": [...],
     "mismatched_keys": [{"key": model key, "checkpoint_key", "checkpoint_shape", "model_shape"}],
     "mismatched_dtypes": [{"key": model key, "checkpoint_key", "checkpoint_dtype", "model_dtype"}],
     "harmless": {key: why its being missing or unexpected does no harm}, "notes": [...],
     "rules": [{"pattern": str, "replacement": str, "op": str, "hits": int, ...}],
     "proof": {"replayed": bool, "strict_load": null | {"passed": bool | null, "message": str, "kept": [...]}}}

A model key stands in one of `matches` or in `missing_keys`, a checkpoint key in `matches` (in several where weights are
tied) or in `unexpected_keys`; `mismatched_keys` says more about some of those left over. What an operation does not
need (`dim`, `perm`, `checkpoint_shapes`, ...) is left out. A change that breaks a reader raises the number of the
schema.
"""

from __future__ import annotations

from typing import Any

from automatch.matching.assignment import Match, Mismatch
from automatch.spec import StateDictSpec

SCHEMA = 1


def side_entry(spec: StateDictSpec) -> dict[str, Any]:
    """One side without its keys: those stand in the lists."""
    return {"name": spec.name, "keys": len(spec), "origin": spec.origin, "at": spec.at, "notes": list(spec.notes)}


def match_entry(match: Match, checkpoint: StateDictSpec) -> dict[str, Any]:
    """One match; what its operation does not need is left out.

    Where more than the name changes, the shapes of the checkpoint's tensors are told: nothing else says how to undo it.
    """
    entry: dict[str, Any] = {
        "model_keys": list(match.model_keys),
        "checkpoint_keys": list(match.checkpoint_keys),
        "op": match.op,
        "confidence": round(match.confidence, 4),
        "ambiguous": match.ambiguous,
        "alternatives": list(match.alternatives),
        "reason": match.reason,
    }
    for name in ("dim", "perm", "sizes", "shape"):
        value = getattr(match, name)
        if value is not None:
            entry[name] = list(value) if isinstance(value, tuple) else value
    if match.op != "rename":
        shapes = [checkpoint.by_key[key].shape for key in match.checkpoint_keys]
        entry["checkpoint_shapes"] = [list(shape) for shape in (shapes if len(set(shapes)) > 1 else shapes[:1])]
    return entry


def mismatch_entry(pair: Mismatch) -> dict[str, Any]:
    """One pair whose shapes differ."""
    return {
        "key": pair.key,
        "checkpoint_key": pair.checkpoint_key,
        "checkpoint_shape": list(pair.checkpoint_shape),
        "model_shape": list(pair.model_shape),
    }
