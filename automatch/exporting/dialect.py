"""What dialects share: how a rule is refused, and what is said of a rule in a comment.

A dialect is a module in `dialects/` with

    NAME         what the user types: `--dialect NAME`
    DESCRIPTION  one line for the list of dialects: where the text goes
    render       (rules: RuleSet, background: Background = NOTHING) -> str

`render` gives text that, where it goes, does to every key of `background.keys` exactly what the rules do; it has replayed
that by the dialect's own semantics before it returns. What cannot be said it refuses by a `RuleError` of `refusal`. Where
`background.keys` is None it renders what holds for every key, and refuses the rest.
"""

from __future__ import annotations

from automatch.diagnosing.naming import count
from automatch.errors import RuleError
from automatch.rules.rule import Rule, RuleSet


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
    return RuleError(
        f"the dialect {dialect} cannot say rule {number} ({rule.pattern!r} => {target}), because {reason}; "
        f"use --dialect {instead}"
    )


def rule_comment(rule: Rule) -> str:
    """What a comment says of a rule: its operation, how many keys it took, which families; plain ASCII on one line."""
    hits = f", {count(rule.hits, 'key')}" if rule.hits else ""
    guess = f", {rule.ambiguous} of them a guess" if rule.ambiguous else ""
    note = f" ({ascii(rule.note)[1:-1]})" if rule.note else ""
    return f"{rule.op}{hits}{guess}{note}"
