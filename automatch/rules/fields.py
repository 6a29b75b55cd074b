"""The fields of a rule as JSON holds them, or a person wrote them.

Each function takes the rule's mapping and how an error names the rule (`where`, e.g. "rule 3"), gives the value of one
field, and raises a `RuleError` where that is of another type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from automatch.errors import RuleError

_NUMBERED = re.compile(r"\\(?:[1-9]|g<)|(?<!\{)\{[0-9]+\}")

_ALIKE = 0.8
"""Names as near as this are the same, misspelt."""


def refuse_misspelt(data: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    """Refuse a field that is not known and spelt nearly like one that is not there; other unknown ones are ignored.

    Raises:
        RuleError: names both.
    """
    for field in data:
        near = get_close_matches(str(field), names, 1, _ALIKE) if field not in names else []
        if near and near[0] not in data:
            raise RuleError(f'{where}: there is no field "{field}"; write "{near[0]}"')


def refuse_numbered(replacements: Sequence[str], where: str) -> None:
    r"""Refuse replacements in the manner of `re.sub` or `str.format`, where `\1` or `{1}` is the first group.

    Raises:
        RuleError: says how groups are written.
    """
    found = next((found for text in replacements if (found := _NUMBERED.search(text))), None)
    if found is not None:
        raise RuleError(f"{where}: {found[0]} is no group here; groups are named, (?P<a>...) and {{a}}")


def text_field(data: Mapping[str, Any], name: str, where: str, default: str | None = None) -> str:
    """A text; `default` where the field is missing."""
    value = data.get(name, default)
    if not isinstance(value, str):
        raise RuleError(f'{where}: "{name}" is {"missing" if value is None else "not a text"}')
    return value


def replacement_field(data: Mapping[str, Any], where: str) -> str | tuple[str, ...]:
    """A text, or one for each piece."""
    value = data.get("replacement")
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise RuleError(f'{where}: "replacement" is neither a text nor a list of texts')


def number_field(data: Mapping[str, Any], name: str, where: str) -> int | None:
    """A whole number, or nothing."""
    value = data.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise RuleError(f'{where}: "{name}" is not a whole number')
    return value


def numbers_field(data: Mapping[str, Any], name: str, where: str) -> tuple[int, ...] | None:
    """Whole numbers, or nothing."""
    value = data.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or any(not isinstance(n, int) or isinstance(n, bool) for n in value):
        raise RuleError(f'{where}: "{name}" is not a list of whole numbers')
    return tuple(value)


def check_sizes(sizes: tuple[int, ...] | None, shape: tuple[int, ...] | None, where: str) -> None:
    """Makes sure that numbers are sizes that a tensor can have.

    Args:
        sizes: proportions of pieces.
        shape: sizes, of which one may be -1 and takes the rest.
        where: how to name the rule.

    Raises:
        RuleError: they are not.
    """
    if sizes is not None and (min(sizes, default=0) < 0 or not sum(sizes)):
        raise RuleError(f'{where}: "sizes" are the proportions of the pieces, not {list(sizes)}')
    if shape is not None and (min(shape, default=0) < -1 or shape.count(-1) > 1):
        raise RuleError(f'{where}: "shape" holds sizes, of which one may be -1 and takes the rest, not {list(shape)}')


def part_field(data: Mapping[str, Any], where: str) -> tuple[int, int] | str | None:
    """(k, n), the name of a group, or nothing."""
    value = data.get("part")
    if value is None or isinstance(value, str):
        return value
    if (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(n, int) for n in value)
        and 0 <= value[0] < value[1]
    ):
        return (value[0], value[1])
    raise RuleError(f'{where}: "part" is neither [k, n] with k < n nor the name of a group')


def pairs_field(data: Mapping[str, Any], name: str) -> tuple[tuple[str, str], ...] | None:
    """Pairs of texts beside the rules, or nothing."""
    value = data.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or any(not _is_texts(pair) or len(pair) != 2 for pair in value):
        raise RuleError(f'"{name}" is not a list of pairs of texts')
    return tuple((first, second) for first, second in value)


def texts_field(data: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    """Texts beside the rules, or nothing."""
    value = data.get(name)
    if value is not None and not _is_texts(value):
        raise RuleError(f'"{name}" is not a list of texts')
    return None if value is None else tuple(value)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
