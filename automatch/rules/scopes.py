r"""What stands before every key of a file and names the variant: `efficientnet-b0/`, `resnet_v1_50/`.

So TensorFlow names a network; its number counts nothing inside it, as that of torch's `layer1.` does. Rules are made
for what stands behind it, and begin with `efficientnet-b\d+/`, so that they serve the other variants too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from automatch.matching.assignment import Match, Mismatch
from automatch.rules.holes import literal
from automatch.rules.rule_set import RuleSet

_COMPONENT = re.compile(r"[^./]+/")
_NUMBERED = re.compile(r"[A-Za-z][^./]*[0-9]")


def scope_of(matches: Sequence[Match], checkpoint_keys: Sequence[str], model_keys: Collection[str]) -> str:
    """The first component of all keys that serve one, with its separator, if it has a number in it; else "".

    Not where a key of the model has such a component, nor where a key outside is one of the model's, or stands below
    another one of that name, as `net2.` beside `net1.`.
    """
    served = [key for match in matches for key in match.checkpoint_keys]
    first = _COMPONENT.match(served[0]) if served else None
    scope = first.group() if first else ""
    if not _NUMBERED.match(scope) or not all(key.startswith(scope) for key in served):
        return ""
    if any(key.removeprefix(scope) in match.model_keys for match in matches for key in match.checkpoint_keys):
        return ""  # to take the scope away is a rule of its own
    kept = any(f".{scope[:-1]}." in f".{key.replace('/', '.')}." for key in model_keys)
    known, named = set(model_keys), re.compile(_widened(scope))
    outside = [key for key in checkpoint_keys if not key.startswith(scope)]
    return "" if kept or any(key in known or named.match(key) for key in outside) else scope


def below(
    scope: str, matches: Sequence[Match], checkpoint_keys: Sequence[str], mismatched: Sequence[Mismatch]
) -> tuple[list[Match], list[str], list[Mismatch]]:
    """All that is asked for, without the scope and without the keys outside it."""
    short = [
        match._replace(checkpoint_keys=tuple(key.removeprefix(scope) for key in match.checkpoint_keys))
        for match in matches
    ]
    keys = [key.removeprefix(scope) for key in checkpoint_keys if key.startswith(scope)]
    pairs = [
        replace(pair, checkpoint_key=pair.checkpoint_key.removeprefix(scope))
        for pair in mismatched
        if pair.checkpoint_key.startswith(scope)
    ]
    return short, keys, pairs


def under(scope: str, rules: RuleSet) -> RuleSet:
    """The rules for keys below a scope, for the keys themselves; the scope's numbers may be any."""
    before = _widened(scope)
    return replace(rules, rules=tuple(replace(rule, pattern=f"{before}{rule.pattern}") for rule in rules))


def _widened(scope: str) -> str:
    return r"\d+".join(literal(text) for text in re.split("[0-9]+", scope))
