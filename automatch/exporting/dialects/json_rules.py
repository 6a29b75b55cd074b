"""JSON: a rules file for `automatch apply` and `RuleSet.from_json`."""

from __future__ import annotations

import json

from automatch.exporting.background import NOTHING, Background
from automatch.exporting.dialect import guess_remarks
from automatch.exporting.document import document_of
from automatch.rules.families import covered, told
from automatch.rules.rule_set import RuleSet

NAME = "json"
DESCRIPTION = "a rules file for automatch apply; says everything"


def render(rules: RuleSet, background: Background = NOTHING) -> str:
    """The rules as a JSON object with a list under "rules"; sentences about them stand under "about".

    Args:
        rules: any.
        background: what the sentences tell.
    """
    about = [*background.sentences, *guess_remarks(rules)]
    document = document_of(rules, background)
    if background.keys is not None:
        families = map(told, covered(rules, background.keys))
        document["rules"] = [{**rule, "covers": own} for rule, own in zip(document["rules"], families, strict=True)]
    return json.dumps({"about": about, **document}, indent=2) + "\n"
