"""The way back: a checkpoint under model keys becomes what it was before, proven on this very file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automatch.errors import RuleError
from automatch.rules.carrying import carry
from automatch.rules.rule_set import RuleSet
from automatch.spec import Shape, StateDictSpec


def way_back(rules: RuleSet, keys: StateDictSpec | None, document: object, where: str) -> RuleSet:
    """The rules that undo `rules`.

    Args:
        rules: what was applied.
        keys: the keys of the checkpoint as it was; None where they are not at hand.
        document: the rules file, which may tell these keys.
        where: how to name the rules in an error.

    Raises:
        RuleError: a rule cannot be reversed; the sentence says which and why, and the way out.
    """
    known = told_shapes(document) if keys is None else keys
    try:
        return rules.reverse(known)
    except RuleError as error:
        if known is not None:
            raise RuleError(f"{where}: {error}") from None
        text = str(error).removesuffix("reverse(keys=...)")
        raise RuleError(f"{where}: {text}--keys OLD (in Python: keys=), a checkpoint or a *.keys.json") from None


def told_shapes(document: object) -> dict[str, Shape] | None:
    """The checkpoint keys that the JSON of a diagnosis tells, with the shapes that a way back needs; None where none.

    What is only renamed has the shape () here.
    """
    matches = document.get("matches") if isinstance(document, Mapping) else None
    if not isinstance(document, Mapping) or not isinstance(matches, list):
        return None
    out: dict[str, Shape] = {}
    for match in matches:
        keys = match.get("checkpoint_keys") if isinstance(match, Mapping) else None
        if not isinstance(match, Mapping) or not isinstance(keys, list):
            return None
        shapes = match.get("checkpoint_shapes") if match.get("op", "rename") != "rename" else [()] * len(keys)
        if isinstance(shapes, list) and len(shapes) == 1:
            shapes = shapes * len(keys)
        if not isinstance(shapes, list) or len(shapes) != len(keys) or not all(map(_is_shape, shapes)):
            return None
        out.update((str(key), tuple(shape)) for key, shape in zip(keys, shapes, strict=True))
    unexpected = document.get("unexpected_keys")
    out.update((str(key), ()) for key in (unexpected if isinstance(unexpected, list) else ()) if str(key) not in out)
    return out


def _is_shape(value: Any) -> bool:
    return isinstance(value, Sequence) and all(isinstance(size, int) for size in value)


def refuse_no_return(back: RuleSet, forward: RuleSet, spec: StateDictSpec) -> None:
    """Refuses a file that the way back does not lead out of: what comes must become this file again.

    Args:
        back: the rules that lead back.
        forward: the rules that they undo.
        spec: the file under model keys.

    Raises:
        RuleError: names the first key that would not return.
    """
    there = carry(back, {t.key: t.shape for t in spec.tensors})
    came = {key: shape for one in there.carried for key, shape in zip(one.match.model_keys, one.shapes, strict=True)}
    again = carry(forward, came)
    faults = (*there.faults, *there.collisions, *again.faults, *again.collisions)
    if faults:
        raise RuleError(f"{spec.name}: the rules cannot be undone on it: {faults[0]}")
    out = {key: shape for one in again.carried for key, shape in zip(one.match.model_keys, one.shapes, strict=True)}
    out.update((other, out[served]) for served, other in forward.tied if served in out)
    odd = next((t.key for t in spec.tensors if out.get(t.key) != t.shape), None)
    if odd is not None:
        raise RuleError(
            f"{spec.name}: the rules cannot be undone on it: {odd!r} is none of the keys that they give; "
            f"is this the file that they were applied to?"
        )
