"""A rules file: the rules, and beside them what is needed to apply them and to know what they were proven on."""

from __future__ import annotations

from typing import Any

from automatch.exporting.background import Background
from automatch.rules.rule_set import RuleSet


def document_of(rules: RuleSet, background: Background) -> dict[str, Any]:
    """The rules file as plain lists and dicts; `RuleSet.from_document` reads it.

    The names and the number of keys are for people; `at` is where `apply` finds the state_dict.
    """
    document: dict[str, Any] = {}
    if background.checkpoint or background.at:
        document["checkpoint"] = {"name": background.checkpoint, "at": background.at}
    if background.model:
        document["model"] = {"name": background.model}
    document["rules"] = rules.to_list()
    for name in ("tied", "doubles"):
        pairs = getattr(rules, name)
        if pairs:
            document[name] = [list(pair) for pair in pairs]
    if rules.undecided:
        document["undecided"] = list(rules.undecided)
    return document
