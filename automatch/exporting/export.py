"""Rules in the language that a user names."""

from __future__ import annotations

from automatch.errors import InputError, RuleError
from automatch.exporting import dialects
from automatch.exporting.background import NOTHING, Background
from automatch.exporting.renames import check_distinct
from automatch.rules.carrying import carry
from automatch.rules.rule_set import RuleSet


def export(rules: RuleSet, dialect: str, background: Background = NOTHING) -> str:
    """The rules as text to paste where the dialect goes.

    Args:
        rules: what it shall do.
        dialect: its name.
        background: what they were proven on; where the keys are known the text is replayed on all of them.

    Raises:
        InputError: there is no such dialect, or no rule takes any of the keys.
        RuleError: it cannot say one of the rules (the sentence names it, and why), or two keys would become one.
    """
    chosen = next((known for known in dialects.DIALECTS if dialect == known.NAME), None)
    if chosen is None:
        names = ", ".join(known.NAME for known in dialects.DIALECTS)
        raise InputError(f"{dialect!r} is no dialect; choose one of {names}")
    if background.keys is not None and background.proven is None:
        _check_carried(rules, background)
    return chosen.render(rules, background)


def _check_carried(rules: RuleSet, background: Background) -> None:
    """Makes sure that rules which nobody has proven are for these keys, and carry every one to a place of its own.

    Raises:
        InputError: no rule takes any of the keys.
        RuleError: two keys would become one, or a tensor cannot be made.
    """
    keys = background.keys or ()
    if keys and rules.rules and all(rules.move(key) is None for key in keys):
        name = background.checkpoint or "the checkpoint"
        raise InputError(f"{name}: no rule takes any of its {len(keys)} keys; are these the rules for this checkpoint?")
    if set(keys) != set(background.shapes):
        check_distinct(rules, keys)
        return
    load = carry(rules, background.shapes)
    fault = next(iter((*load.faults, *load.collisions)), None)
    if fault is not None:
        raise RuleError(f"the rules do not carry every key: {fault}")


def descriptions() -> str:
    """The names of all dialects with a line each."""
    width = max(len(dialect.NAME) for dialect in dialects.DIALECTS)
    return "\n".join(f"  {dialect.NAME:<{width}}  {dialect.DESCRIPTION}" for dialect in dialects.DIALECTS)
