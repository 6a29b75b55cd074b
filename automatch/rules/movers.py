"""What a rule makes of the keys that its pattern takes: read once for a rule, asked for every key."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from automatch.errors import RuleError
from automatch.rules.members import alternatives
from automatch.rules.replacement import LONGEST_NUMBER, Replacement, parse
from automatch.rules.rule import Rule
from automatch.rules.tensors import PLAIN, Law, Move

Mover = Callable[[Mapping[str, str | None]], Move]
"""From the captured texts of a key, by group, to what happens to it."""


def mover_of(rule: Rule, number: int) -> Mover:
    """How a rule moves keys.

    Args:
        rule: any rule.
        number: its number in its list, from 1.

    Raises:
        RuleError: its replacement cannot be read, or its part is no group of the pattern. What it returns raises one
            where a key's captured texts do not fill in the replacement.
    """
    texts, law = tuple(map(parse, rule.replacements)), rule.law
    if isinstance(rule.replacement, str) and rule.op == "rename":
        (text,) = texts
        return lambda groups: Move(number, (text.expand(groups),), PLAIN)
    if rule.by is not None and "unstack" in law.words:
        return _unstacking(rule.by, texts, law, number)
    named, by = rule.part, rule.by
    whole = alternatives(rule.pattern, named) if isinstance(named, str) else ()
    parts = {text: (whole.index(text), len(whole)) for text in whole}
    first, single = texts[0], len(texts) == 1
    orders: dict[str, int] = {}  # the members of thousands of stacks have the same few numbers

    def mover(groups: Mapping[str, str | None]) -> Move:
        if isinstance(named, str):
            text = groups.get(named) or ""
            if text not in parts:
                raise RuleError(f"rule {number}: {named!r} tells the parts, and captured {text!r}")
            part: tuple[int, int] | None = parts[text]
        else:
            part = named
        order = None
        if by is not None:
            value = groups.get(by) or ""
            order = orders.get(value)
            if order is None:
                order = orders[value] = _place(value, by, number)
        targets = (first.expand(groups),) if single else tuple([text.expand(groups) for text in texts])
        return Move(number, targets, law, part, order)

    return mover


def _unstacking(by: str, texts: tuple[Replacement, ...], law: Law, number: int) -> Mover:
    def mover(groups: Mapping[str, str | None]) -> Move:
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
