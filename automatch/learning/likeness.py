"""Tensors that follow each other: the same weights, or trained a little further."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from automatch.learning.arrays import Arrays
from automatch.learning.forms import FLOATS, floats_of
from automatch.matching.assignment import Match

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE = 4_096
"""So many elements of a tensor are compared with another's."""

FEWEST = 16
"""Fewer elements follow each other by chance."""

CLOSE, FAR = 0.8, 0.4
"""Correlations that decide: the best is above the first, the second best below the second."""

MOST_ALIKE = 1_000
"""More tensors of one shape than this are not compared with each other."""

SURE = 0.97
"""Confidence where values decide."""


def by_likeness(
    matches: Mapping[str, Match], unexpected: Iterable[str], checkpoint: Arrays, model: Arrays
) -> dict[str, Match]:
    """Matches of tensors that follow each other, and of which neither follows another; their modules go with them.

    Args:
        matches: model key -> the match that is open.
        unexpected: checkpoint keys that serve nothing.
        checkpoint: the values of the checkpoint.
        model: the values of the model.
    """
    targets: dict[object, list[str]] = defaultdict(list)
    sources: dict[object, dict[str, None]] = defaultdict(dict)
    for key in matches:
        if model.spec.by_key[key].dtype in FLOATS:
            targets[model.spec.by_key[key].shape].append(key)
    for key in (*(m.checkpoint_keys[0] for m in matches.values()), *unexpected):
        if checkpoint.spec.by_key[key].dtype in FLOATS:
            sources[checkpoint.spec.by_key[key].shape][key] = None
    out: dict[str, Match] = {}
    for shape, wanted in targets.items():
        given = list(sources[shape])
        if max(len(given), len(wanted)) <= MOST_ALIKE:
            for source, target, best, second in _closest(given, wanted, checkpoint, model):
                said = f"values: they follow each other ({best:.2f}, the next {second:.2f}), which decides"
                out[target] = matches[target]._replace(
                    checkpoint_keys=(source,), confidence=SURE, ambiguous=False, alternatives=(),
                    reason=f"{said}; without values: {matches[target].reason}",
                )  # fmt: skip
    return out | _beside(out, matches, {key for own in sources.values() for key in own}, checkpoint, model)


def _beside(
    decided: Mapping[str, Match], matches: Mapping[str, Match], free: Container[str], checkpoint: Arrays, model: Arrays
) -> dict[str, Match]:
    """What stands beside a decided tensor in its module goes with it: a bias is too short to be compared."""
    homes: dict[str, set[str]] = defaultdict(set)
    for target, match in decided.items():
        homes[target.rpartition(".")[0]].add(match.checkpoint_keys[0].rpartition(".")[0])
    taken = {match.checkpoint_keys[0] for match in decided.values()}
    out: dict[str, Match] = {}
    for target, match in matches.items():
        home = homes.get(target.rpartition(".")[0], set())
        if target in decided or len(home) != 1:
            continue
        source = ".".join(filter(None, (next(iter(home)), match.checkpoint_keys[0].rpartition(".")[2])))
        if source in taken or source not in free:
            continue
        if checkpoint.spec.by_key[source].shape == model.spec.by_key[target].shape:
            out[target] = match._replace(
                checkpoint_keys=(source,), confidence=SURE, ambiguous=False, alternatives=(),
                reason=f"beside a tensor that values decide; without values: {match.reason}",
            )  # fmt: skip
    return out


def _closest(
    given: Sequence[str], wanted: Sequence[str], checkpoint: Arrays, model: Arrays
) -> list[tuple[str, str, float, float]]:
    """Pairs (source, target, correlation, next best one of either) that are close while all else is far."""
    import numpy as np

    rows = np.stack([_sample(checkpoint, key) for key in given])
    columns = np.stack([_sample(model, key) for key in wanted])
    if rows.shape[1] < FEWEST:
        return []
    alike = rows @ columns.T
    out = []
    for j, target in enumerate(wanted):
        i = int(alike[:, j].argmax())
        others = np.concatenate([np.delete(alike[:, j], i), np.delete(alike[i], j)])
        second = float(others.max()) if len(others) else 0.0
        if alike[i, j] >= CLOSE and second <= FAR:
            out.append((given[i], target, float(alike[i, j]), second))
    return out


def _sample(arrays: Arrays, key: str) -> NDArray[Any]:
    """Elements of a tensor from all over it, centred and of length 1; zeros where all are alike."""
    import numpy as np

    flat = arrays(key).reshape(-1)
    step = max(1, len(flat) // SAMPLE)
    values = floats_of(flat[::step][:SAMPLE], arrays.spec.by_key[key].dtype).astype(np.float64)
    values -= values.mean() if len(values) else 0.0
    length = float(np.linalg.norm(values))
    centred: NDArray[Any] = values / length if np.isfinite(length) and length > 0 else np.zeros_like(values)
    return centred
