"""Equal tensors: values tell that they belong to each other, but not which to which; names and neighbours choose.

The matching stage does it, on keys whose shapes stand for values: what became what has one shape of its own on both
sides, all tensors of equal values have another, and what has no partner has one that nobody else has. So the matching
can put together only what values allow, and its flags say where it is not sure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import replace

from automatch.learning.relation import Relation
from automatch.learning.sides import Sides
from automatch.learning.singles import Equal
from automatch.matching import match
from automatch.matching.assignment import Match
from automatch.matching.basis.leaves import is_counter
from automatch.spec import Shape, StateDictSpec, TensorSpec

FIRST = 1_000_003
"""Sizes from here on stand for values; the sum of two is none of them, so that nothing seems to be joined."""

GUESS = 0.3
"""Confidence of a match for which any of several would do."""


def choose_among_equals(
    sides: Sides, decided: Sequence[Relation], equals: Sequence[Equal], left: Iterable[str]
) -> dict[str, Match]:
    """For each target that equals several sources, the one that names and neighbours choose.

    Args:
        sides: both sides.
        decided: what is known.
        equals: what is not.
        left: targets that are still to be served.

    Returns:
        Target -> the match with its source, its confidence and its flag.
    """
    wanted = set(left)
    marks: dict[tuple[bool, str], Shape] = {}
    for relation in decided:
        number = len(marks)
        source, target = (False, relation.sources[0]), (True, relation.targets[0])
        marks[target] = marks.setdefault(source, _mark(number, sides, relation.targets[0]))
    hidden = {(False, key) for r in decided for key in r.sources[1:]}
    hidden |= {(True, key) for r in decided for key in r.targets[1:]}
    for sources, targets in _groups(equals):
        mark = _mark(len(marks), sides, targets[0])
        for key in sources:
            marks.setdefault((False, key), mark)
        for key in targets:
            if key in wanted:
                marks.setdefault((True, key), mark)
    specs = [_marked(sides.spec(side), side, marks, hidden) for side in (False, True)]
    found = match(specs[0], specs[1]).matches
    allowed = {target: set(equal.sources) for equal in equals for target in equal.targets}
    chosen = {
        one.model_keys[0]: one
        for one in found
        if len(one.model_keys) == len(one.checkpoint_keys) == 1
        and one.model_keys[0] in wanted
        and one.checkpoint_keys[0] in allowed.get(one.model_keys[0], ())
    }
    used = {key for relation in decided for key in relation.sources} | {m.checkpoint_keys[0] for m in chosen.values()}
    return {**chosen, **_guesses(equals, wanted - set(chosen), used)}


def _guesses(equals: Sequence[Equal], wanted: Set[str], used: set[str]) -> dict[str, Match]:
    """For targets that the matching leaves alone, the first equal source that serves nothing; flagged, any would do."""
    out: dict[str, Match] = {}
    for equal in equals:
        for target in equal.targets:
            free = [key for key in equal.sources if key not in used]
            if target in wanted and free:
                used.add(free[0])
                out[target] = Match(
                    (target,), (free[0],), "rename", GUESS, True, tuple(free[1:4]), "nothing tells which of them"
                )
    return out


def _groups(equals: Sequence[Equal]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Sources with all targets that equal them, whatever their shapes."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for equal in equals:
        groups.setdefault(equal.sources, []).extend(equal.targets)
    return [(sources, tuple(targets)) for sources, targets in groups.items()]


def _mark(number: int, sides: Sides, target: str) -> Shape:
    """A shape that stands for values; a vector stays one, as these count less."""
    size = FIRST + number
    return (size,) if len(sides.spec(True).by_key[target].shape) < 2 else (size, 3)


def _marked(
    spec: StateDictSpec, side: bool, marks: dict[tuple[bool, str], Shape], hidden: set[tuple[bool, str]]
) -> StateDictSpec:
    """The side with shapes that stand for values; the second and later tensors of a group are left out."""
    tensors = []
    for place, tensor in enumerate(spec.tensors):
        if (side, tensor.key) not in hidden:
            alone = FIRST + len(marks) + 1 + 2 * place + side
            nobody: Shape = (alone,) if len(tensor.shape) < 2 else (alone, 3)
            tensors.append(_with_shape(tensor, marks.get((side, tensor.key), nobody)))
    return replace(spec, tensors=tuple(tensors))


def _with_shape(tensor: TensorSpec, shape: Shape) -> TensorSpec:
    """The tensor in another shape; counters, which follow their modules, stay what they are."""
    if is_counter(tensor):
        return tensor
    return tensor._replace(shape=shape, dtype="float32", tied=None)
