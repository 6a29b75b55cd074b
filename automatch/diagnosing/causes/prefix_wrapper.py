"""One run of words too much or too few: `model.`, `net.`, `generator.module.`, an FSDP or Lightning wrapper."""

from __future__ import annotations

import re
from collections import Counter

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import WRAPPER_WORDS, is_counter, share, tokens
from automatch.diagnosing.renaming import affix, change, cures
from automatch.diagnosing.wrappers import unwrapped

WORDS = sorted(WRAPPER_WORDS - {"module", "_orig_mod"})
_USUAL = re.compile(
    r"model|net|network|module|backbone|encoder|decoder|generator|student|teacher|online|target_model|ema"
    r"|ema_model|model_ema|base_model|transformer|bert|roberta|base_encoder|encoder_q|encoder_k"
    r"|feature_extractor|features_extractor|trunk|visual|text_model|language_model|vision_model"
    r"|model_without_ddp|netG|netD|G|D|unet|state_dict|policy|actor|inner_model|wrapped"
)


def check(evidence: Evidence) -> Finding | None:
    """Whether putting in or taking out one run of words joins the two lists."""
    for word in WORDS:
        ways = (unwrapped(evidence, (word,)), unwrapped(evidence, (*WORDS, "module"), must=word))
        found = max((f for f in ways if f), key=lambda f: f.score, default=None)
        if found:
            side = "checkpoint" if found.in_checkpoint else "model"
            words = found.words or word
            sentence = f"the {side} was wrapped: {found.how_many} `{words}.`"
            return Finding("prefix-wrapper", found.score, sentence, _advice(words, found.in_checkpoint), found.rules)
    if evidence.matched:
        return _by_pairs(evidence)
    return _by_names(evidence) or _beyond_the_cut(evidence)


def _by_names(evidence: Evidence) -> Finding | None:
    renaming = affix(evidence)
    if renaming is None:
        return None
    own = evidence.unexpected_keys if renaming.removed else evidence.missing_keys
    wanted = [k for k in own if not is_counter(k)]
    hits = len(renaming.pairs)
    run = renaming.removed or renaming.added
    other = [k for k in (evidence.missing_keys if renaming.removed else evidence.unexpected_keys) if not is_counter(k)]
    part = max(hits / len(wanted), hits / len(other) if len(other) > 4 else 0.0)
    if hits < 2 and not renaming.leading:
        return None  # one key with a word more inside is no wrapper
    if part < 0.6 and not (evidence.truncated and _carried(own, run) > 0.9):
        return None
    score = 0.88 * part if part >= 0.6 else 0.7
    if hits < 0.3 * len(other):
        score *= 0.7  # most of the other side stays without a counterpart
    score += 0.04 if _USUAL.fullmatch(tokens(run)[0]) else 0.0
    sentence = (
        f"{hits} of {len(wanted)} {'unexpected' if renaming.removed else 'missing'} keys are the other side's with "
        f"`{run}.` {'in front' if renaming.leading else 'inside'}"
    )
    rules = renaming.rules if cures(renaming.rules, evidence) else ()
    return Finding("prefix-wrapper", score, sentence, _advice(run, bool(renaming.removed)), rules)


def _by_pairs(evidence: Evidence) -> Finding | None:
    """Read the change off the pairs that matching found."""
    if len(evidence.renamed) < 2:
        return None
    ends = sum(a.endswith(f".{b}") or b.endswith(f".{a}") for a, b in evidence.renamed)
    if ends < 0.9 * len(evidence.renamed):
        return None  # most differ by more than words in front
    changes = Counter(change(a, b) for a, b in evidence.renamed)
    (removed, added, leading), hits = changes.most_common(1)[0]
    if hits < 0.9 * len(evidence.renamed) or (removed and added) or not leading:
        return None
    run = removed or added
    sentence = f"{hits} of {len(evidence.renamed)} renamed keys differ by `{run}.` in front"
    return Finding("prefix-wrapper", 0.85, sentence, _advice(run, bool(removed)))


def _beyond_the_cut(evidence: Evidence) -> Finding | None:
    """Lists cut so early that no key has its counterpart: the words behind the prefix must agree."""
    if not evidence.truncated:
        return None
    for own, others, in_checkpoint in (
        (evidence.unexpected_keys, evidence.missing_keys, True),
        (evidence.missing_keys, evidence.unexpected_keys, False),
    ):
        if not own or not others:
            continue
        first = tokens(own[0])[0]
        if not _USUAL.fullmatch(first) or _carried(own, first) < 0.95 or _carried(others, first) > 0.05:
            continue
        behind = {tokens(k)[1] for k in own if len(tokens(k)) > 2}
        if share(others, lambda key: tokens(key)[0] in behind) >= 0.3:  # noqa: B023 - called at once
            side = "unexpected" if in_checkpoint else "missing"
            sentence = f"all {len(own)} {side} keys begin with `{first}.`, none of the other side's does"
            return Finding("prefix-wrapper", 0.7, sentence, _advice(first, in_checkpoint))
    return None


def _carried(keys: tuple[str, ...], run: str) -> float:
    return share(keys, lambda key: key.startswith(run + ".") or f".{run}." in key)


def _advice(run: str, in_checkpoint: bool) -> str:
    if in_checkpoint:
        return f"take `{run}.` out of the checkpoint's keys, or load into the part of the model that was saved"
    return f"put `{run}.` into the checkpoint's keys, or load into the part of the model that is called `{run}`"
