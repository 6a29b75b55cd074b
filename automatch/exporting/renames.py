"""What the rules make of every key, for dialects that rename keys and for the replay of what they wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from automatch.errors import RuleError
from automatch.exporting.dialect import refusal
from automatch.rules.rule_set import RuleSet
from automatch.rules.tokens import template

_NUMBER = re.compile(r"[0-9]{1,9}")
# A number becomes this much larger where it is asked what a text does to keys of a deeper model.
_STEPS = (1, 7, 40)


def renames(rules: RuleSet, keys: Iterable[str]) -> dict[str, str]:
    """The new name of every key, in the order of the keys; keys that no rule takes keep theirs.

    Args:
        rules: renames only; of a cut it is the first piece.
        keys: checkpoint keys.

    Raises:
        RuleError: a rule cannot fill in its replacement.
    """
    return {key: rules.rename(key) for key in keys}


def only_renames(dialect: str, rules: RuleSet, instead: str = "python") -> None:
    """Makes sure that the rules change names alone.

    Raises:
        RuleError: a rule changes tensors as well.
    """
    for number, rule in enumerate(rules, 1):
        if rule.op != "rename":
            reason = f"its operation is {rule.op} and only keys are renamed there"
            raise refusal(dialect, rules, number, reason, instead)


def keys_of(rules: RuleSet, keys: Iterable[str]) -> dict[int, list[str]]:
    """The keys that each rule takes, under its number (from 1)."""
    out: dict[int, list[str]] = {}
    for key in keys:
        move = rules.move(key)
        if move is not None:
            out.setdefault(move.rule, []).append(key)
    return out


def other_numbers(keys: Iterable[str]) -> Iterator[str]:
    """One key of each family, and the same with larger numbers, as a deeper model of the family has them."""
    seen: set[str] = set()
    for key in keys:
        family = template(key)
        if family not in seen:
            seen.add(family)
            yield key
            for step in _STEPS if "#" in family else ():
                yield _NUMBER.sub(partial(_larger, step), key)


def _larger(step: int, number: re.Match[str]) -> str:
    return str(int(number.group()) + step)


def check_renames(dialect: str, rules: RuleSet, keys: Iterable[str], renamed: Callable[[str], str | None]) -> None:
    """Makes sure that a rendered text does to every key what the rules do.

    Args:
        dialect: its name.
        rules: renames only.
        keys: checkpoint keys.
        renamed: what the text makes of a key, by the semantics of its dialect; None where its tensor is lost.

    Raises:
        RuleError: it does something else to some key, or two keys become one; none such is ever shown.
    """
    check_distinct(rules, keys)
    for key, wanted in renames(rules, keys).items():
        got = renamed(key)
        if got != wanted:
            what = f"become {got!r}" if got is not None else "be lost"
            reason = f"{key!r} would {what} there and should become {wanted!r}"
            move = rules.move(key)
            if move is not None:
                raise refusal(dialect, rules, move.rule, reason)
            raise RuleError(f"the dialect {dialect} cannot say these rules, because {reason}; use --dialect python")


def check_distinct(rules: RuleSet, keys: Iterable[str]) -> None:
    """Makes sure that no two keys become one, apart from the members of one tensor.

    Raises:
        RuleError: two do.
    """
    owners: dict[str, tuple[str, bool]] = {}
    for key in keys:
        move = rules.move(key)
        joins = move is not None and move.joins
        for target in (key,) if move is None else move.targets:
            owner, alike = owners.setdefault(target, (key, joins))
            if owner != key and not (joins and alike):
                raise RuleError(f"{owner!r} and {key!r} both become {target!r}; give one of them a rule of its own")
