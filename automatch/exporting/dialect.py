"""What a dialect is, and what dialects share: how a rule is refused, and what is said of a rule in a comment."""

from __future__ import annotations

from typing import Protocol

from automatch.diagnosing.naming import count
from automatch.errors import RuleError
from automatch.exporting.background import NOTHING, Background, plain
from automatch.rules.families import covered, told
from automatch.rules.rule_set import RuleSet

MOST_FAMILIES = 3
LONGEST_RULE = 300


class Dialect(Protocol):
    """A module in `dialects/`.

    Attributes:
        NAME: what the user types: `--dialect NAME`.
        DESCRIPTION: one line for the list of dialects: what it is and where it goes.
    """

    NAME: str
    DESCRIPTION: str

    def render(self, rules: RuleSet, background: Background = NOTHING) -> str:
        """Text that, where it goes, does to every key of `background.keys` exactly what the rules do.

        It has been replayed by the dialect's own semantics before it is returned. Where `background.keys` is None it
        holds for every key.

        Raises:
            RuleError: a rule cannot be said; made by `refusal`.
        """


def refusal(dialect: str, rules: RuleSet, number: int, reason: str, instead: str = "python") -> RuleError:
    """The error of a rule that a dialect cannot say.

    Args:
        dialect: its name.
        rules: all rules.
        number: of the rule, from 1.
        reason: why not, to follow "because".
        instead: a dialect that can say it.
    """
    rule = rules[number - 1]
    target = " and ".join(map(repr, rule.replacements))
    said = f"{rule.pattern!r} => {target}"
    said = said if len(said) <= LONGEST_RULE else f"{said[:LONGEST_RULE]}..."
    return RuleError(
        f"the dialect {dialect} cannot say rule {number} ({said}), because {reason}; use --dialect {instead}"
    )


def rule_comments(rules: RuleSet, background: Background) -> list[str]:
    """What a comment says of each rule: operation, how many keys of which families; plain ASCII on one line.

    A family is a key with # for those of its numbers that differ. The same on every run.
    """
    out = []
    for rule, found in zip(rules, covered(rules, background.keys or ()), strict=True):
        hits = sum(n for _, n in found) if background.keys is not None else rule.hits
        text = f"{rule.op}, {count(hits, 'key')}" if hits or background.keys is not None else rule.op
        text += f", {rule.ambiguous} of them a guess" if rule.ambiguous else ""
        shown = told(found, MOST_FAMILIES)
        text += f": {', '.join(shown)}" if shown else ""
        out.append(plain(f"{text}; {rule.note}" if rule.note else text))
    return out


def guess_remarks(rules: RuleSet) -> tuple[str, ...]:
    """What comments say of keys that go by a guess."""
    if not rules.undecided:
        return ()
    shown = ", ".join(rules.undecided[:MOST_FAMILIES])
    more = len(rules.undecided) - MOST_FAMILIES
    shown += f" and {more} more" if more > 0 else ""
    return (plain(f"The evidence does not decide these keys, where they go is a guess: {shown}"),)


def remarks(rules: RuleSet) -> tuple[str, ...]:
    """What comments of a text that can only rename say beside the rules: guesses, ties, second names."""
    lines = [*guess_remarks(rules)]
    lines += [
        f"Not said here: {other} gets the tensor of {served} too; it does by itself where the model ties them."
        for served, other in rules.tied
    ]
    lines += [
        f"Not said here: {other} is a second name of {first} and stays, where automatch would leave it out."
        for other, first in rules.doubles
    ]
    return tuple(map(plain, lines))
