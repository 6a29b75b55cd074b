"""Making a right list of rules shorter without making it wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

from automatch.rules.linear import linear
from automatch.rules.rule import Rule
from automatch.rules.scoring import Sample, Scored

_MOST_RULES = 40
_DETOUR = 2.0
_ALTERNATIVES = 4
_ROUNDS = 8
_FEW = 2
"""A list with no more members than these may be no list of layers."""
_NUMBER = re.compile(r"(?<![0-9A-Za-z])[0-9]+(?![0-9A-Za-z])")
"""A number that is no part of a word."""
_INNER = re.compile(r"(?<=\\d\+\\\.)[0-9]+(?=\\\.)")
"""A number behind a number, `0` in `layer\\d+\\.0\\.`: the item of a list that stands in an item of another list."""
_NAMED = re.compile(r"\?P<\w+>")
_LISTED = re.compile(r"\((\?P<\w+>|\?:)\d+(?:\|\d+)+\)")
"""Numbers that a pattern lists, `(?P<i>1|2)`."""
_NAME = re.compile(r"\?P<(\w+)>")
_MEMBERS = 10
"""A list of multiples is continued to so many: few networks are deeper that are written as one list."""
_WORDS = re.compile(r"(?<=\\\.)\((\?P<\w+>)[A-Za-z]\w*(?:\|[A-Za-z]\w*)+\)(?=\\\.)")
"""Names that a pattern lists and that stand alone inside a key, `heads\\.(?P<a>age|gender)\\.`."""


def pruned(chosen: Sequence[Scored], sample: Sample) -> list[Scored]:
    """Without the rules whose work the others do."""
    out = list(chosen)
    alone = _taken_once(chosen) & sample.bad
    for scored in chosen:
        if scored.right & alone:
            continue  # the only one that puts some key right
        rest = [other for other in out if other is not scored]
        if not sample.left(rest):
            out = rest
    return out


def refined(chosen: list[Scored], pool: Sequence[Scored], sample: Sample) -> list[Scored]:
    """With rules exchanged for shorter ones, one by one and in pairs.

    A pair may shorten what neither exchange does alone: once the exceptions are said exactly,
    the rule that they except may be said in general.
    """
    if len(chosen) > _MOST_RULES:
        return chosen
    cheapest_first = sorted(pool, key=lambda scored: scored.cost)
    for _ in range(_ROUNDS):
        better = _exchanged(chosen, cheapest_first, sample) or _exchanged_twice(chosen, cheapest_first, sample)
        if better is None:
            return chosen
        chosen = pruned(better, sample)
    return chosen


def opened(chosen: Sequence[Scored], sample: Sample) -> list[Scored]:
    """With any number where a rule lists some, says the last of a list, or carries the only item of one over.

    And with any name where it lists those of modules side by side: another model has other heads.

    Only where the list of rules stays right.

    The sample cannot tell the two apart; a deeper model can.
    """
    out = list(chosen)
    bare = [_NAMED.sub("?:", scored.candidate.rule.pattern) for scored in chosen]
    for i, scored in enumerate(chosen):
        rule = scored.candidate.rule
        patterns = (
            _listed(rule, _any_number),
            _listed(rule, _every_other),
            _listed(rule, partial(_every_nth, rule.replacement)),
            _WORDS.sub(r"(\1[^.]+)", rule.pattern),
            *_without_last(out, i, sample),
            *_any_item(rule),
        )
        for wider in (
            *(replace(rule, pattern=pattern) for pattern in patterns),
            *_handed_on(rule, [*bare[:i], *bare[i + 1 :]]),
        ):
            if wider == rule or rule.part is not None or not linear(wider.pattern):
                continue
            other = sample.score(replace(scored.candidate, rule=wider))
            trial = [*out[:i], other, *out[i + 1 :]]
            if not sample.left(trial):
                out = trial
                break
    return out


def _listed(rule: Rule, instead: Callable[[re.Match[str]], str]) -> str:
    """The pattern with something else in place of numbers that it lists."""
    return _LISTED.sub(instead, rule.pattern)


def _any_number(found: re.Match[str]) -> str:
    return r"\d+" if found[1] == "?:" else rf"({found[1]}\d+)"


def _every_other(found: re.Match[str]) -> str:
    """The odd ones or the even ones, where those listed are: the halves of layers that stand in one list by turns."""
    last = {int(number[-1]) % 2 for number in re.findall(r"[0-9]+", found[0].removeprefix(f"({found[1]}"))}
    if len(last) > 1:
        return found[0]
    digits = r"\d*[13579]" if 1 in last else r"\d*[02468]"
    return digits if found[1] == "?:" else f"({found[1]}{digits})"


def _every_nth(replacement: object, found: re.Match[str]) -> str:
    r"""The next numbers as well, where those listed are the multiples by which the rule divides them.

    The convolutions of `conv, norm, relu, conv, ...` are `(?P<i>0|3)` and become `{i//3}.conv`; a deeper network has
    `6` and `9` besides.
    """
    numbers = sorted(map(int, re.findall(r"[0-9]+", found[0].removeprefix(f"({found[1]}"))))
    name = _NAME.match(found[1])
    divided = name and re.search(rf"\{{\(?{name[1]}(?:[-+][0-9]+\))?//([0-9]+)", str(replacement))
    step = int(divided[1]) if divided else 0
    if not step or any(b - a != step for a, b in pairwise(numbers)):
        return found[0]
    return f"({found[1]}{'|'.join(str(numbers[0] + step * n) for n in range(max(_MEMBERS, len(numbers))))})"


def _without_last(chosen: Sequence[Scored], i: int, sample: Sample) -> list[str]:
    """The pattern with any number in place of one that ends a list whose other members rules take by any number.

    What stands behind repeated layers in one list, `network.4` behind two of them, stands further behind in a deeper
    model: `network.5`.
    """
    own = chosen[i].candidate.rule.pattern
    others = [_NAMED.sub("?:", other.candidate.rule.pattern) for j, other in enumerate(chosen) if j != i]
    out = []
    for found in _NUMBER.finditer(own):
        before, behind = own[: found.start()], own[found.end() :]
        head = _NAMED.sub("?:", before)
        listed = any(other.startswith((head + r"(?:\d+)", head + r"\d+")) for other in others)
        numbers = sample.numbers_behind(before) if listed and linear(before) else ()
        if len(numbers) > _FEW and max(numbers) == int(found[0]):
            out.append(before + r"\d+" + behind)
    return out


def _any_item(rule: Rule) -> list[str]:
    r"""The pattern with any number in place of the only item of inner lists that it carries over as they stand.

    A small network has one block a stage, `(?P<a>layer\d+\.0\..+)`; a large one has more.
    """
    out = []
    for group in re.finditer(r"\(\?P<\w+>[^()]*\)", rule.pattern):
        inner = _INNER.sub(r"\\d+", group[0])
        if inner != group[0]:
            out.append(rule.pattern[: group.start()] + inner + rule.pattern[group.end() :])
    return out


def _handed_on(rule: Rule, others: Sequence[str]) -> list[Rule]:
    r"""The rule with any number in place of the only item of lists that both its sides name.

    `layers\.(?P<i>\d+)\.blocks\.0\.` becomes `{i}.blocks.0.`, and in a large network `{i}.blocks.1.` as well. So does
    the only item of an outermost list of which the `others`, patterns without names, take any; but of none of which one
    of these takes another item.
    """
    text = rule.replacement
    if not isinstance(text, str) or rule.by is not None:
        return []
    out = []
    named = set(re.findall(r"\?P<(\w+)>", rule.pattern))
    name = next((letter for letter in "ijklmnopqrstuvwxyz" if letter not in named), None)
    numbers = dict.fromkeys(found[0] for found in _NUMBER.finditer(rule.pattern)) if name is not None else ()
    for number, inner in ((number, inner) for inner in (True, False) for number in numbers):
        ways = [
            [at for found in _NUMBER.finditer(side) if found[0] == number and _is_item(side, at := found.span(), inner)]
            for side in (rule.pattern, text)
        ]
        for mine, theirs in zip(*ways, strict=True) if len(ways[0]) == len(ways[1]) else ():
            head = _NAMED.sub("?:", rule.pattern[: mine[0]])
            items = [_NUMBER.match(other, len(head)) for other in others if other.startswith(head)]
            if any(item is not None and item[0] != number for item in items):
                continue
            if not inner and not any(other.startswith((head + r"(?:\d+)", head + r"\d+")) for other in others):
                continue
            pattern = f"{rule.pattern[: mine[0]]}(?P<{name}>\\d+){rule.pattern[mine[1] :]}"
            goal = f"{text[: theirs[0]]}{{{name}}}{text[theirs[1] :]}"
            out.append(_relettered(replace(rule, pattern=pattern, replacement=goal)))
    return out


def _relettered(rule: Rule) -> Rule:
    """The rule with the letters of its numbers in the order in which these stand."""
    letters = re.findall(r"\?P<([i-z])>", rule.pattern)
    new = dict(zip(letters, sorted(letters), strict=True))
    return replace(
        rule,
        pattern=re.sub(r"\?P<([i-z])>", lambda found: f"?P<{new[found[1]]}>", rule.pattern),
        replacement=re.sub(
            r"\{[^}]*\}",
            lambda braces: re.sub(r"\b[i-z]\b", lambda found: new.get(found[0], found[0]), braces[0]),
            str(rule.replacement),
        ),
    )


def _is_item(side: str, span: tuple[int, int], inner: bool) -> bool:
    """Is a number of a pattern, or of a replacement, an item (`inner`: in an item), outside of any group or brace?"""
    before = side[: span[0]]
    outside = before.count("(") == before.count(")") and before.count("{") == before.count("}")
    inside = r"\d+" in before or "}" in before
    return outside and inside == inner and side[span[1] :].startswith((r"\.", ".", "/"))


def _taken_once(chosen: Sequence[Scored]) -> int:
    """Keys that exactly one rule matches."""
    once = twice = 0
    for scored in chosen:
        twice |= once & scored.taken
        once |= scored.taken
    return once & ~twice


def _exchanged(chosen: list[Scored], pool: Sequence[Scored], sample: Sample) -> list[Scored] | None:
    """The list with one rule exchanged for the one that saves most; it may move to the end."""
    best, saved = None, 1e-6
    alone = _taken_once(chosen) & sample.bad
    for i, scored in enumerate(chosen):
        needed = scored.right & alone
        for other in pool:
            if scored.cost - other.cost <= saved:
                break
            if needed & ~other.right or not other.right & scored.right:
                continue
            for trial in ([*chosen[:i], other, *chosen[i + 1 :]], [*chosen[:i], *chosen[i + 1 :], other]):
                if not sample.left(trial):
                    best, saved = trial, scored.cost - other.cost
                    break
    return best


def _exchanged_twice(chosen: list[Scored], pool: Sequence[Scored], sample: Sample) -> list[Scored] | None:
    before = sum(scored.cost for scored in chosen)
    alone = _taken_once(chosen) & sample.bad
    for i, scored in enumerate(chosen):
        needed, tried = scored.right & alone, 0
        for other in pool:
            if other.cost >= scored.cost + _DETOUR or tried == _ALTERNATIVES:
                break
            if other is scored or needed & ~other.right or not other.right & scored.right:
                continue
            trial = [*chosen[:i], other, *chosen[i + 1 :]]
            if sample.left(trial):
                continue
            better = _exchanged(trial, pool, sample)
            if better is not None and sum(s.cost for s in better) < before - 1e-6:
                return better
            tried += 1
    return None
