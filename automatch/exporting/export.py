"""Rules in the language that a user names."""

from __future__ import annotations

from automatch.errors import InputError, RuleError
from automatch.exporting import dialects
from automatch.exporting.background import NOTHING, Background
from automatch.exporting.renames import check_distinct
from automatch.rules.carrying import carry
from automatch.rules.rule import RuleSet


def export(rules: RuleSet, dialect: str, background: Background = NOTHING) -> str:
    """The rules as text to paste where the dialect goes.

    Args:
        rules: what it shall do.
        dialect: its name.
        background: what they were proven on; where the keys are known the text is replayed on all of them.

    Raises:
        InputError: there is no such dialect.
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
    """Makes sure that rules which nobody has proven carry every key to a place of its own.

    Raises:
        RuleError: they do not.
    """
    if set(background.keys or ()) != set(background.shapes):
        check_distinct(rules, background.keys or ())
        return
    load = carry(rules, background.shapes)
    fault = next(iter((*load.faults, *load.collisions)), None)
    if fault is not None:
        raise RuleError(f"the rules do not carry every key: {fault}")


def descriptions() -> str:
    """The names of all dialects with a line each."""
    width = max(len(dialect.NAME) for dialect in dialects.DIALECTS)
    return "\n".join(f"  {dialect.NAME:<{width}}  {dialect.DESCRIPTION}" for dialect in dialects.DIALECTS)
