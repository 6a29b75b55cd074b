"""What the rules make of every key, for dialects that rename keys and for the replay of what they wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from automatch.errors import RuleError
from automatch.rules.rule import RuleSet


def renames(rules: RuleSet, keys: Iterable[str]) -> dict[str, str]:
    """The new name of every key, in the order of the keys; keys that no rule takes keep theirs.

    Args:
        rules: renames only; of a cut it is the first piece.
        keys: checkpoint keys.

    Raises:
        RuleError: a rule cannot fill in its replacement.
    """
    return {key: rules.rename(key) for key in keys}


def check_renames(dialect: str, rules: RuleSet, keys: Iterable[str], renamed: Callable[[str], str]) -> None:
    """Makes sure that a rendered text does to every key what the rules do.

    Args:
        dialect: its name.
        rules: renames only.
        keys: checkpoint keys.
        renamed: what the text makes of a key, by the semantics of its dialect.

    Raises:
        RuleError: it does something else to some key; none such is ever shown.
    """
    for key, wanted in renames(rules, keys).items():
        got = renamed(key)
        if got != wanted:
            raise RuleError(
                f"the dialect {dialect} cannot say these rules: {key!r} would become {got!r} there and not {wanted!r}; "
                f"use --dialect python"
            )
