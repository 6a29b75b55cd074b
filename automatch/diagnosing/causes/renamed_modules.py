"""The same modules under other names."""

from __future__ import annotations

import re

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.exchange import Exchange, agreement, exchange, exchange_rules, likeness
from automatch.diagnosing.naming import is_counter, is_head, share
from automatch.diagnosing.renaming import cures

_FEW = 4
_DIGITS = re.compile(r"\d+")
_OLD_LEAF = re.compile(r".*\b(?:LayerNorm|layer_norm|norm\w*|ln\w*)\.(?:gamma|beta)$", re.I)


def check(evidence: Evidence) -> Finding | None:
    """Whether exchanging words joins the lists one to one."""
    if evidence.assignment is not None:
        return _by_pairs(evidence)
    wanted = [k for k in evidence.unexpected_keys if not is_counter(k)]
    needed = [k for k in evidence.missing_keys if not is_counter(k)]
    if wanted and needed:
        found = _by_names(evidence, exchange(evidence), len(wanted))
        if found:
            return found
    if share(evidence.missing_keys, _OLD_LEAF.match) > 0.8 or share(evidence.unexpected_keys, _OLD_LEAF.match) > 0.8:
        return Finding(
            "renamed-modules",
            0.75,
            f"{len(evidence.listed)} norm parameters are called gamma and beta on one side; the other side calls "
            f"them weight and bias",
            "rename gamma to weight and beta to bias (or back) in the checkpoint's keys",
        )
    return None


def _by_names(evidence: Evidence, found: Exchange, wanted: int) -> Finding | None:
    part = agreement(evidence, found.pairs)
    whole = part == 1.0
    if len(found.pairs) < (2 if whole else 4) or part < 0.95:
        return None
    if len(found.words) > max(1, len(found.pairs) // 2) and not all(likeness(*words) > 0 for words in found.words):
        return None  # nearly as many exchanges as keys, and words that have nothing in common: chance
    heads = len(found.pairs) <= _FEW and share([k for pair in found.pairs for k in pair], is_head) == 1.0
    renumbered = all(_DIGITS.sub("", a) == _DIGITS.sub("", b) for a, b in found.words)
    rules = exchange_rules(found)
    words = ", ".join(f"`{a}` => `{b}`" for a, b in found.words[:3])
    how = f"by exchanging words: {words}" if found.evident else "by exchanging words, in more than one way"
    return Finding(
        "renamed-modules",
        (0.7 if heads or renumbered else 0.84)
        if whole
        else 0.5,  # an output layer under another name is another one more often
        f"{len(found.pairs)} of {wanted} unexpected keys become missing ones {how}",
        "rename the checkpoint's keys; `automatch diagnose CHECKPOINT MODEL` decides and proves it with the shapes",
        rules if cures(rules, evidence) else (),
    )


def _by_pairs(evidence: Evidence) -> Finding | None:
    if not evidence.renamed or evidence.assignment is None:
        return None
    total = len(evidence.assignment.matches)
    part = len(evidence.renamed) / max(len(evidence.unexpected_keys), 1)
    if part < 0.5:
        return None
    return Finding(
        "renamed-modules",
        0.45 + 0.35 * min(part, 1.0),
        f"{len(evidence.renamed)} of {total} matched keys have another name in the model",
        "rename the checkpoint's keys by the rules",
    )
