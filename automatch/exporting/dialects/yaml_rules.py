r"""YAML: a rules file for people to review and for `automatch apply`.

Written by hand, so that PyYAML is needed only to read it: texts are always quoted, in single quotes where those can
hold them, so that a pattern stands as it is (`'\d+'`) and nothing is taken for a number or a word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from automatch.exporting.background import NOTHING, Background
from automatch.exporting.dialect import guess_remarks, rule_comments
from automatch.exporting.document import document_of
from automatch.rules.rule_set import RuleSet

NAME = "yaml"
DESCRIPTION = "a rules file with comments, for people to review and for automatch apply; says everything"


def render(rules: RuleSet, background: Background = NOTHING) -> str:
    """The rules as a YAML mapping with a list under "rules" and a comment over each rule.

    Args:
        rules: any.
        background: what the comments tell.
    """
    document = document_of(rules, background)
    lines = [f"# {line}" for line in (*background.sentences, *guess_remarks(rules))]
    lines.append("# A rule sees the whole original key; the first that matches wins; keys that none matches stay.")
    for name, value in document.items():
        if name == "rules":
            lines += _rules(value, rule_comments(rules, background))
        elif isinstance(value, dict):
            lines += [f"{name}:", *(f"  {field}: {_inline(inner)}" for field, inner in value.items())]
        else:
            lines += [f"{name}:", *(f"  - {_inline(item)}" for item in value)]
    return "\n".join(lines) + "\n"


def _rules(rules: list[dict[str, Any]], comments: list[str]) -> Iterator[str]:
    """The list of rules, each below a comment."""
    yield "rules:" if rules else "rules: []"
    for rule, comment in zip(rules, comments, strict=True):
        yield f"  # {comment}"
        mark = "-"
        for name, value in rule.items():
            yield f"  {mark} {name}: {_inline(value)}"
            mark = " "


def _inline(value: object) -> str:
    """A text, a number or a list on one line."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return json.dumps(value)


def _quoted(text: str) -> str:
    """A text in single quotes, or in double quotes where it has what cannot be seen."""
    if text.isascii() and text.isprintable():
        return f"""'{text.replace("'", "''")}'"""
    escaped = "".join(c if c.isascii() and c.isprintable() else f"\\U{ord(c):08x}" for c in text.replace("\\", "\\\\"))
    return '"' + escaped.replace('"', '\\"') + '"'
