"""Whether rules that somebody keeps still carry a checkpoint onto a model, by every key and shape.

Nothing is matched here: the rules are replayed as they stand, induced or written by hand, and what they give is held
against what the model wants.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from automatch.diagnosing.comparison import StrictLoad
from automatch.diagnosing.document import mismatch_entry, side_entry
from automatch.diagnosing.naming import count
from automatch.diagnosing.values import MismatchedDtype, mismatched_dtypes
from automatch.matching.answer.outcome import excuses
from automatch.matching.assignment import Assignment, Match, Mismatch
from automatch.rules.carrying import Carried, carry
from automatch.rules.rule_set import RuleSet
from automatch.spec import StateDictSpec

SCHEMA = 1


class LeftOver(NamedTuple):
    """A key that comes out of the rules and that the model does not have."""

    key: str
    checkpoint_key: str


@dataclass(frozen=True)
class Checking:
    """What the rules make of the checkpoint, held against the model.

    Attributes:
        checkpoint: keys and shapes of the file.
        model: keys and shapes that the code wants.
        rules: the rules, as they stand in their file.
        hits: how many checkpoint keys each rule took.
        untouched: checkpoint keys that no rule takes; they keep their names.
        assignment: what the rules give that fits, and what is left: `missing_keys` of the model, `unexpected_keys` of
            the checkpoint, pairs of other shapes, and why some of these do no harm.
        left_over: keys that come out and are none of the model's, with where they come from.
        collisions: sentences, one for each key that comes out twice.
        faults: sentences, one for each key or group that the rules cannot carry.
        guessed: checkpoint keys that go by a guess, as their matches were ambiguous.
        strict_load: what torch said to the result, where the model itself is at hand.
        dead_fails: whether a rule that takes no key is a failure as well.
    """

    checkpoint: StateDictSpec
    model: StateDictSpec
    rules: RuleSet
    hits: tuple[int, ...]
    untouched: tuple[str, ...]
    assignment: Assignment
    left_over: tuple[LeftOver, ...] = ()
    collisions: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    guessed: tuple[str, ...] = ()
    strict_load: StrictLoad | None = field(default=None)
    dead_fails: bool = False

    @property
    def dead(self) -> tuple[int, ...]:
        """Numbers (from 1) of rules that take no key."""
        return tuple(number for number, hits in enumerate(self.hits, 1) if not hits)

    @cached_property
    def missing_keys(self) -> tuple[str, ...]:
        """Model keys that the rules do not give, in model order; neither harmless ones nor those of another shape."""
        sized = {pair.key for pair in self.mismatched_keys}
        return tuple(k for k in self.assignment.missing_keys if k not in self.harmless and k not in sized)

    @cached_property
    def unexpected_keys(self) -> tuple[LeftOver, ...]:
        """What comes out and is none of the model's, without what does no harm."""
        return tuple(one for one in self.left_over if one.checkpoint_key not in self.harmless)

    @property
    def mismatched_keys(self) -> tuple[Mismatch, ...]:
        """Model keys that get a tensor of another shape."""
        return self.assignment.mismatched

    @cached_property
    def mismatched_dtypes(self) -> tuple[MismatchedDtype, ...]:
        """Model keys that get whole numbers for floats, or floats for whole numbers."""
        return mismatched_dtypes(self.checkpoint, self.model, self.assignment)

    @property
    def harmless(self) -> Mapping[str, str]:
        """Missing or unexpected key -> why it does no harm."""
        return self.assignment.harmless

    @cached_property
    def complete(self) -> bool:
        """Whether the rules still carry the checkpoint onto the model completely."""
        return bool(self.assignment.matches) and not self._faulty and not self._idle

    @property
    def exit_code(self) -> int:
        """0 where the rules still carry everything, else 1."""
        return 0 if self.complete else 1

    @property
    def verdict(self) -> str:
        """The result in one sentence, without its full stop."""
        dead = f"{count(len(self.dead), 'rule')} without a key"
        served = sum(len(match.model_keys) for match in self.assignment.matches)
        carried = f"{served} of {count(len(self.model), 'model key')} carried by {count(len(self.rules), 'rule')}"
        if self.assignment.matches and not self._faulty:
            left = f"{count(len(self.harmless), 'key')} left over, harmless" if self.harmless else "nothing left over"
            said = "; ".join([carried, left, *([dead] if self.dead else [])])
            idle = "not every rule" if any(self.hits) else "no rule"
            return f"{idle} is needed: {said}" if self._idle else said
        wrong = [f"{number} {word}" for word, number in self._faulty.items()]
        wrong += [dead] if self.dead else []
        return (
            f"the rules do not carry this checkpoint onto this model: {carried}; {', '.join(wrong) or 'nothing fits'}"
        )

    @property
    def _idle(self) -> bool:
        """Whether rules without a key are a failure: asked for, or all are, so that this is not the old checkpoint."""
        return bool(self.dead) and (self.dead_fails or not any(self.hits))

    @property
    def _faulty(self) -> dict[str, int]:
        """What is wrong, in words, with how often."""
        counts = {
            "missing": len(self.missing_keys),
            "left over": len(self.unexpected_keys),
            "of another shape": len(self.mismatched_keys),
            "of another dtype": len(self.mismatched_dtypes),
            "colliding": len(self.collisions),
            "that cannot be carried": len(self.faults),
            "refused by torch": self.strict_load is not None and self.strict_load.passed is False,
        }
        return {word: int(number) for word, number in counts.items() if number}

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON as plain dicts and lists (docs/json.md)."""
        strict = self.strict_load
        rules = [{**rule.to_dict(), "hits": hits} for rule, hits in zip(self.rules, self.hits, strict=True)]
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "complete": self.complete,
            "checkpoint": side_entry(self.checkpoint),
            "model": side_entry(self.model),
            "rules": rules,
            "dead_rules": list(self.dead),
            "untouched_keys": list(self.untouched),
            "missing_keys": list(self.missing_keys),
            "unexpected_keys": [one._asdict() for one in self.unexpected_keys],
            "mismatched_keys": [mismatch_entry(pair) for pair in self.mismatched_keys],
            "mismatched_dtypes": [pair._asdict() for pair in self.mismatched_dtypes],
            "collisions": list(self.collisions),
            "faults": list(self.faults),
            "guessed_keys": list(self.guessed),
            "harmless": dict(self.harmless),
            "strict_load": None
            if strict is None
            else {"passed": strict.passed, "message": strict.message, "kept": list(strict.kept)},
        }

    def to_json(self, indent: int | None = 2) -> str:
        """The documented JSON as text; everything but plain ASCII is escaped."""
        return json.dumps(self.to_dict(), indent=indent)


def held_against(
    rules: RuleSet, checkpoint: StateDictSpec, model: StateDictSpec, set_aside: Mapping[str, str]
) -> Checking:
    """Replays rules on every checkpoint key and compares with what the model wants.

    Args:
        rules: any rules.
        checkpoint: keys and shapes of the file.
        model: keys and shapes of the model.
        set_aside: checkpoint keys that a load does without, and why.

    Returns:
        What was found, by keys and shapes; torch is not asked.
    """
    load = carry(rules, {t.key: t.shape for t in checkpoint.tensors})
    matches, mismatched, left_over = _sorted(load.carried, rules, model)
    served = {key for match in matches for key in match.model_keys}
    used = {key for match in matches for key in match.checkpoint_keys}
    missing = tuple(key for key in model.keys if key not in served)
    unexpected = tuple(key for key in checkpoint.keys if key not in used)
    given = {pair.checkpoint_key for pair in mismatched}
    harmless = {key: why for key, why in set_aside.items() if key in unexpected and key not in given}
    sized = {pair.key for pair in mismatched}
    harmless.update(excuses(model, (key for key in missing if key not in sized)))
    harmless.update(excuses(checkpoint, (key for key in unexpected if key not in given)))
    assignment = Assignment(tuple(matches), missing, unexpected, tuple(mismatched), (), harmless)
    return Checking(
        checkpoint,
        model,
        rules,
        load.hits,
        load.untouched,
        assignment,
        tuple(left_over),
        load.collisions,
        load.faults,
        rules.guesses(checkpoint.keys),
    )


def _sorted(
    carried: tuple[Carried, ...], rules: RuleSet, model: StateDictSpec
) -> tuple[list[Match], list[Mismatch], list[LeftOver]]:
    """What fits the model, what has another shape, what the model does not have; a key that comes twice counts once."""
    matches, mismatched, left_over = [], [], []
    taken: set[str] = set()
    others: dict[str, list[str]] = {}
    for served, other in rules.tied:
        others.setdefault(served, []).append(other)
    for one in carried:
        source, keys = one.match.checkpoint_keys[0], one.match.model_keys
        fits = not taken.intersection(keys)
        for key, shape in zip(keys, one.shapes, strict=True):
            wanted = model.by_key.get(key)
            if wanted is None:
                left_over.append(LeftOver(key, source))
            elif wanted.shape != shape and key not in taken:
                mismatched.append(Mismatch(key, source, shape, wanted.shape))
            fits = fits and wanted is not None and wanted.shape == shape
        taken.update(keys)
        if fits:
            matches.append(one.match)
            ties = [other for other in others.get(keys[0], ()) if other in model.by_key] if len(keys) == 1 else []
            for other in ties:
                if model.by_key[other].shape == one.shapes[0]:
                    matches.append(Match((other,), one.match.checkpoint_keys, one.match.op))
                else:
                    mismatched.append(Mismatch(other, source, one.shapes[0], model.by_key[other].shape))
    return matches, mismatched, left_over
