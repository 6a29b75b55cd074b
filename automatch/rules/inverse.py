r"""One rule turned round by itself: its replacement read as a pattern, its pattern as a replacement.

    h\.(?P<i>\d+)\.ln_(?P<n>\d+)\.(?P<rest>.+)  ->  blocks.{i}.norm{n-1}.{rest}
    blocks\.(?P<i>\d+)\.norm(?P<n>\d+)\.(?P<rest>.+)  ->  h.{i}.ln_{n+1}.{rest}

That can be done where the replacement keeps everything that the pattern leaves open. What is raised says what it does
not keep, as the second half of a sentence that begins with the rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product

from automatch.errors import RuleError
from automatch.ops import exchanged
from automatch.rules.holes import literal
from automatch.rules.linear import HALVES
from automatch.rules.members import alternatives, literal_text
from automatch.rules.replacement import cut_at_braces, expression_tokens, quote
from automatch.rules.rule import Rule

_OPEN = re.compile(r"\(\?P<(?P<name>\w+)>")
_WORD = re.compile(r"[A-Za-z]")
_DROPPED = re.compile(r"(?<!\\)\(\?:(?:[^()\\]|\\.)*\)[?*+]?")
_BACK = {"chunk": "concat", "stack": "unstack", "unstack": "stack", "split_latent": "join_latent"}
_CUT_IN_PARTS = ("chunk", "split_latent")
_FILLINGS = ("x", "1", "12")
_MOST_SAMPLES = 243


@dataclass(frozen=True, slots=True)
class _Part:
    """A literal text, or a named group with its pattern."""

    text: str
    name: str = ""


def inverse(rule: Rule) -> tuple[Rule, ...]:
    """The rules that undo one rule, in any order; one, except for a chunk, which has one for each piece.

    Raises:
        RuleError: it cannot be undone without knowing the keys; the text begins with a verb, "drops what ... matches".
    """
    words = rule.law.words
    if {"concat", "join_latent"} & set(words):
        raise RuleError("joins tensors, whose sizes it does not say")
    if "reshape" in words or (rule.op == "permute" and rule.perm is None and not rule.law.weaves):
        raise RuleError(f"has the operation {rule.op}, which does not say how the tensor was before")
    if len(words) > 1:
        raise RuleError(f"has several operations, {rule.op}")
    if rule.op == "stack" and rule.part is not None:
        raise RuleError("joins tensors, whose names it does not say")
    parts = _parts(rule.pattern)
    count = len(rule.replacements)
    out = []
    for i, text in enumerate(rule.replacements):
        pattern, goal = _exchanged(parts, text, rule.by if rule.op == "unstack" else None)
        back = Rule(
            pattern,
            goal,
            _BACK.get(rule.op, rule.op),
            part=(i, count) if rule.op in _CUT_IN_PARTS or (rule.op == "unstack" and rule.by is None) else None,
            by=rule.by,
            dim=rule.dim,
            shape=None if rule.op in _CUT_IN_PARTS else exchanged(rule.shape),
            perm=None if rule.perm is None else tuple(sorted(range(len(rule.perm)), key=rule.perm.__getitem__)),
        )
        back.check("the way back")
        out.append(back)
    return tuple(out)


def captured(pattern: str) -> frozenset[str]:
    """Names of groups of a pattern that capture something in every key that it takes; others may, too."""
    try:
        return frozenset(part.name for part in _parts(_DROPPED.sub("-", pattern)) if part.name)
    except RuleError:
        return frozenset()


def samples(pattern: str) -> list[str]:
    """Some keys that a pattern takes which `inverse` could read: numbers, names and listed texts in its groups.

    Raises:
        RuleError: it cannot be read.
    """
    ways: list[Sequence[str]] = []
    for part in _parts(pattern):
        if not part.name:
            ways.append((part.text,))
            continue
        try:
            texts: Sequence[str] = alternatives(f"(?P<{part.name}>{part.text})", part.name)
        except RuleError:
            texts = _FILLINGS
        ways.append(texts)
    tried = islice(product(*ways), _MOST_SAMPLES)
    return [key for key in map("".join, tried) if re.fullmatch(pattern, key)]


def _parts(pattern: str) -> list[_Part]:
    """A pattern as literal texts and named groups.

    Raises:
        RuleError: something else stands in it, which no replacement can bring back.
    """
    out: list[_Part] = []
    at = 0
    while at < len(pattern):
        text, end = literal_text(pattern, at)
        if text and pattern[end : end + 1] not in ("?", "*", "+", "{", "|"):
            out.append(_Part(text))
            at = end
            continue
        opening = _OPEN.match(pattern, end)
        if text or opening is None:
            raise RuleError(f"drops what {_unnamed(pattern, end)} matches")
        close = _closing(pattern, opening.end())
        out.append(_Part(pattern[opening.end() : close], opening["name"]))
        at = close + 1
        if pattern[at : at + 1] in ("?", "*", "+", "{"):
            raise RuleError(f"may capture {opening['name']!r} never or several times")
    return out


def _unnamed(pattern: str, at: int) -> str:
    """What stands at a place of a pattern: a group up to its end, or a few characters."""
    return pattern[at : _closing(pattern, at + 1) + 1] if pattern[at : at + 1] == "(" else pattern[at : at + 5]


def _closing(pattern: str, at: int) -> int:
    """Where the group ends that was opened before `at`."""
    depth = 1
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 1
        elif char == "[":
            at = pattern.index("]", at + 2)
        elif char in "()":
            depth += 1 if char == "(" else -1
            if not depth:
                return at
        at += 1
    return at


def _exchanged(parts: list[_Part], replacement: str, by: str | None) -> tuple[str, str]:
    """Pattern and replacement of the way back.

    Raises:
        RuleError: a group is not kept, or cannot be worked out again.
    """
    groups = {part.name: part.text for part in parts if part.name}
    given = {name: f"{{{name}}}" for name in groups}
    pattern, kept = "", []
    for text, braced in cut_at_braces(replacement):
        if not braced:
            pattern += literal(text)
            continue
        name, sign, shift = _linear(text)
        if name in kept:
            raise RuleError(f"uses {name!r} twice")
        kept.append(name)
        if name == by:
            pattern += rf"(?P<{name}>\d+)"
            continue
        inside, given[name] = _back(name, groups[name], sign, shift)
        pattern += f"(?P<{name}>{inside})"
    for name, inside in groups.items():
        if name not in kept:
            text, end = literal_text(inside)
            if end < len(inside):
                raise RuleError(f"captures {name!r} and does not keep it")
            given[name] = quote(text)
    if not _WORD.search(re.sub(r"\(\?P<\w+>|\\[A-Za-z]", "", pattern)):
        raise RuleError("takes away all the words it is known by, so that its way back would take any key")
    return pattern, "".join(given[part.name] if part.name else quote(part.text) for part in parts)


def _linear(expression: str) -> tuple[str, int, int]:
    """Name, sign and shift of `{name}`, `{i+1}`, `{i-1}` or `{3-i}`.

    Raises:
        RuleError: it is another calculation.
    """
    tokens = expression_tokens(expression)
    if len(tokens) == 1 and tokens[0].isidentifier():
        return tokens[0], 0, 0
    if len(tokens) == 3 and tokens[1] in ("+", "-"):
        left, sign, right = tokens
        if left.isidentifier() and right.isdigit():
            return left, 1, int(right) if sign == "+" else -int(right)
        if left.isdigit() and right.isidentifier():
            return right, 1 if sign == "+" else -1, int(left)
    raise RuleError(f"calculates {{{expression}}}, which does not tell the numbers it was made of")


def _back(name: str, inside: str, sign: int, shift: int) -> tuple[str, str]:
    """The pattern of a group on the way back, and what gives its text again.

    Raises:
        RuleError: the group is calculated with and may capture something that is no number.
    """
    if not sign:
        return inside, f"{{{name}}}"
    if sign > 0 and not shift:
        raise RuleError(f"takes zeros away in front of {name!r}")
    again = f"{{{name}{-shift:+d}}}" if sign > 0 else f"{{{shift}-{name}}}"
    if inside == r"\d+":
        return inside, again
    if inside in HALVES:  # an odd shift makes even numbers of odd ones
        return HALVES[(HALVES.index(inside) + shift) % 2], again
    values = alternatives(f"(?P<{name}>{inside})", name)
    if not all(value.isascii() and value.isdigit() for value in values):
        raise RuleError(f"calculates with {name!r}, which may be no number")
    return "|".join(str(sign * int(value) + shift) for value in values), again
