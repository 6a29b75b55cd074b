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


def _parts(keys: Sequence[str]) -> list[re.Match[str]]:
    """The keys that are parts; the ends are looked at first, for most keys are none."""
    return [m for k in keys if (k.endswith(_ENDS) or "parametrizations." in k) and (m := _PARTS.match(k))]


def _both_forms(unexpected: list[re.Match[str]], missing: list[re.Match[str]]) -> bool:
    """Whether one module's weight stands on the two sides in the two forms."""
    old = [{m["module"] for m in side if m["old"]} for side in (unexpected, missing)]
    new = [{m["module"] for m in side if m["new"]} for side in (unexpected, missing)]
    return bool(old[0] & new[1] or new[0] & old[1])
