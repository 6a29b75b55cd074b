"""Rules that lead back: from model keys to checkpoint keys.

Where the keys are known, the rules are asked about each of them, the matches that come out are turned round, operations
included, and rules are induced on them as on any other matches: what two rules put together comes apart again, and
where a rule forgets something (`(?:a|b)` that it drops, `{i//2}` without the remainder), the way back is as exact as
these keys need. A list in which every rule can be turned round by itself (`inverse`) is kept as it stands, rule for
rule, where the keys prove it: it says what the author said.

Either way every key goes there and back again, by name and by shape, before the rules are handed out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from automatch.errors import RuleError
from automatch.matching.assignment import Match
from automatch.ops import (
    Chunk,
    Concat,
    Flip,
    Interleave,
    JoinLatent,
    Permute,
    Reshape,
    SplitLatent,
    Stack,
    Transpose,
    exchanged,
    relative_shape,
)
from automatch.rules.carrying import Carried, Load, Step, carry
from automatch.rules.induce import induce
from automatch.rules.inverse import inverse, samples
from automatch.rules.replay import replay
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet
from automatch.rules.tensors import Law
from automatch.spec import Shape, StateDictSpec, TensorSpec

Keys = StateDictSpec | Mapping[str, Any] | Iterable[Any]
"""Checkpoint keys with their shapes: a `StateDictSpec`, tensors or shapes by key, or entries `(key, shape)`."""

_GIVE_KEYS = "only the checkpoint keys with their shapes tell what was there, so give them: reverse(keys=...)"


def reversed_rules(rules: RuleSet, keys: Keys | None = None) -> RuleSet:
    """The rules that undo `rules`.

    Args:
        rules: any rules, induced or written by hand.
        keys: the checkpoint keys that the rules are for, with their shapes; None where they are not at hand.

    Returns:
        Rules from model keys to checkpoint keys, proven on the keys. The note of each says which rule it undoes. Second
        names of tied tensors go into the `doubles` of the set: `apply` leaves them out.

    Raises:
        RuleError: a rule cannot be reversed, and the sentence says which and why; or the rules do not carry the keys.
    """
    if keys is None:
        back = _by_themselves(rules)
        _refuse_mixed(rules, back)
        return back
    shapes = _shapes(keys)
    load = carry(rules, shapes)
    faults = (*load.faults, *load.collisions)
    if faults:
        raise RuleError(f"rules that do not carry every key cannot be reversed: {faults[0]}")
    returns = [_turned(one) for one in load.carried]
    outside = {key: shape for one in load.carried for key, shape in zip(one.match.model_keys, one.shapes, strict=True)}
    doubles = _doubles(rules, outside)
    found = None
    for found in _ways(rules, returns, load, outside):
        one = replace(found, doubles=doubles)
        proof = replay(one, returns, list(outside), list(shapes))
        if proof.ok and _round(one, outside) == shapes:
            return replace(one, rules=tuple(replace(r, hits=n) for r, n in zip(one, proof.hits, strict=True)))
    raise RuleError(f"the rules cannot be reversed: {_why_not(found or RuleSet(), returns, outside, shapes)}")


def _ways(rules: RuleSet, back: Sequence[Match], load: Load, outside: Mapping[str, Shape]) -> Iterator[RuleSet]:
    """The rules turned round one by one, if each gives one again; then rules induced on what has to come back."""
    with suppress(RuleError):
        turned = _by_themselves(rules)
        if len(turned) <= len(rules):
            yield turned
    inside = [key for match in back for key in match.model_keys]
    yield _noted(induce(back, list(outside), inside), rules, load)


def _by_themselves(rules: RuleSet) -> RuleSet:
    """Each rule turned round by itself.

    Raises:
        RuleError: one of them cannot be.
    """
    turned: list[Rule] = []
    refused = []
    for number, rule in enumerate(rules, 1):
        try:
            turned += (replace(one, note=_undoes(number)) for one in inverse(rule))
        except RuleError as error:
            refused.append(f"rule {number}: {error}")
    if refused:
        raise RuleError(f"{'; '.join(refused)}; {_GIVE_KEYS}")
    return RuleSet(tuple(turned), doubles=tuple((other, served) for served, other in rules.tied))


def _refuse_mixed(rules: RuleSet, back: RuleSet) -> None:
    """Refuses rules of which one, turned round, takes what another one gives: only keys tell the two apart.

    Raises:
        RuleError: names both.
    """
    for number, rule in enumerate(rules, 1):
        for key in samples(rule.pattern):
            for text in _given(rules, number, key):
                taken = back.move(text)
                if taken is not None and back[taken.rule - 1].note != _undoes(number):
                    other = back[taken.rule - 1].note
                    raise RuleError(f"rule {number} may give {text!r}, and what {other} takes it; {_GIVE_KEYS}")


def _given(rules: RuleSet, number: int, key: str) -> tuple[str, ...]:
    """What a rule gives for a key; nothing where another one takes it, or it cannot be calculated."""
    try:
        move = rules.move(key)
    except RuleError:
        return ()
    if move is None or move.rule != number:
        return ()
    return move.targets if move.members is None else move.members(2 * len(move.targets))


def _undoes(number: int) -> str:
    return f"undoes rule {number}"


def _shapes(keys: Keys) -> dict[str, Shape]:
    """Shapes by key, from any of the forms.

    Raises:
        RuleError: an entry has no shape.
    """
    if isinstance(keys, StateDictSpec):
        return {t.key: t.shape for t in keys.tensors}
    if not isinstance(keys, Iterable):
        raise RuleError(f"{type(keys).__name__} has no keys; give what read_keys gives, or a dict of tensors or shapes")
    items = keys.items() if isinstance(keys, Mapping) else keys
    out: dict[str, Shape] = {}
    for item in items:
        key, shape = (item.key, item.shape) if isinstance(item, TensorSpec) else _pair(item)
        out[key] = tuple(getattr(shape, "shape", shape))
    return out


def _pair(item: Any) -> tuple[str, Any]:
    if isinstance(item, str) or not isinstance(item, Sequence) or len(item) < 2 or not isinstance(item[0], str):
        raise RuleError(f"{item!r} is no key with its shape; give (key, shape), or a dict of tensors or shapes")
    return item[0], item[1]


def _turned(one: Carried) -> Match:
    """The match that leads back, with its operations undone in the opposite order."""
    match = one.match
    if not one.steps:
        return Match(match.checkpoint_keys, match.model_keys)
    words: list[str] = []
    law = Law()
    for step in reversed(one.steps):
        words.append(step.op.reverse)
        law = _undone(step, law)
    if {"interleave", "flip"} & set(words) and {"reshape", "stack", "unstack"} & set(words):
        raise RuleError(f"rule {one.rule} has the operations {match.op}, and one rule cannot say their way back")
    if "unstack" in words and "chunk" in words[words.index("unstack") :]:
        at = words.index("unstack")
        if words[at + 1] != "chunk":
            raise RuleError(f"rule {one.rule} has the operations {match.op}, and one rule cannot say their way back")
        words[at : at + 2] = ["chunk", "unstack"]  # the members hold the parts; a tensor is cut before it is unstacked
        dim = law.dim or 0
        law = replace(law, dim=dim + 1 if dim >= 0 else dim)
    if words == ["chunk"] and law.sizes is not None and len(set(law.sizes)) == 1:
        law = replace(law, sizes=None)
    op = "+".join(dict.fromkeys(words))
    return Match(
        match.checkpoint_keys, match.model_keys, op, dim=law.dim, perm=law.perm, sizes=law.sizes, shape=law.shape
    )


def _undone(step: Step, law: Law) -> Law:
    """The law with what one step needs to be undone."""
    op = step.op
    if isinstance(op, Transpose | Permute):
        perm = op.perm
        return law if perm is None else replace(law, perm=tuple(sorted(range(len(perm)), key=perm.__getitem__)))
    if isinstance(op, Reshape):
        return replace(law, shape=relative_shape(step.after[0], step.before[0]))
    if isinstance(op, Interleave | Flip):
        return replace(law, dim=op.dim, shape=exchanged(op.shape))
    if isinstance(op, Concat):
        sizes = [shape[op.dim] for shape in step.before]
        common = math.gcd(*sizes) or 1
        return replace(law, dim=op.dim, sizes=tuple(size // common for size in sizes))
    if isinstance(op, JoinLatent):
        keys, values = step.before
        return replace(law, shape=(keys[2], values[1]))
    if isinstance(op, SplitLatent):
        return law
    if isinstance(op, Chunk):
        return replace(law, dim=op.dim)
    return law if law.dim is not None or (isinstance(op, Stack) and op.dim == 0) else replace(law, dim=op.dim)


def _round(back: RuleSet, outside: Mapping[str, Shape]) -> dict[str, Shape]:
    """What comes out when the rules carry the model's keys; nothing where they do not carry all."""
    load = carry(back, outside)
    if load.faults or load.collisions:
        return {}
    return {key: shape for one in load.carried for key, shape in zip(one.match.model_keys, one.shapes, strict=True)}


def _doubles(rules: RuleSet, outside: Mapping[str, Shape]) -> tuple[tuple[str, str], ...]:
    """Second names that the rules give to a tensor, with the first."""
    return tuple((other, served) for served, other in rules.tied if served in outside and other not in outside)


def _noted(back: RuleSet, rules: RuleSet, load: Load) -> RuleSet:
    """The rules with what each undoes, and what is lost on the way there."""
    undone: list[dict[int, None]] = [{} for _ in back]
    for one in load.carried:
        for key in one.match.model_keys:
            move = back.move(key)
            if move is not None and one.rule:
                undone[move.rule - 1][one.rule] = None
    lost = {number: why for number, rule in enumerate(rules, 1) if (why := _lost(rule))}
    notes = []
    for rule, numbers in zip(back, map(sorted, undone), strict=True):
        words = [f"undoes rule{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"] if numbers else []
        words += [f"rule {number} {lost[number]}: proven on these keys only" for number in numbers if number in lost]
        notes.append("; ".join([*words, *([rule.note] if rule.note else [])]))
    return RuleSet(tuple(replace(rule, note=note) for rule, note in zip(back, notes, strict=True)))


def _lost(rule: Rule) -> str:
    """What a rename forgets, as part of a sentence; "" where it forgets nothing."""
    if rule.op != "rename":
        return ""
    try:
        inverse(rule)
    except RuleError as error:
        return str(error)
    return ""


def _why_not(back: RuleSet, wanted: Sequence[Match], outside: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> str:
    """What went wrong on the way back, as part of a sentence."""
    proof = replay(back, wanted, list(outside), list(shapes))
    load = carry(back, outside)
    faults = (*proof.wrong, *proof.collisions, *load.faults, *load.collisions)
    if faults:
        return faults[0]
    came = _round(back, outside)
    key = next(key for key in (*shapes, *came) if came.get(key) != shapes.get(key))
    return f"{key!r} has shape {list(shapes.get(key, ()))}, and comes back with {list(came.get(key, ()))}"
