"""Every rule as units that need one group, with the keys that it takes listed where nothing shorter can say it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from automatch.exporting.dialect import refusal
from automatch.exporting.one_group import MOST_LISTED, NewName, Unit, Values, new_name, units_of
from automatch.exporting.segments import literal_segment, segments
from automatch.exporting.weight_renaming import LEGACY, NOT_IN_TARGETS, renamed_by_all
from automatch.rules.replacement import cut_at_braces, parse
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet

NO_KEYS = "without the keys of a checkpoint the numbers cannot be listed (name the checkpoint)"


@dataclass(frozen=True)
class Naming:
    """What the keys of a rule become.

    Attributes:
        name: the new name for values of the groups that are listed; None where those are not enough.
        must: groups to list in any case.
    """

    name: Callable[[Values], NewName | None]
    must: tuple[str, ...] = ()


def taken_keys(rules: RuleSet, keys: Sequence[str]) -> list[dict[str, Values]]:
    """For each rule the keys that it takes, in order, with what its groups capture.

    Raises:
        RuleError: a rule cannot fill in its replacement.
    """
    taken: list[dict[str, Values]] = [{} for _ in rules]
    for key in keys:
        move = rules.move(key)
        if move is not None:
            match = re.fullmatch(rules[move.rule - 1].pattern, key)
            groups = match.groupdict() if match else {}
            taken[move.rule - 1][key] = {name: text for name, text in groups.items() if text is not None}
    return taken


def calculating(templates: Sequence[str]) -> tuple[str, ...]:
    """The groups that these replacements calculate with."""
    braced = [text for template in templates for text, inside in cut_at_braces(template) if inside]
    return tuple(
        dict.fromkeys(
            name for text in braced for name in parse(f"{{{text}}}").names if parse(f"{{{text}}}").names != (text,)
        )
    )


def rename_naming(rule: Rule) -> Naming:
    """What the keys of a rename become."""
    (template,) = rule.replacements
    return Naming(lambda values: new_name(template, values), calculating(rule.replacements))


def units_of_rule(
    dialect: str, rules: RuleSet, number: int, taken: Mapping[str, Values] | None, naming: Naming
) -> tuple[Unit, ...]:
    """One rule as units.

    Args:
        dialect: its name, for the refusal.
        rules: all rules.
        number: of the rule, from 1.
        taken: its keys with what its groups capture; None where the keys are not known.
        naming: what its keys become.

    Returns:
        None of them for a rule that takes no key and cannot be said.

    Raises:
        RuleError: it cannot be said.
    """
    parts = segments(rules[number - 1].pattern)
    units: tuple[Unit, ...] = ()
    if parts is not None:
        captured = None if not taken else list(taken.values())
        must = tuple(name for name in naming.must if name in {part.name for part in parts})
        units = units_of(number, parts, naming.name, captured, must)
    if not units and taken:
        if len(taken) > MOST_LISTED:
            why = f"it calculates with {naming.must[0]!r}" if naming.must else "one captured group is all there is"
            raise refusal(
                dialect, rules, number, f"{why}, and to list {len(taken)} keys is too long ({MOST_LISTED} at most)"
            )
        units = tuple(_listed_keys(dialect, rules, number, taken, naming))
    if not units and taken is None:
        why = "it calculates" if naming.must else "one captured group is all there is"
        raise refusal(dialect, rules, number, f"{why}, and {NO_KEYS}")
    for unit in units:
        strange = next((char for text in unit.new.texts for char in text if char in NOT_IN_TARGETS), "")
        if strange:
            raise refusal(dialect, rules, number, f"a new name has {strange!r}, which means something else there")
    return units


def _listed_keys(dialect: str, rules: RuleSet, number: int, taken: Mapping[str, Values], naming: Naming) -> list[Unit]:
    units = []
    for key, values in taken.items():
        new = naming.name(values)
        if new is None:
            raise refusal(dialect, rules, number, "its new names have too little in common")
        units.append(Unit(number, (literal_segment(key),), new, ("key",)))
    return units


def check_afterwards(dialect: str, rules: RuleSet, keys: Iterable[str]) -> None:
    """Makes sure that the library leaves the new names alone.

    Raises:
        RuleError: what it renames in every model takes one of them.
    """
    for key in keys:
        move = rules.move(key)
        if move is None or key in move.targets:
            continue  # a key that would come out nowhere keeps its name
        for new in move.targets:
            after = renamed_by_all(LEGACY, new)
            if after != new:
                reason = f"transformers itself makes {after!r} of a renamed key {new!r}"
                raise refusal(dialect, rules, move.rule, reason)


def check_length(dialect: str, rules: RuleSet, entries: Iterable[int]) -> None:
    """Makes sure that what is listed can be read.

    Args:
        dialect: its name.
        rules: all rules.
        entries: the number of the rule of each entry.

    Raises:
        RuleError: there are too many; the sentence names the rule that takes most.
    """
    counts = Counter(entries)
    if counts.total() - len(rules) > MOST_LISTED:
        ((number, most),) = counts.most_common(1)
        reason = f"it would be {most} of {counts.total()} entries, and {MOST_LISTED} are listed at most"
        raise refusal(dialect, rules, number, reason)
