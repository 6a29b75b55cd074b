"""For code that stays in a module: how it tells old checkpoints from new ones, and gives an old one its new keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from automatch.errors import RuleError
from automatch.exporting.background import Background
from automatch.exporting.renames import other_numbers
from automatch.rules.rule_set import RuleSet
from automatch.rules.tensors import Move

RENAME = """old = {key[len(prefix):]: tensor for key, tensor in state_dict.items() if key.startswith(prefix)}
try:
    new = convert(old)
except (ValueError, RuntimeError) as error:
    error_msgs.append(f"the old keys below {prefix!r} could not be renamed: {error}")
else:
    for key in old:
        del state_dict[prefix + key]
    state_dict.update((prefix + key, tensor) for key, tensor in new.items())
"""
"""Statements that rename what stands below `prefix` in `state_dict`, in place; torch reports what goes wrong."""


WITHOUT_VERSIONS = (
    "Old files keep versions (_metadata) under old names: a renamed submodule that looks at its own finds none."
)
"""What a comment says of the modules below."""


@dataclass(frozen=True)
class Tell:
    """How an old checkpoint is told from a new one.

    Attributes:
        alike: whether the rules leave a new checkpoint as it is, so that there is nothing to tell.
        old_key: a key that every old checkpoint has and no new one; None where there is none.
        new_key: a key that every new checkpoint has and no old one; None where there is none.
    """

    alike: bool = False
    old_key: str | None = None
    new_key: str | None = None


def tell(rules: RuleSet, background: Background) -> Tell:
    """How old checkpoints are told from new ones; where no keys are known, nothing is.

    Keys are looked at with larger numbers as well: what tells must hold for a deeper model of the family, too.
    """
    if not rules.rules:
        return Tell(alike=True)
    if background.keys is None:
        return Tell()
    known = background.keys
    deeper = list(other_numbers(known))
    made = _new_keys(rules, [*known, *deeper])
    if all(_stays(rules, key) for key in made):
        return Tell(alike=True)
    old, new = dict.fromkeys([*known, *deeper]), dict.fromkeys(made)
    for key in known:
        if key not in new:
            return Tell(old_key=key)
    return Tell(new_key=next((key for key in _new_keys(rules, known) if key not in old), None))


def _stays(rules: RuleSet, key: str) -> bool:
    move = _move(rules, key)
    return move is None or (move.law.op == "rename" and move.targets == (key,))


def _new_keys(rules: RuleSet, keys: Iterable[str]) -> list[str]:
    """The keys of new checkpoints; of what is taken apart into members the first two."""
    made: dict[str, None] = {}
    for key in keys:
        move = _move(rules, key)
        if move is None:
            made[key] = None
        elif move.members is not None:
            made.update(dict.fromkeys(move.members(2 * len(rules[move.rule - 1].replacements))))
        else:
            made.update(dict.fromkeys(move.targets))
    return list(made)


def _move(rules: RuleSet, key: str) -> Move | None:
    """What the rules say of a key; a key with other numbers may be one that they cannot rename."""
    try:
        return rules.move(key)
    except RuleError:
        return None
