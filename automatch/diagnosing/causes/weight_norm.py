"""A reparametrised weight on one side: weight norm old and new, spectral norm, pruning."""

from __future__ import annotations

import re
from collections.abc import Sequence

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.renaming import RulePair, cures

_PARTS = re.compile(
    r"(?P<module>.*?)\.?(?:(?P<old>weight\w*_[gv])|parametrizations\.(?P<name>\w+)\.(?P<new>original[01]?|0\.\w+)"
    r"|(?:weight|bias|in_proj_weight)\w*_(?P<other>orig|mask|u|bar))$"
)
_ENDS = ("_g", "_v", "_orig", "_mask", "_u", "_bar")
_NEW_TO_OLD: tuple[RulePair, ...] = (
    (r"(?P<module>(?:.+\.)?)parametrizations\.(?P<name>\w+)\.original0", "{module}{name}_g"),
    (r"(?P<module>(?:.+\.)?)parametrizations\.(?P<name>\w+)\.original1", "{module}{name}_v"),
)
_OLD_TO_NEW: tuple[RulePair, ...] = (
    (r"(?P<module>(?:.+\.)?)(?P<name>\w+)_g", "{module}parametrizations.{name}.original0"),
    (r"(?P<module>(?:.+\.)?)(?P<name>\w+)_v", "{module}parametrizations.{name}.original1"),
)


def check(evidence: Evidence) -> Finding | None:
    """Whether weights are split into parts on one side and otherwise on the other."""
    unexpected, missing = _parts(evidence.unexpected_keys), _parts(evidence.missing_keys)
    shares = (
        len(unexpected) / max(len(evidence.unexpected_keys), 1),
        len(missing) / max(len(evidence.missing_keys), 1),
    )
    part = max(shares)
    one_form = {bool(m["new"]) for m in (*unexpected, *missing)}
    if _both_forms(unexpected, missing):
        part = max(part, 0.8)
    if part < 0.4 or (min(shares) > 0.1 and len(one_form) == 1):
        return None  # both sides have the same form: what differs is something else
    split = _split(unexpected), _split(missing)
    sides = (split[0], missing, evidence.missing_keys), (split[1], unexpected, evidence.unexpected_keys)
    if any(weights and not parts and _has_weights(keys) for weights, parts, keys in sides):
        return _whole_elsewhere(split[0], split[1], any(m["new"] for m in (*unexpected, *missing)), part)
    how = f"{len(unexpected)} unexpected and {len(missing)} missing keys are parts of a reparametrised weight"
    rules = next((r for r in (_NEW_TO_OLD, _OLD_TO_NEW) if cures(r, evidence)), ())
    new = any(m["new"] for m in unexpected)
    if new or any(m["new"] for m in missing):
        saved, wanted = ("new", "old") if new else ("old", "new")
        sentence = f"weight norm: the checkpoint has the {saved} form, the model another ({wanted} or none): {how}"
        advice = (
            "rename original0 to weight_g and original1 to weight_v, or build the model with "
            "torch.nn.utils.parametrizations.weight_norm"
            if new
            else "rename weight_g to parametrizations.weight.original0 and weight_v to ...original1, or build the "
            "model with the old torch.nn.utils.weight_norm"
        )
    else:
        sentence = f"one side has a norm, spectral norm or pruning mask on its weights, the other has not: {how}"
        advice = (
            "apply or remove the same reparametrisation (`remove_weight_norm`, `prune.remove`) on the model "
            "before loading"
        )
    return Finding("weight-norm/parametrization", 0.9 if part > 0.7 else 0.7, sentence, advice, rules)


def _split(parts: Sequence[re.Match[str]]) -> int:
    """How many weights weight norm has in two parts among these."""
    ends = {"g": "g", "v": "v", "original0": "g", "original1": "v"}
    found = {(m["module"], ends.get(m["old"][-1:] if m["old"] else m["new"] or "")) for m in parts}
    return sum((module, "v") in found for module, end in found if end == "g")


def _has_weights(keys: Sequence[str]) -> bool:
    return any(key.endswith("weight") for key in keys)


def _whole_elsewhere(saved: int, wanted: int, new: bool, part: float) -> Finding:
    """Weights that one side has in two parts and the other whole: no rule for keys can make one of the other."""
    path = "torch.nn.utils.parametrizations.weight_norm" if new else "torch.nn.utils.weight_norm"
    names = "parametrizations.weight.original0 and original1" if new else "weight_g and weight_v"
    weights = "weight" if saved + wanted == 1 else "weights"
    if saved:
        undo = "parametrize.remove_parametrizations(module, 'weight')" if new else "torch.nn.utils.remove_weight_norm"
        sentence = f"weight norm: the checkpoint has {saved} {weights} as {names}, the model has them whole"
        advice = f"build the model with {path}, load the checkpoint, then take the norm off with {undo}"
    else:
        sentence = f"weight norm: the model has {wanted} {weights} as {names}, the checkpoint has them whole"
        advice = f"load the checkpoint before {path} is put on the model"
    return Finding("weight-norm/parametrization", 0.9 if part > 0.7 else 0.7, sentence, advice)


def _parts(keys: Sequence[str]) -> list[re.Match[str]]:
    """The keys that are parts; the ends are looked at first, for most keys are none."""
    return [m for k in keys if (k.endswith(_ENDS) or "parametrizations." in k) and (m := _PARTS.match(k))]


def _both_forms(unexpected: list[re.Match[str]], missing: list[re.Match[str]]) -> bool:
    """Whether one module's weight stands on the two sides in the two forms."""
    old = [{m["module"] for m in side if m["old"]} for side in (unexpected, missing)]
    new = [{m["module"] for m in side if m["new"]} for side in (unexpected, missing)]
    return bool(old[0] & new[1] or new[0] & old[1])
