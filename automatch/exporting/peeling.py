r"""Texts at the ends of a group moved out of it, for languages that must see a text in the new name.

    (?P<a>h\.\d+\.[^.]+\.weight) => {a}      becomes      h\.(?P<a>\d+\.[^.]+)\.weight => h.{a}.weight
    (?P<a>.+\.(?:w|b)) => {a}               becomes      (?P<a>.+\.)(?P<a_end>w|b) => {a}{a_end}

The rules mean the same; texts of a short choice can be listed.
"""

from __future__ import annotations

import re
from dataclasses import replace

from automatch.exporting.segments import joined_regex, segments
from automatch.rules.members import literal_text
from automatch.rules.replacement import cut_at_braces, quote
from automatch.rules.rule import Rule

_REPEAT = tuple("*+?{")
_TAIL = re.compile(r"(?:[\w/-]|\\[^\w\s])*\Z")
_CHOICE = re.compile(r"\(\?:([\w/|-]+)\)\Z")
_LAST = re.compile(r"(?:\\.|[^\\])\Z", re.DOTALL)


def peeled(rule: Rule, fixed: tuple[str, ...] = ()) -> Rule:
    """The same rule with shorter groups.

    Args:
        rule: any rule.
        fixed: names of groups to leave as they are.
    """
    for part in segments(rule.pattern) or ():
        group = f"(?P<{part.name}>{part.regex})"
        if (
            not part.name
            or part.name in fixed
            or part.text is not None
            or joined_regex([part]) != part.regex
            or group not in rule.pattern
        ):
            continue
        head, middle, tail = _ends(part.regex)
        before, after, last = quote(literal_text(head)[0]), quote(literal_text(tail)[0]), f"{part.name}_end"
        choice = _CHOICE.search(middle)
        if choice is not None and f"<{last}>" not in rule.pattern:
            middle, tail = middle[: choice.start()], f"(?P<{last}>{choice[1]}){tail}"
            after = f"{{{last}}}{after}"
        texts = tuple(_with_around(text, part.name, before, after) for text in rule.replacements)
        pattern = rule.pattern.replace(group, f"{head}(?P<{part.name}>{middle}){tail}", 1)
        rule = replace(rule, pattern=pattern, replacement=texts[0] if isinstance(rule.replacement, str) else texts)
    return rule


def _ends(regex: str) -> tuple[str, str, str]:
    """The plain beginning of a regex, the rest, and its plain end."""
    end = literal_text(regex)[1]
    head, rest = regex[:end], regex[end:]
    if rest.startswith(_REPEAT):
        head = _LAST.sub("", head)
    rest = regex[len(head) :]
    tail = _TAIL.search(rest)
    start = len(rest) if tail is None else tail.start()
    if rest[:start].endswith(("\\", "(?", "[")) or rest.count("[", 0, start) > rest.count("]", 0, start):
        start = len(rest)
    return head, rest[:start], rest[start:]


def _with_around(template: str, name: str, before: str, after: str) -> str:
    """The replacement with replacements around a captured text."""
    out = []
    for text, braced in cut_at_braces(template):
        piece = f"{{{text}}}" if braced else quote(text)
        out.append(f"{before}{piece}{after}" if braced and text == name else piece)
    return "".join(out)
