"""What a comparison found, as data: the lists, the rules, how far they are proven. It does not know how it is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from automatch.diagnosing.document import SCHEMA, match_entry, mismatch_entry, side_entry
from automatch.diagnosing.values import (
    MismatchedDtype,
    PartedTie,
    dtype_sentence,
    mismatched_dtypes,
    parted_ties,
    tie_sentence,
)
from automatch.matching.assignment import Assignment, Match, Mismatch
from automatch.rules.doubt import DOUBTFUL
from automatch.rules.families import covered, told
from automatch.rules.replay import Proof
from automatch.rules.rule_set import RuleSet
from automatch.spec import StateDictSpec

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class StrictLoad:
    """What `load_state_dict(strict=True, assign=True)` said about the renamed keys on a copy without memory.

    Attributes:
        passed: whether it raised nothing; None where it could not be run.
        message: what was done, or why it failed or could not be run; a sentence without its full stop.
        kept: model keys that kept the model's own value, as their absence does no harm.
    """

    passed: bool | None
    message: str
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A checkpoint compared with a model.

    Attributes:
        checkpoint: keys and shapes of the file.
        model: keys and shapes that the code wants.
        assignment: which serves which.
        rules: the renaming as an ordered list of rules.
        proof: what the replay of the rules on every checkpoint key showed.
        verdict: what happened, in one sentence.
        strict_load: the strict load on a copy of the model; None where only keys are known.
        sources: what the user called the two sides, for commands to copy.
        learnt: whether the model side is a conversion of the checkpoint, compared by values.
        options: what else the user said (`at`, `pin`, ...), for commands to copy.
    """

    checkpoint: StateDictSpec
    model: StateDictSpec
    assignment: Assignment
    rules: RuleSet
    proof: Proof
    verdict: str
    strict_load: StrictLoad | None = None
    sources: tuple[str, str] = ("CHECKPOINT", "MODEL")
    learnt: bool = False
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def matches(self) -> tuple[Match, ...]:
        """Which checkpoint keys serve which model keys, in the order of the model."""
        return self.assignment.matches

    @property
    def missing_keys(self) -> tuple[str, ...]:
        """Keys of the model that nothing serves, in model order; those of `mismatched_keys` included."""
        return self.assignment.missing_keys

    @property
    def unexpected_keys(self) -> tuple[str, ...]:
        """Keys of the checkpoint that serve nothing, in checkpoint order; those of `mismatched_keys` included."""
        return self.assignment.unexpected_keys

    @property
    def mismatched_keys(self) -> tuple[Mismatch, ...]:
        """Pairs that belong together but differ in shape."""
        return self.assignment.mismatched

    @cached_property
    def mismatched_dtypes(self) -> tuple[MismatchedDtype, ...]:
        """Matched pairs of which one holds whole numbers and the other floats, as quantised weights do."""
        return mismatched_dtypes(self.checkpoint, self.model, self.assignment)

    @cached_property
    def parted_ties(self) -> tuple[PartedTie, ...]:
        """Keys that share a tensor in the model while the checkpoint has a tensor for each."""
        return parted_ties(self.checkpoint, self.model, self.assignment)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the whole, without full stops."""
        clash = dtype_sentence(self.mismatched_dtypes)
        ties = map(tie_sentence, self.parted_ties)
        return (*self.assignment.notes, *([clash] if clash else []), *ties)

    @cached_property
    def doubtful(self) -> tuple[Match, ...]:
        """Matches that the evidence does not decide; nothing of theirs is loaded."""
        return tuple(match for match in self.matches if is_doubtful(match))

    @cached_property
    def complete(self) -> bool:
        """Whether every key is accounted for and the rules are proven: loading it is safe.

        It is not where another dict of the checkpoint would do as well.
        """
        left = (*self.missing_keys, *self.unexpected_keys)
        return (
            bool(self.matches)
            and not self.checkpoint.rivals
            and not self.doubtful
            and not self.mismatched_keys
            and not self.mismatched_dtypes
            and all(key in self.assignment.harmless for key in left)
            and self.proof.ok
            and (self.strict_load is None or self.strict_load.passed is not False)
        )

    @property
    def exit_code(self) -> int:
        """0 where it fits as it is or completely by the rules, 1 where something is left."""
        return 0 if self.complete else 1

    def graph(self) -> nx.Graph:
        """The bipartite graph of what was considered, with the evidence on its edges (see `diagnosing.graph`)."""
        from automatch.diagnosing.graph import bipartite_graph

        return bipartite_graph(self.checkpoint, self.model, self.assignment)

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON as plain dicts and lists (see `diagnosing.document`)."""
        strict = self.strict_load
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "complete": self.complete,
            "checkpoint": side_entry(self.checkpoint),
            "model": side_entry(self.model),
            "matches": [match_entry(match, self.checkpoint) for match in self.matches],
            "missing_keys": list(self.missing_keys),
            "unexpected_keys": list(self.unexpected_keys),
            "mismatched_keys": [mismatch_entry(pair) for pair in self.mismatched_keys],
            "mismatched_dtypes": [pair._asdict() for pair in self.mismatched_dtypes],
            "harmless": dict(self.assignment.harmless),
            "notes": list(self.notes),
            "rules": [
                {**rule, "covers": told(found)}
                for rule, found in zip(self.rules.to_list(), covered(self.rules, self.checkpoint.keys), strict=True)
            ],
            "proof": {
                "replayed": self.proof.ok,
                "strict_load": None
                if strict is None
                else {"passed": strict.passed, "message": strict.message, "kept": list(strict.kept)},
            },
        }

    def to_json(self, indent: int | None = 2) -> str:
        """The documented JSON as text; everything but plain ASCII is escaped."""
        return json.dumps(self.to_dict(), indent=indent)


def is_doubtful(match: Match) -> bool:
    """Whether a match is ambiguous, or more likely wrong than right."""
    return match.ambiguous or match.confidence < DOUBTFUL
