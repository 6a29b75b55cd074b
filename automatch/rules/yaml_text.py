"""Rules files in YAML, read as JSON would be: texts, whole numbers, true, false and null, lists and dicts.

PyYAML reads more than a rules file can mean (`no` as false, `1e5` as a number, `007` as 7, an anchor that doubles a
document ten times over), and it forgets all but the last of equal keys. So what is not plainly a number or a word of
JSON is a text here, and anchors, tags and equal keys are refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from automatch.errors import InputError, RuleError

if TYPE_CHECKING:
    from yaml.nodes import MappingNode, Node, ScalarNode

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "": None, "~": None}
_DEEPEST = 20


def read_yaml(text: str) -> object:
    """The document as plain lists, dicts, texts and numbers.

    Raises:
        RuleError: it is no YAML, or uses what a rules file has no need of; says in which line.
        InputError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError:
        raise InputError(
            "rules in YAML are read by PyYAML, which is not installed; install it with `pip install pyyaml`, or give "
            "the rules as JSON"
        ) from None
    try:
        _refuse_excess(yaml.parse(text, yaml.BaseLoader))
        node = yaml.compose(text, yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RuleError(f"the rules are not YAML: {_told(error)}") from None
    return _value(node)


def _told(error: Exception) -> str:
    """What is wrong with a text that is no YAML, in one line."""
    mark, problem = getattr(error, "problem_mark", None), str(getattr(error, "problem", None) or error)
    way = "; in single quotes a backslash is itself" if "escape character" in problem else ""
    where = f"line {mark.line + 1}: " if mark is not None else ""
    return f"{where}{' '.join(problem.split())}{way}"


def _refuse_excess(events: Any) -> None:
    """Refuses anchors, tags and deep nesting, before anything is built from them and before they take their time."""
    depth = 0
    for event in events:
        line = event.start_mark.line + 1
        for name, word in (("anchor", "an anchor or a reference"), ("tag", "a tag")):
            if getattr(event, name, None) is not None:
                raise RuleError(f"the rules have {word} in line {line}; write the text out")
        kind = type(event).__name__
        depth += kind in ("SequenceStartEvent", "MappingStartEvent")
        depth -= kind in ("SequenceEndEvent", "MappingEndEvent")
        if depth > _DEEPEST:
            raise RuleError(f"the rules are nested more than {_DEEPEST} deep in line {line}")


def _value(node: Node | None) -> object:
    """A node as plain Python."""
    if node is None:
        return None
    if node.id == "scalar":
        return _scalar(node)
    if node.id == "sequence":
        return [_value(item) for item in node.value]
    return _mapping(node)


def _scalar(node: ScalarNode) -> object:
    text: str = node.value
    if node.style is not None:  # quoted, or a block
        return text
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _NUMBER.fullmatch(text) else text


def _mapping(node: MappingNode) -> dict[str, object]:
    out: dict[str, object] = {}
    for key, value in node.value:
        name = key.value
        line = key.start_mark.line + 1
        if not isinstance(name, str):
            raise RuleError(f"the rules have a field whose name is no text in line {line}")
        if name in out:
            raise RuleError(f"the rules have {name!r} twice, again in line {line}")
        out[name] = _value(value)
    return out
