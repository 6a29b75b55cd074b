"""The replacement half of a rule: literal text, captured texts and index arithmetic.

    layers.{i}.attn.{rest}      `{name}` is the captured text as it stands, leading zeros kept
    stages.{i-1}.{(j+2)//3}     integer arithmetic with + - * // % and parentheses on captured numbers; what is below
                                zero is refused
    {{literal braces}}          braces are doubled

There is no `eval`: the grammar below is all that is read, so a rules file from a stranger
cannot run anything.

    sum    := product (("+" | "-") product)*
    product:= unary (("*" | "//" | "%") unary)*
    unary  := "-" unary | number | name | "(" sum ")"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any

from automatch.errors import RuleError

Groups = Mapping[str, str | None]
Number = Callable[[Groups], int]
Piece = Callable[[Groups], str]
Filler = Callable[[re.Match[str]], str]

LONGEST_NUMBER = 18
"""How many digits a number may have: `int` refuses some thousands of them, and none stands in a real key."""
_TOKEN = re.compile(rf"\s*(//|[-+*%()]|[0-9]{{1,{LONGEST_NUMBER}}}|[A-Za-z_][A-Za-z0-9_]*)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEEPEST = 50
_HALF = re.compile(r"[\ud800-\udfff]")


class Replacement:
    """A replacement text, read once and filled in for every key.

    Attributes:
        names: the captured groups that it uses, sorted.
    """

    __slots__ = ("_copied", "_frame", "_pieces", "names")

    def __init__(self, text: str) -> None:
        if _HALF.search(text):
            raise RuleError(f"the replacement {text!r} has half a character in it (a lone surrogate), as no key has")
        used: set[str] = set()
        cut = cut_at_braces(text)
        self._pieces = tuple(_inside(piece, text, used) if braced else piece for piece, braced in cut)
        self.names = tuple(sorted(used))
        # Where nothing is calculated, the captured texts go into a frame: a hundred thousand keys ask for it.
        self._copied = tuple(piece for piece, braced in cut if braced)
        plain = all(_NAME.fullmatch(name) for name in self._copied)
        self._frame = "".join("%s" if braced else piece.replace("%", "%%") for piece, braced in cut) if plain else None

    def expand(self, groups: Groups) -> str:
        """The text for one key.

        Args:
            groups: captured text by group name, as `re.Match.groupdict()` gives it.

        Raises:
            RuleError: a group that the replacement uses captured nothing, or text where
                arithmetic wants a number, or the arithmetic divides by zero or gives a number below zero.
        """
        if self._frame is not None:
            texts = tuple(map(groups.get, self._copied))
            if None not in texts:
                return self._frame % texts
        return "".join([piece if isinstance(piece, str) else piece(groups) for piece in self._pieces])

    def filler(self, numbers: Mapping[str, int]) -> Filler:
        """`expand` for keys that are asked about by the hundred thousand: from a match straight to the text.

        Args:
            numbers: name of a captured group -> its number in the matches.
        """
        frame, copied = self._frame, [numbers[name] for name in self._copied if name in numbers]

        def expanded(match: re.Match[str]) -> str:
            return self.expand({name: match[number] for name, number in numbers.items()})

        if frame is None or len(copied) < len(self._copied) or not copied:
            return expanded
        pick: Callable[[re.Match[str]], Any] = itemgetter(*copied)
        many = len(copied) > 1

        def fill(match: re.Match[str]) -> str:
            texts = pick(match)
            if texts is None or (many and None in texts):
                return expanded(match)  # which says what is amiss
            return str(frame % texts)

        return fill


@lru_cache(maxsize=4096)
def parse(text: str) -> Replacement:
    """Reads a replacement.

    Raises:
        RuleError: a brace is not closed, what stands in braces is neither a name nor integer
            arithmetic, or a character is none.
    """
    return Replacement(text)


def quote(text: str) -> str:
    """`text` as a replacement that gives exactly `text`."""
    return text.replace("{", "{{").replace("}", "}}")


def cut_at_braces(text: str) -> list[tuple[str, bool]]:
    """A replacement cut into literal texts, with single braces, and what stands in braces.

    Returns:
        Texts in order, each with whether it stood in braces.

    Raises:
        RuleError: a brace is not closed.
    """
    out: list[tuple[str, bool]] = []
    plain: list[str] = []
    at = 0
    while at < len(text):
        if text[at : at + 2] in ("{{", "}}"):
            plain.append(text[at])
            at += 2
        elif text[at] == "{":
            end = text.find("}", at)
            if end < 0:
                raise RuleError(f"the replacement {text!r} has a '{{' that is never closed; double it to mean a brace")
            if plain:
                out.append(("".join(plain), False))
                plain.clear()
            out.append((text[at + 1 : end], True))
            at = end + 1
        else:
            plain.append(text[at])
            at += 1
    if plain:
        out.append(("".join(plain), False))
    return out


def expression_tokens(expression: str) -> list[str]:
    """Names, numbers and signs of what stands in braces, without spaces; what is none of these is the last token."""
    tokens: list[str] = []
    end = 0
    while token := _TOKEN.match(expression, end):
        tokens.append(token.group(1))
        end = token.end()
    rest = expression[end:].strip()
    return [*tokens, rest] if rest else tokens


def _inside(expression: str, text: str, used: set[str]) -> Piece:
    if _NAME.fullmatch(expression):
        used.add(expression)
        return _copied(expression)
    number = _Reader(expression, text, used).whole()

    def piece(groups: Groups) -> str:
        value = number(groups)
        if value < 0:
            raise RuleError(
                f"{{{expression}}} in the replacement {text!r} is {value}, and no key has a number below zero"
            )
        return str(value)

    return piece


def _copied(name: str) -> Piece:
    def piece(groups: Groups) -> str:
        value = groups.get(name)
        if value is None:
            raise RuleError(f"the group {name!r} captured nothing, so the replacement cannot use it")
        return value

    return piece


class _Reader:
    """Recursive descent over one `{...}`; builds closures, so nothing is parsed per key."""

    def __init__(self, expression: str, text: str, used: set[str]) -> None:
        self._tokens = expression_tokens(expression)
        self._at = 0
        self._depth = 0
        self._used = used
        self._wrong = (
            f"{{{expression}}} in the replacement {text!r} is neither a captured name nor integer arithmetic "
            "(+ - * // % and parentheses)"
        )

    def whole(self) -> Number:
        number = self._sum()
        if self._at < len(self._tokens):
            raise RuleError(self._wrong)
        return number

    def _next(self, *wanted: str) -> str:
        if self._at < len(self._tokens) and (not wanted or self._tokens[self._at] in wanted):
            self._at += 1
            return self._tokens[self._at - 1]
        return ""

    def _sum(self) -> Number:
        left = self._product()
        while sign := self._next("+", "-"):
            left = _two(sign, left, self._product())
        return left

    def _product(self) -> Number:
        left = self._unary()
        while sign := self._next("*", "//", "%"):
            left = _two(sign, left, self._unary())
        return left

    def _unary(self) -> Number:
        self._depth += 1
        token = self._next()
        if not token or self._depth > _DEEPEST:
            raise RuleError(self._wrong)
        number = self._value(token)
        self._depth -= 1
        return number

    def _value(self, token: str) -> Number:
        if token == "-":
            inner = self._unary()
            return lambda groups: -inner(groups)
        if token == "(":
            inner = self._sum()
            if not self._next(")"):
                raise RuleError(self._wrong)
            return inner
        if token.isascii() and token.isdigit():
            constant = int(token)
            return lambda groups: constant
        if _NAME.fullmatch(token):
            self._used.add(token)
            return _captured(token)
        raise RuleError(self._wrong)


def _captured(name: str) -> Number:
    def number(groups: Groups) -> int:
        value = groups.get(name)
        if value is None or not (value.isascii() and value.isdigit()):
            raise RuleError(f"the replacement calculates with {name!r}, which captured {value!r} and not a number")
        if len(value) > LONGEST_NUMBER:
            raise RuleError(f"the replacement calculates with {name!r}, whose number {value[:20]}... is too long")
        return int(value)

    return number


def _two(sign: str, left: Number, right: Number) -> Number:
    if sign == "+":
        return lambda groups: left(groups) + right(groups)
    if sign == "-":
        return lambda groups: left(groups) - right(groups)
    if sign == "*":
        return lambda groups: left(groups) * right(groups)

    def divide(groups: Groups) -> int:
        divisor = right(groups)
        if divisor == 0:
            raise RuleError("the replacement divides by zero")
        return left(groups) // divisor if sign == "//" else left(groups) % divisor

    return divide
