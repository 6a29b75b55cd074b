"""Rules replayed on keys by other code than the package's own, so that neither can hide a fault of the other."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def expand(template: str, groups: Mapping[str, str | None]) -> str:
    """Fills a replacement.

    Args:
        template: literal text with `{name}` or `{i+1}`; literal braces are doubled.
        groups: the captured texts by name.

    Returns:
        The model key.

    Raises:
        ValueError: an expression is neither a captured name nor integer arithmetic on captured numbers.
    """

    def fill(token: re.Match[str]) -> str:
        inner = token.group(1)
        if inner is None:
            return token.group()[0]
        text = groups.get(inner)
        return text if text is not None else str(_calculate(ast.parse(inner.strip(), mode="eval").body, groups))

    return _TOKEN.sub(fill, template)


def _calculate(node: ast.expr, groups: Mapping[str, str | None]) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        text = groups.get(node.id)
        if text is not None and text.isdigit():
            return int(text)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_calculate(node.left, groups), _calculate(node.right, groups))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_calculate(node.operand, groups)
    raise ValueError(f"not integer arithmetic on captured numbers: {ast.unparse(node)!r}")


def replay(rules: Iterable[Mapping[str, Any]], keys: Iterable[str]) -> dict[str, str]:
    """Replays plain renames: every rule sees the original key, the first that matches the whole key wins.

    Args:
        rules: as in the JSON of a diagnosis; operations that change more than the name are left out.
        keys: checkpoint keys.

    Returns:
        The new name of each key that a rule took.
    """
    compiled = [
        (re.compile(rule["pattern"]), rule["replacement"])
        for rule in rules
        if rule.get("op", "rename") in ("rename", "permute") and isinstance(rule.get("replacement"), str)
    ]
    renamed = {}
    for key in keys:
        for pattern, replacement in compiled:
            if found := pattern.fullmatch(key):
                renamed[key] = expand(replacement, found.groupdict())
                break
    return renamed
