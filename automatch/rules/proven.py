"""Rules with their proof: learnt from as few keys as say everything, replayed on all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from automatch.matching.assignment import Assignment
from automatch.rules.induce import induce
from automatch.rules.replay import Proof, replay
from automatch.rules.rule_set import RuleSet


def proven(assignment: Assignment, checkpoint_keys: Sequence[str], model_keys: Sequence[str]) -> tuple[RuleSet, Proof]:
    """The rules of an assignment and what their replay on every key found.

    Where matching was done in miniature, so is the induction: its rules are taken if they carry over to all keys.

    Args:
        assignment: the answer of the matching stage.
        checkpoint_keys: all keys of the checkpoint, in order.
        model_keys: all keys of the model, in order.

    Returns:
        Rules with their hits, and the proof.
    """
    sample, mismatched = assignment.sample, assignment.mismatched
    if sample is not None:
        rules = induce(sample.matches, sample.checkpoint_keys, sample.model_keys, mismatched)
        proof = replay(rules, assignment.matches, checkpoint_keys, model_keys, mismatched)
        if proof.ok and not proof.unused:
            counted = (replace(rule, hits=hits) for rule, hits in zip(rules.rules, proof.hits, strict=True))
            return replace(rules, rules=tuple(counted)), proof
    rules = induce(assignment.matches, checkpoint_keys, model_keys, mismatched)
    return rules, replay(rules, assignment.matches, checkpoint_keys, model_keys, mismatched)
