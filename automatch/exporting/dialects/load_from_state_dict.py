"""`_load_from_state_dict` with a `_version`, as torch's own modules keep their old checkpoints loadable (torch >= 2.1).

`state_dict()` saves the version of every module beside the tensors, in `_metadata`, and `load_state_dict` gives it back
as `local_metadata`. Files without it (safetensors, dicts that were copied) have none.
"""

from __future__ import annotations

import textwrap

from automatch.exporting.background import NOTHING, Background
from automatch.exporting.function import function_source, imports_source, literal
from automatch.exporting.old_keys import RENAME, WITHOUT_VERSIONS, Tell, tell
from automatch.rules.rule_set import RuleSet

NAME = "load-from-state-dict"
DESCRIPTION = "_load_from_state_dict with a _version, for a module of your own; says everything"

TEXT = '''"""Lets a module whose keys were renamed load checkpoints of its older versions as well."""

{comments}
# Mix it in before torch.nn.Module, class Net(OldKeys, torch.nn.Module), or copy its members into the module.

{imports}

{function}

class OldKeys:
    """Gives checkpoints of an older version the keys of the module, in place, before the module loads them."""

    _version = 2  # one more than the module had before, which is 1 where it says nothing; also below

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ):
        version = local_metadata.get("version", None)
{unknown}        if version < 2:
{rename}        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
'''

UNTOLD = """if version is None:
    error_msgs.append(
        f"the state_dict has no version for {prefix!r} (it was saved without _metadata), and old and new keys are "
        "alike: set state_dict._metadata, or convert the file"
    )
    version = 2
"""


def render(rules: RuleSet, background: Background = NOTHING) -> str:
    """The source of a class to mix in.

    Args:
        rules: what it shall do.
        background: the keys, from which follows what is done with a checkpoint that has no version.

    Raises:
        RuleError: a rule cannot be written as Python.
    """
    unknown, told = _unknown(tell(rules, background))
    return TEXT.format(
        comments="\n".join(f"# {line}" for line in (*background.sentences, told, WITHOUT_VERSIONS)),
        imports=imports_source(rules),
        function=function_source(rules, background),
        unknown=textwrap.indent(unknown, "        "),
        rename=textwrap.indent(RENAME, "            "),
    )


def _unknown(found: Tell) -> tuple[str, str]:
    """Statements that give a checkpoint without a version one, and what a comment says of it."""
    if found.alike:
        return "if version is None:\n    version = 1  # as torch's own modules do\n", (
            "A checkpoint without a version counts as old; a new one passes as it is, no rule changes any of its keys."
        )
    if found.old_key is not None:
        return f"if version is None:\n    version = 1 if prefix + {literal(found.old_key)} in state_dict else 2\n", (
            "A checkpoint without a version is old where it has a key that new ones do not have."
        )
    if found.new_key is not None:
        return f"if version is None:\n    version = 2 if prefix + {literal(found.new_key)} in state_dict else 1\n", (
            "A checkpoint without a version is new where it has a key that old ones do not have."
        )
    return UNTOLD, "A checkpoint without a version is refused: by its keys it could be old or new."
