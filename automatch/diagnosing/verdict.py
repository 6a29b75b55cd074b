"""The verdict of a comparison in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from automatch.diagnosing.causes import CAUSES, NAMING
from automatch.diagnosing.comparison import is_doubtful
from automatch.diagnosing.evidence import Evidence, Finding, gather
from automatch.diagnosing.judging import findings
from automatch.diagnosing.naming import count
from automatch.diagnosing.values import dtype_sentence, mismatched_dtypes
from automatch.diagnosing.variant import differences
from automatch.matching.assignment import Assignment, Match, Mismatch
from automatch.rules.rule_set import RuleSet
from automatch.spec import StateDictSpec

# Causes that hold for the file as a whole, whatever was matched.
_WHOLE = frozenset({"lora/peft", "quantized", "nested-dict"})
# Causes that say how names differ where the tensors are the same.
_NAMES = frozenset({"prefix-module", "prefix-compile", "prefix-wrapper", "index-shift", "weight-norm/parametrization"})
# Of these, those that may leave tensors without a place: a norm on the weights of one side.
_FORMS = frozenset({"weight-norm/parametrization"})
# How the sentence begins that says that next to nothing differs.
_HARMLESS = "only buffers"
_SURE = 0.85
_LIKELY = 0.7
_HARDLY = 0.3
_MOSTLY = 0.5


def verdict(checkpoint: StateDictSpec, model: StateDictSpec, assignment: Assignment, rules: RuleSet) -> str:
    """Say in one sentence what happened, with counts.

    Args:
        checkpoint: keys and shapes of the file.
        model: keys and shapes of the model.
        assignment: what matching found.
        rules: the rules made of it.

    Returns:
        A sentence without its full stop.
    """
    if not checkpoint.tensors or not model.tensors:
        return f"the {'model' if checkpoint.tensors else 'checkpoint'} holds no tensors"
    evidence = gather(checkpoint, model, assignment)
    told = findings(evidence, NAMING if _all_served(assignment) else CAUSES)
    name = next((f for f in told if f.cause in _NAMES and f.score >= _LIKELY and evidence.renamed), None)
    names = name.sentence if name else ""
    clash = dtype_sentence(mismatched_dtypes(checkpoint, model, assignment))
    if _all_served(assignment) and clash:
        return f"{clash}; {_model_keys(assignment.matches)} of {count(len(model), 'key')} mapped by name and shape"
    if _all_served(assignment):
        which = [f"{' and '.join(checkpoint.places)} fit alike, choose with --at"] if checkpoint.rivals else []
        return "; ".join([*which, *_complete(evidence, assignment, names, len(rules))])
    served = _model_keys(m for m in assignment.matches if not is_doubtful(m))
    if served < _HARDLY * len(model):
        best = told[0] if told and told[0].score >= _SURE and told[0].cause not in _NAMES else None
        part = _counterparts(checkpoint, model)
        if best is None and part < _HARDLY and len(evidence.unexpected_keys) > _MOSTLY * len(checkpoint):
            return f"not the same architecture: {round(100 * part)} % of the shapes have a counterpart"
    whole = [f.sentence for f in told[:1] if f.cause in _WHOLE and f.score >= _SURE]
    whole = (
        whole
        or [f.sentence for f in told if f.cause == "quantized" and f.score >= _LIKELY]
        or ([clash] if clash else [])
    )
    left = _leftovers(evidence, assignment)
    if name and name.cause in _FORMS and left:
        names = ""  # the left-overs say the same, without what was renamed
    elif evidence.renamed and not names and left.startswith(_HARMLESS):
        names, left = "renamed modules", f"besides, {left}"
    what = whole or [part for part in (names, left) if part]
    return "; ".join([*what, f"{served} of {count(len(model), 'key')} mapped", _counts(assignment)])


def _all_served(assignment: Assignment) -> bool:
    left = (*assignment.missing_keys, *assignment.unexpected_keys)
    return (
        bool(assignment.matches)
        and not assignment.mismatched
        and not any(is_doubtful(m) for m in assignment.matches)
        and all(key in assignment.harmless for key in left)
    )


def _complete(evidence: Evidence, assignment: Assignment, names: str, rules: int) -> list[str]:
    """Everything has its place: as it is, or by rules."""
    served, total = _model_keys(assignment.matches), len(evidence.model or ())
    changed = [m.op for m in assignment.matches if m.op != "rename"]
    left = len({*assignment.missing_keys, *assignment.unexpected_keys})
    kept = [f"{count(left, 'key')} left over, harmless"] if left else []
    if not evidence.renamed and not changed:
        equal = f"all {count(served, 'key')} and shapes are equal" if not left else f"{count(served, 'key')} are equal"
        return [f"fits as it is: {equal}", *kept]
    how = ", ".join(f"{number} by {op}" for op, number in Counter(changed).most_common(3))
    mapped = f"{served} of {count(total, 'key')} mapped by {count(rules, 'rule')}{f' ({how})' if how else ''}"
    if names:
        return [names, mapped, *kept]
    return [mapped, *(["renamed modules"] if evidence.renamed else []), *kept]


def _leftovers(evidence: Evidence, assignment: Assignment) -> str:
    """What the keys that found no place have in common; "" where nothing can be told."""
    missing = _unpaired(assignment.missing_keys, assignment)
    unexpected = _unpaired(assignment.unexpected_keys, assignment)
    alike = _alike(evidence, missing, unexpected)
    paired = {key for m in alike for key in (m.key, m.checkpoint_key)}
    left = Evidence(
        missing_keys=tuple(k for k in missing if k not in paired),
        unexpected_keys=tuple(k for k in unexpected if k not in paired),
        mismatched=(*assignment.mismatched, *alike),
        checkpoint=evidence.checkpoint,
        model=evidence.model,
        assignment=assignment,
    )
    if not left.listed:
        return ""
    told: list[Finding] = [f for f in findings(left) if f.cause not in _NAMES - _FORMS and f.cause != "renamed-modules"]
    if not told or (told[0].cause == "wrong-architecture/variant" and not differences(left)):
        return ""  # the counts say as much
    best = told[0]
    return f"{best.sentence} ({best.advice})" if best.cause in _FORMS else best.sentence


def _alike(evidence: Evidence, missing: Sequence[str], unexpected: Sequence[str]) -> tuple[Mismatch, ...]:
    """Leftovers that have one name but for a prefix, and different shapes: for the sentence only, nothing is loaded."""
    if evidence.checkpoint is None or evidence.model is None:
        return ()
    ends: dict[str, list[str]] = {}
    for key in unexpected:
        for end in _ends(key):
            ends.setdefault(end, []).append(key)
    whole = set(unexpected)
    found = []
    for key in missing:
        same = list(dict.fromkeys([*ends.get(key, ()), *(end for end in _ends(key) if end in whole)]))
        if len(same) == 1:
            there, here = evidence.checkpoint.by_key[same[0]].shape, evidence.model.by_key[key].shape
            found += [Mismatch(key, same[0], there, here)] if there != here else []
    return tuple(found)


def _ends(key: str) -> list[str]:
    """The key, and the key without its first words; not the last word alone."""
    words = key.split(".")
    return [".".join(words[i:]) for i in range(max(1, len(words) - 1))]


def _counts(assignment: Assignment) -> str:
    """The numbers of what is left."""
    counts = (
        (_model_keys(m for m in assignment.matches if is_doubtful(m)), "ambiguous"),
        (len(_unpaired(assignment.missing_keys, assignment)), "missing"),
        (len(_unpaired(assignment.unexpected_keys, assignment)), "unexpected"),
        (len(assignment.mismatched), "of another shape"),
    )
    return ", ".join(f"{number} {word}" for number, word in counts if number)


def _unpaired(keys: Sequence[str], assignment: Assignment) -> list[str]:
    """Keys that are neither harmless nor half of a mismatch."""
    paired = {key for m in assignment.mismatched for key in (m.key, m.checkpoint_key)}
    return [k for k in keys if k not in assignment.harmless and k not in paired]


def _model_keys(matches: Iterable[Match]) -> int:
    return sum(len(m.model_keys) for m in matches)


def _counterparts(checkpoint: StateDictSpec, model: StateDictSpec) -> float:
    """Share of the larger side's tensors whose shape occurs on the other side as often."""
    ours, theirs = (Counter(t.shape for t in side.tensors if t.shape) for side in (checkpoint, model))
    return sum((ours & theirs).values()) / max(sum(ours.values()), sum(theirs.values()), 1)
