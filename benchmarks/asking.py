"""The matcher alone, asked about a case: no files, no rules, no report."""

from __future__ import annotations

from collections.abc import Iterable

from cases import Case, Entry
from scoring import Answer, Row, score

from automatch.diagnosing.comparison import is_doubtful
from automatch.matching import match
from automatch.matching.assignment import Match
from automatch.spec import StateDictSpec, TensorSpec


def ask(case: Case) -> tuple[Match, ...]:
    """The matches that the engine finds in a case."""
    return match(_spec("checkpoint", case.source), _spec("model", case.target)).matches


def _spec(name: str, entries: Iterable[Entry]) -> StateDictSpec:
    return StateDictSpec(name, tuple(TensorSpec(*entry) for entry in entries))


def answers_of(matches: Iterable[Match]) -> dict[str, Answer]:
    """What the matches say about each model key."""
    answers = {}
    for found in matches:
        for i, key in enumerate(found.model_keys):
            piece = i if len(found.model_keys) > 1 else None
            answers[key] = Answer(found.checkpoint_keys, found.op, piece, found.confidence, is_doubtful(found))
    return answers


def ask_and_score(case: Case) -> Row:
    """The score of the engine's matches, without rules."""
    return score(case, answers_of(ask(case)), [])
