"""Rules files: the JSON of a diagnosis, or rules alone as JSON or YAML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from automatch.applying.atomic import CHECKPOINTS
from automatch.applying.paths import path_of
from automatch.errors import InputError, RuleError
from automatch.rules.rule_set import RuleSet
from automatch.rules.yaml_text import read_yaml

YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class RulesFile:
    """What a rules file says.

    Attributes:
        rules: in their order.
        at: where the state_dict stood in the checkpoint that they were made for; None if not told.
        document: the whole of it as plain lists and dicts.
    """

    rules: RuleSet
    at: str | None
    document: object


def read_rules(source: object) -> RulesFile:
    """Read a rules file: the JSON of `diagnose --format json`, or rules alone as JSON or YAML.

    Args:
        source: its path, as a text or a `Path`.

    Raises:
        InputError: it is no path, the file cannot be read, or holds something else.
    """
    source = path_of(source, "rules")
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        way = "a checkpoint comes with a model; " if source.suffix.lower() in CHECKPOINTS else ""
        raise InputError(
            f"{source}: cannot be read ({reason}); {way}give the JSON or YAML that diagnose printed"
        ) from None
    try:
        document = read_yaml(text) if _is_yaml(source, text) else _read_json(text)
        rules = RuleSet.from_document(document)
    except InputError as error:
        raise type(error)(f"{source}: {error}") from None
    side = document.get("checkpoint") if isinstance(document, Mapping) else None
    at = side.get("at") if isinstance(side, Mapping) else None
    return RulesFile(rules, at if isinstance(at, str) else None, document)


def _is_yaml(source: Path, text: str) -> bool:
    """By its ending; under another one than JSON's, where it speaks of patterns and does not begin as JSON does."""
    suffix = source.suffix.lower()
    spoken = "pattern:" in text and not text.lstrip().startswith(("{", "["))
    return suffix in YAML_SUFFIXES or (suffix != ".json" and spoken)


def _read_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RuleError(f"the rules are not JSON: {error}") from None
