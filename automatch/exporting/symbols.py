"""A key and its new name with letters for the numbers that a rule leaves open.

h.3.ln_1.weight -> h.3.norm0.weight      h.a.ln_1.weight -> h.a.norm0.weight, by a rule that wants ln_1
                                         h.a.ln_b.weight -> h.a.norm(b-1).weight, by one that takes any number
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from automatch.errors import RuleError
from automatch.rules.replacement import cut_at_braces, expression_tokens, parse
from automatch.rules.rule_set import RuleSet

LETTERS = "abcdefghijklmnopqrstuvwxyz"
_NUMBER = re.compile(r"[0-9]+")
# What other numbers a number is replaced by, to see whether the rule leaves it open.
_STEPS = (1, 7, 40)

Piece = tuple[str, bool]


@dataclass(frozen=True, slots=True)
class Symbolic:
    """A key and its new name in pieces: texts, and (marked True) letters or sums of letters.

    Attributes:
        source: of the key.
        target: of its new name.
    """

    source: tuple[Piece, ...]
    target: tuple[Piece, ...]

    def written(self, pieces: tuple[Piece, ...], symbol: Callable[[str], str]) -> str:
        """Pieces as text, with `symbol` around letters and sums."""
        return "".join(symbol(text) if is_symbol else text for text, is_symbol in pieces)


def symbolic(rules: RuleSet, key: str) -> Symbolic:
    """A key, which stays or is renamed, with letters for as many of its numbers as can be exchanged.

    A number stays where with another one in its place the rules would do something else; where a sum has parentheses;
    where it begins with 0 and is calculated with; and where a group ends inside of it.
    """
    numbers = list(_NUMBER.finditer(key))
    if len(numbers) > len(LETTERS):
        return Symbolic(((key, False),), ((rules.rename(key), False),))
    letters = {number.span(): LETTERS[i] for i, number in enumerate(numbers)}
    while True:
        found, shut = _pieces(rules, key, letters)
        if shut is None:
            shut = _not_free(rules, key, found, letters)
        if not shut:
            return found
        letters = {span: letter for span, letter in letters.items() if letter not in shut}


def _pieces(rules: RuleSet, key: str, letters: dict[tuple[int, int], str]) -> tuple[Symbolic, set[str] | None]:
    """The pieces by what the replacement says; and letters that it does not allow, None where it allows all."""
    source = _between(key, 0, len(key), letters)
    move = rules.move(key)
    if move is None:
        return Symbolic(source, source), None
    rule = rules[move.rule - 1]
    match = re.fullmatch(rule.pattern, key)
    target: list[Piece] = []
    shut: set[str] = set()
    for piece, braced in cut_at_braces(rule.replacements[0]):
        if not braced or match is None:
            target.append((piece, False))
        elif piece.isidentifier():
            start, end = match.span(piece)
            shut |= {a for (s, e), a in letters.items() if s < end and e > start and (s < start or e > end)}
            target += _between(key, start, end, letters)
        else:
            sum_piece, closed = _sum(piece, match, letters)
            target.append(sum_piece)
            shut |= closed
    return Symbolic(source, tuple(target)), shut or None


def _between(key: str, start: int, end: int, letters: dict[tuple[int, int], str]) -> tuple[Piece, ...]:
    """A stretch of the key with its letters."""
    pieces: list[Piece] = []
    for (s, e), letter in letters.items():
        if start <= s and e <= end:
            pieces += [(key[start:s], False), (letter, True)]
            start = e
    return (*pieces, (key[start:end], False))


def _sum(expression: str, match: re.Match[str], letters: dict[tuple[int, int], str]) -> tuple[Piece, set[str]]:
    """What stands in braces, with letters; and those of its letters that must not be."""
    tokens = expression_tokens(expression)
    spans = {token: match.span(token) for token in tokens if token.isidentifier()}
    inside = {a for (s, e), a in letters.items() if any(s < end and e > start for start, end in spans.values())}
    allowed = {letters[span] for name, span in spans.items() if span in letters and not _begins_with_zero(match[name])}
    shut = inside if "(" in tokens else inside - allowed
    if shut:
        return ("", False), shut
    if not inside:
        return (parse(f"{{{expression}}}").expand(match.groupdict()), False), set()
    values = {name: letters.get(span) or str(int(match[name])) for name, span in spans.items()}
    return ("".join(values.get(token, token) for token in tokens), True), set()


def _begins_with_zero(number: str) -> bool:
    return len(number) > 1 and number[0] == "0"


def _not_free(rules: RuleSet, key: str, found: Symbolic, letters: dict[tuple[int, int], str]) -> set[str]:
    """Letters with whose numbers exchanged the rules would do something else."""
    free = set(letters.values())
    shut = {letter for letter in free if not _holds(rules, found, key, letters, {letter})}
    if shut or _holds(rules, found, key, letters, free):
        return shut
    return free


def _holds(rules: RuleSet, found: Symbolic, key: str, letters: dict[tuple[int, int], str], changed: set[str]) -> bool:
    """Whether the rules rename the key with other numbers for some letters as the pieces say."""
    for step in _STEPS:
        values = {a: str(int(key[s:e]) + step) if a in changed else key[s:e] for (s, e), a in letters.items()}

        def symbol(text: str, values: dict[str, str] = values) -> str:
            return parse(f"{{{text}}}").expand(values)

        try:
            if rules.rename(found.written(found.source, symbol)) != found.written(found.target, symbol):
                return False
        except RuleError:
            return False
    return True
