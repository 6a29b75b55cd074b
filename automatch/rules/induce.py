"""From matches to rules."""

from __future__ import annotations

import re
from collections.abc import Sequence

from automatch.matching.assignment import Match, Mismatch
from automatch.rules.replacement import quote
from automatch.rules.rule import Rule, RuleSet

_NUMBER = re.compile(r"[0-9]+")


def induce(
    matches: Sequence[Match],
    checkpoint_keys: Sequence[str],
    model_keys: Sequence[str],
    mismatched: Sequence[Mismatch] = (),
) -> RuleSet:
    """An ordered list of anchored rules that reproduces the assignment on every checkpoint key.

    Args:
        matches: the whole assignment.
        checkpoint_keys: all keys of the checkpoint, in order.
        model_keys: all keys of the model, in order.
        mismatched: pairs that belong together but differ in shape; rules may rename them too.
    """
    wanted: dict[str, list[str]] = {}
    for match in matches:
        if match.op == "rename" and len(match.checkpoint_keys) == len(match.model_keys) == 1:
            wanted.setdefault(match.checkpoint_keys[0], []).append(match.model_keys[0])
    target = {key: key if key in own else own[0] for key, own in wanted.items()}
    served = {key for match in matches for key in match.model_keys}
    for key in checkpoint_keys:
        if key not in wanted and key in served:
            target[key] = f"unexpected.{key}"
    families: dict[tuple[str, str], list[str]] = {}
    for key, goal in target.items():
        if key != goal:
            families.setdefault((_NUMBER.sub("#", key), _NUMBER.sub("#", goal)), []).append(key)
    general, literal = [], []
    for (source, _), keys in families.items():
        numbers = [_NUMBER.findall(key) for key in keys]
        rest = [key for key in target if _NUMBER.sub("#", key) == source]
        if len(rest) == len(keys) and all(n == _NUMBER.findall(target[k]) for n, k in zip(numbers, keys, strict=True)):
            general.append(_template(keys[0], target[keys[0]], len(keys)))
        else:
            literal += [Rule(re.escape(key), quote(target[key]), hits=1, note="literal") for key in keys]
    ties = [(target[key], other) for key, own in wanted.items() for other in own if other != target[key]]
    return RuleSet((*literal, *general), tuple(ties))


def _template(key: str, target: str, hits: int) -> Rule:
    pattern = [re.escape(text) for text in _NUMBER.split(key)]
    replacement = [quote(text) for text in _NUMBER.split(target)]
    for i in range(1, len(pattern)):
        pattern[i] = rf"(?P<n{i}>\d+)" + pattern[i]
        replacement[i] = f"{{n{i}}}" + replacement[i]
    return Rule("".join(pattern), "".join(replacement), hits=hits)
