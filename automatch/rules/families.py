"""Which keys a rule covers, said in families for people who review it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from automatch.rules.rule_set import RuleSet
from automatch.rules.tokens import HASH, split

MOST_TOLD = 8
Family = tuple[str, int]
"""A key with # for those of its numbers that differ, and how many keys it stands for."""


def covered(rules: RuleSet, keys: Iterable[str]) -> list[list[Family]]:
    """The families that each rule takes, in the order of their first keys; the same on every run.

    Args:
        rules: any.
        keys: all keys of the checkpoint.
    """
    taken: list[list[str]] = [[] for _ in rules]
    for key in keys:
        number = rules.taker(key)
        if number is not None:
            taken[number - 1].append(key)
    return [families(own) for own in taken]


def families(keys: Iterable[str]) -> list[Family]:
    """The families of some keys, in the order of their first keys."""
    numbers: dict[str, list[tuple[str, ...]]] = {}
    for key in keys:
        family, own = split(key)
        numbers.setdefault(family, []).append(own)
    out = []
    for family, rows in numbers.items():
        columns = [column[0] if len(set(column)) == 1 else "#" for column in zip(*rows, strict=True)]
        texts = family.split("#")
        name = texts[0] + "".join(number + text for number, text in zip(columns, texts[1:], strict=True))
        out.append((name.replace(HASH, "#"), len(rows)))
    return out


def told(found: Sequence[Family], most: int = MOST_TOLD) -> list[str]:
    """Families as texts with their counts, and how many more there are."""
    shown = [family if n == 1 else f"{family} ({n})" for family, n in found[:most]]
    more = len(found) - len(shown)
    return [*shown, f"{more} more {'family' if more == 1 else 'families'}"] if more else shown
