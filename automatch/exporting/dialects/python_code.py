"""Python: one function that does what the rules do, with `re` alone (and torch, where tensors are joined)."""

from __future__ import annotations

from automatch.exporting.background import NOTHING, Background
from automatch.exporting.function import function_source, imports_source
from automatch.rules.rule_set import RuleSet

NAME = "python"
DESCRIPTION = "a function convert(state_dict) that needs no automatch; says everything"

HEAD = '''"""Gives a checkpoint the keys of the model."""

{comments}
# What it returns has no _metadata: a module that looks at its version takes it for the oldest (rules.apply keeps it).

{imports}

'''


def render(rules: RuleSet, background: Background = NOTHING) -> str:
    """The source text of a module with one function, `convert(state_dict)`.

    Args:
        rules: what it shall do.
        background: what they were proven on.

    Raises:
        RuleError: a rule has an operation that cannot be run without the model, or a brace that is not closed.
    """
    comments = "\n".join(f"# {sentence}" for sentence in background.sentences)
    return HEAD.format(comments=comments, imports=imports_source(rules)) + function_source(rules, background)
