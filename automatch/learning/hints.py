"""What values say about matches that names, shapes and order leave open: the flagged ones, and no others.

Where both sides have values, a tensor that follows the other closely and no second one is overwhelming evidence (a
model with pretrained weights, another checkpoint of the family). Where only the checkpoint has, values tell roles: a
variance is never negative, the weight of a norm lies around one, biases and means around zero. What no variance can be
is certain; all else turns a pair round at most, and the flag stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from automatch.learning.arrays import Arrays
from automatch.learning.forms import FLOATS
from automatch.learning.likeness import by_likeness
from automatch.learning.roles import REFUTED, by_roles, left_over
from automatch.matching.assignment import Assignment, Match
from automatch.rules.doubt import DOUBTFUL
from automatch.spec import StateDictSpec


def weigh_values(
    assignment: Assignment, checkpoint: Arrays, wanted: StateDictSpec, model: Arrays | None = None
) -> Assignment:
    """The assignment with its flagged matches held against values.

    Args:
        assignment: what names, shapes and order say.
        checkpoint: the values of the checkpoint; only those that flagged matches speak of are read.
        wanted: keys and shapes of the model.
        model: the values of the model, where it has any that mean something.
    """
    flagged = {m.model_keys[0]: m for m in assignment.matches if _is_open(m, checkpoint)}
    decided: dict[str, Match] = {}
    if model is not None:
        decided = by_likeness(flagged, assignment.unexpected_keys, checkpoint, model)
    left = {key: match for key, match in flagged.items() if key not in decided}
    taken = {match.checkpoint_keys[0] for match in decided.values()}
    left = _refilled(left, [m.checkpoint_keys[0] for m in flagged.values()], taken, checkpoint)
    free = [key for key in assignment.unexpected_keys if key not in taken]
    pairs = left_over(left.values(), assignment.missing_keys, free, checkpoint.spec, wanted)
    roles = by_roles([*left.values(), *pairs], checkpoint)
    fixed = {key: m for m in assignment.matches if m.model_keys[0] not in flagged for key in m.model_keys}
    served = {**fixed, **left, **decided, **roles}
    used = {key for match in served.values() for key in match.checkpoint_keys}
    matches = tuple({id(m): m for key in wanted.keys if (m := served.get(key))}.values())
    still = sum(_is_open(match, checkpoint) for match in matches)
    return replace(
        assignment,
        matches=matches,
        notes=(*assignment.notes, _told(len(flagged), len(flagged) - still, model is not None)),
        missing_keys=tuple(key for key in wanted.keys if key not in served),
        unexpected_keys=tuple(key for key in checkpoint.spec.keys if key not in used),
        sample=None,
    )


def _told(compared: int, decided: int, both: bool) -> str:
    """What came of it, in one sentence."""
    if not compared:
        return "values: no match is in doubt that values could decide, so none were read"
    against = "held against the model's" if both else "looked at; the model has none"
    return (
        f"values: those of {compared} ambiguous match{'es' * (compared > 1)} were {against}; {max(0, decided)} decided"
    )


def _is_open(match: Match, checkpoint: Arrays) -> bool:
    """Whether a match is flagged, and of one float tensor that only changes its name."""
    if not (match.ambiguous or match.confidence < DOUBTFUL) or match.op != "rename":
        return False
    return checkpoint.spec.by_key[match.checkpoint_keys[0]].dtype in FLOATS


def _refilled(
    left: Mapping[str, Match], sources: Sequence[str], taken: set[str], checkpoint: Arrays
) -> dict[str, Match]:
    """Matches whose tensor went elsewhere get one of those that came free, and say so."""
    kept = {key: m for key, m in left.items() if m.checkpoint_keys[0] not in taken}
    used = taken | {m.checkpoint_keys[0] for m in kept.values()}
    free = [key for key in dict.fromkeys(sources) if key not in used]
    for key, match in left.items():
        if key in kept:
            continue
        shape = checkpoint.spec.by_key[match.checkpoint_keys[0]].shape
        other = next((one for one in free if checkpoint.spec.by_key[one].shape == shape), None)
        if other is not None:
            free.remove(other)
            reason = f"values gave {match.checkpoint_keys[0]} to another key, and this one came free"
            kept[key] = match._replace(checkpoint_keys=(other,), confidence=REFUTED, ambiguous=True, reason=reason)
    return kept
