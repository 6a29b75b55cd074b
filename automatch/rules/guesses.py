"""Which keys the rules rename by a guess: the evidence did not decide, and they give the likeliest choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from automatch.rules.rule_set import RuleSet

MOST_SHOWN = 3


def marked(rules: RuleSet, keys: Iterable[str]) -> RuleSet:
    """The rules with the checkpoint keys whose matches are ambiguous: as a list, and counted in each rule."""
    undecided = tuple(dict.fromkeys(keys))
    hits = [0] * len(rules)
    for key in undecided:
        move = rules.move(key)
        if move is not None:
            hits[move.rule - 1] += 1
    counted = tuple(replace(rule, ambiguous=n) for rule, n in zip(rules, hits, strict=True))
    return replace(rules, rules=counted, undecided=undecided)


def unmarked(rules: RuleSet) -> RuleSet:
    """The same rules for somebody who wants the guesses."""
    return replace(rules, rules=tuple(replace(rule, ambiguous=0) for rule in rules), undecided=())


def guess_text(rules: RuleSet, keys: Sequence[str]) -> str:
    """What is guessed for these keys, as the beginning of a sentence; "" where nothing is."""
    guesses = rules.guesses(keys)
    if not guesses:
        return ""
    if not rules.undecided:
        numbers = [str(number) for number, rule in enumerate(rules, 1) if rule.ambiguous]
        word = "rule" if len(numbers) == 1 else "rules"
        return f"ambiguous matches stand behind {word} {', '.join(numbers)}"
    shown = ", ".join(map(repr, guesses[:MOST_SHOWN]))
    more = f" and {len(guesses) - MOST_SHOWN} more" if len(guesses) > MOST_SHOWN else ""
    return f"the evidence does not decide {shown}{more}"
