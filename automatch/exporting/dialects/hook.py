"""A pre-hook of `load_state_dict` for a module whose submodules or parameters were renamed (torch >= 2.1).

A hook sees every checkpoint that is loaded, old ones and new ones, below the prefix of its module. So it renames in
place, keeps what stands beside its module, and lets a new checkpoint pass.
"""

from __future__ import annotations

import textwrap

from automatch.exporting.background import NOTHING, Background
from automatch.exporting.dialect import refusal
from automatch.exporting.function import function_source, imports_source, literal
from automatch.exporting.old_keys import RENAME, WITHOUT_VERSIONS, tell
from automatch.rules.rule_set import RuleSet

NAME = "hook"
DESCRIPTION = "a load_state_dict pre-hook for a module of your own; says all but an exchange of names"

TEXT = '''"""Lets a module whose keys were renamed load old checkpoints as well."""

{comments}
# In the module's __init__: register_old_keys(self)

{imports}

{function}

def rename_old_keys(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs):
    """Gives an old checkpoint the keys of the module, in place, before the module loads it."""
{guard}{rename}

def register_old_keys(module):
    """Registers the hook; returns a handle that removes it again."""
    if hasattr(module, "register_load_state_dict_pre_hook"):
        return module.register_load_state_dict_pre_hook(rename_old_keys)
    return module._register_load_state_dict_pre_hook(rename_old_keys, with_module=True)  # torch < 2.5
'''


def render(rules: RuleSet, background: Background = NOTHING) -> str:
    """The source of a hook, and of a function that registers it.

    Args:
        rules: what it shall do.
        background: the keys, from which follows how a new checkpoint is told from an old one.

    Raises:
        RuleError: nothing tells a new checkpoint from an old one, or a rule cannot be written as Python.
    """
    found = tell(rules, background)
    guard, told = "", "A new checkpoint passes as it is: no rule changes any of its keys."
    if found.old_key is not None:
        guard = f"    if prefix + {literal(found.old_key)} not in state_dict:\n        return  # a new checkpoint\n"
        told = "A new checkpoint is known by a key that it does not have."
    elif found.new_key is not None:
        guard = f"    if prefix + {literal(found.new_key)} in state_dict:\n        return  # a new checkpoint\n"
        told = "A new checkpoint is known by a key that old ones do not have."
    elif not found.alike:
        reason = "old and new checkpoints have the same keys, so that a hook cannot tell which it sees"
        if background.keys is None:
            reason = "a hook sees new checkpoints too, and no keys are known to tell them from old ones"
        raise refusal(NAME, rules, 1, reason, "load-from-state-dict")
    return TEXT.format(
        comments="\n".join(f"# {line}" for line in (*background.sentences, told, WITHOUT_VERSIONS)),
        imports=imports_source(rules),
        function=function_source(rules, background),
        guard=guard,
        rename=textwrap.indent(RENAME, "    "),
    )
