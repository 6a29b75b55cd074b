"""What a rule makes of the keys that its pattern takes: read once for a rule, asked for every key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import itemgetter

from automatch.errors import RuleError
from automatch.rules.members import alternatives
from automatch.rules.replacement import LONGEST_NUMBER, Filler, Replacement, parse
from automatch.rules.rule import Rule
from automatch.rules.tensors import PLAIN, Law, Move

Mover = Callable[[re.Match[str]], Move]
"""From the match of a key to what happens to it."""

_Place = tuple[tuple[int, int] | None, int | None]
_move = partial(tuple.__new__, Move)
"""A `Move` of all its fields, without the checks of a call: a replay makes one for each key."""


def mover_of(rule: Rule, number: int, groups: Mapping[str, int]) -> Mover:
    """How a rule moves keys.

    Args:
        rule: any rule.
        number: its number in its list, from 1.
        groups: name of a group of its pattern -> its number in the matches.

    Raises:
        RuleError: its replacement cannot be read, or its part is no group of the pattern. What it returns raises one
            where a key's captured texts do not fill in the replacement.
    """
    texts, law = tuple(map(parse, rule.replacements)), rule.law
    if rule.by is not None and "unstack" in law.words:
        return _unstacking(rule.by, texts, law, number, groups)
    fillers = [text.filler(groups) for text in texts]
    if not fillers:
        raise RuleError(f"rule {number} names no key that its tensors become")
    (first, *others) = fillers
    if isinstance(rule.replacement, str) and rule.op == "rename":
        return lambda match: _move((number, (first(match),), PLAIN, None, None, None))
    if others:
        place = _placing(rule, number, groups)
        return _cutting(fillers, place, law, number)
    if rule.part is None and rule.by is None:
        return lambda match: _move((number, (first(match),), law, None, None, None))
    return _joining(rule, number, groups)


def _cutting(fillers: Sequence[Filler], place: Callable[[re.Match[str]], _Place], law: Law, number: int) -> Mover:
    """How a rule moves what becomes several keys."""

    def mover(match: re.Match[str]) -> Move:
        part, order = place(match)
        return _move((number, tuple([fill(match) for fill in fillers]), law, part, order, None))

    return mover


def _joining(rule: Rule, number: int, groups: Mapping[str, int]) -> Mover:
    """How a rule moves the members of a tensor: thousands of keys have the same few targets and the same few places."""
    replacement, law, place = parse(rule.replacements[0]), rule.law, _placing(rule, number, groups)
    fill = replacement.filler(groups)
    used = [groups[name] for name in replacement.names if name in groups]
    pick = itemgetter(*used) if used else lambda match: None
    targets: dict[object, tuple[str, ...]] = {}

    def mover(match: re.Match[str]) -> Move:
        part, order = place(match)
        texts = pick(match)
        found = targets.get(texts)
        if found is None:
            found = targets[texts] = (fill(match),)
        return _move((number, found, law, part, order, None))

    return mover


def _placing(rule: Rule, number: int, groups: Mapping[str, int]) -> Callable[[re.Match[str]], _Place]:
    """Which part of a tensor a key is, and the number that orders it among the members; None where it is none."""
    named, by = rule.part, rule.by
    whole = alternatives(rule.pattern, named) if isinstance(named, str) else ()
    parts = {text: (whole.index(text), len(whole)) for text in whole}
    pick = itemgetter(*[groups.get(name, 0) for name in (named, by) if isinstance(name, str)] or [0])
    known: dict[object, _Place] = {}

    def place(match: re.Match[str]) -> _Place:
        texts = pick(match)
        found = known.get(texts)
        return found if found is not None else known.setdefault(texts, told(match))

    def told(match: re.Match[str]) -> _Place:
        part = named
        if isinstance(part, str):
            text = match[groups[part]] or ""
            if text not in parts:
                raise RuleError(f"rule {number}: {part!r} tells the parts, and captured {text!r}")
            part = parts[text]
        if by is None:
            return part, None
        return part, _place((match[groups[by]] if by in groups else None) or "", by, number)

    return place


def _unstacking(by: str, texts: tuple[Replacement, ...], law: Law, number: int, numbers: Mapping[str, int]) -> Mover:
    def mover(match: re.Match[str]) -> Move:
        groups = {name: match[at] for name, at in numbers.items()}

        def members(count: int) -> tuple[str, ...]:
            each = range(count // len(texts))
            return tuple(text.expand({**groups, by: str(i)}) for text in texts for i in each)

        return Move(number, members(len(texts)), law, members=members)

    return mover


def _place(value: str, by: str, number: int) -> int:
    """The number that orders the members of a stack.

    Raises:
        RuleError: the group captured none, or one that is too long to be one.
    """
    if not (value.isascii() and value.isdigit()):
        raise RuleError(f"rule {number}: {by!r} orders the members of a stack and captured {value!r}, not a number")
    if len(value) > LONGEST_NUMBER:
        raise RuleError(f"rule {number}: {by!r} orders a stack, and its number {value[:20]}... is too long")
    return int(value)
