"""Whether one side carries the words of a wrapper that the other side lacks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from automatch.diagnosing.evidence import Evidence
from automatch.diagnosing.naming import is_counter, tokens
from automatch.diagnosing.renaming import RulePair, cures, without, wrapper_places, wrapper_rules


@dataclass(frozen=True)
class Unwrapped:
    """What was found about a wrapper.

    Attributes:
        in_checkpoint: the checkpoint carries it, else the model.
        how_many: "all 12 keys carry" or the like.
        words: the wrapper words in the order of their nesting, the outermost first: "module._orig_mod".
        front: they stand in front of the keys, so that `model.{words}` is what was wrapped.
        score: how sure, in [0, 1].
        rules: what takes it out of, or puts it into, the checkpoint's keys.
    """

    in_checkpoint: bool
    how_many: str
    words: str
    front: bool
    score: float
    rules: tuple[RulePair, ...]


def unwrapped(evidence: Evidence, words: tuple[str, ...], must: str | None = None) -> Unwrapped | None:
    """Look for wrapper words on one side only.

    Args:
        evidence: the lists.
        words: the words that the wrapper puts into keys.
        must: one of `words` that has to occur for the others to count.
    """
    wanted = frozenset(words)

    unexpected, missing = (
        [key for key, found in side if not wanted.isdisjoint(found) and (must is None or must in found)]
        for side in evidence.wrapped
    )
    parts = (
        len(unexpected) / max(len(evidence.unexpected_keys), 1),
        len(missing) / max(len(evidence.missing_keys), 1),
    )
    if max(parts) < 0.6 or min(parts) > 0.3:
        return _from_pairs(evidence, wanted, must)
    in_checkpoint = parts[0] > parts[1]
    carriers = unexpected if in_checkpoint else missing
    own = evidence.unexpected_keys if in_checkpoint else evidence.missing_keys
    others = set(evidence.missing_keys if in_checkpoint else evidence.unexpected_keys)
    hits = sum(without(k, wanted) in others for k in carriers if not is_counter(k))
    needed = sum(not is_counter(k) for k in carriers)
    if others and hits:
        score = 0.9 + 0.08 * hits / max(needed, 1)
    elif not others:
        score = 0.85 if evidence.truncated else 0.55
    else:
        score = 0.85 if evidence.truncated else 0.5
    rules = wrapper_rules(words, carriers) if in_checkpoint else _wrapping(carriers, others, wanted)
    how_many = _how_many(evidence, carriers, own, in_checkpoint)
    names, front = _nesting(carriers, wanted)
    return Unwrapped(in_checkpoint, how_many, names, front, score, rules if cures(rules, evidence) else ())


def _nesting(carriers: list[str], words: frozenset[str]) -> tuple[str, bool]:
    """The commonest run of wrapper words, the outermost first, and whether it stands in front of the keys."""
    runs = Counter(wrapper_places(k, words) for k in carriers)
    place = runs.most_common(1)[0][0] if runs else ()
    return ".".join(word for _, word in place), bool(place) and not any(gap for gap, _ in place)


def _wrapping(carriers: list[str], others: set[str], words: frozenset[str]) -> tuple[RulePair, ...]:
    """The rule that wraps bare keys, where the wrapper stands in front."""
    front = [t for t in tokens(carriers[0]) if t in words]
    lead = ".".join(front)
    if not front or any(not k.startswith(lead + ".") for k in carriers):
        return ()
    firsts = sorted({tokens(k)[0] for k in others})
    some = rf"(?:{'|'.join(firsts)})(?:\..+)?" if 0 < len(firsts) <= 8 else ".+"
    escaped = lead.replace(".", r"\.")
    return ((rf"(?!{escaped}\.)(?P<rest>{some})", f"{lead}.{{rest}}"),)


def _from_pairs(evidence: Evidence, words: frozenset[str], must: str | None) -> Unwrapped | None:
    """Look at the pairs that matching found, where lists by name say too little."""
    if not evidence.renamed:
        return None
    for in_checkpoint, removed in zip((True, False), evidence.removed, strict=True):
        hits = sum(n for r, n in removed.items() if r and words.issuperset(r) and (must is None or must in r))
        if hits > 0.9 * len(evidence.renamed):
            carriers = [a if in_checkpoint else b for a, b in evidence.renamed]
            rules = wrapper_rules(sorted(words), carriers) if in_checkpoint else ()
            how_many = _how_many(evidence, carriers, (), in_checkpoint)
            return Unwrapped(in_checkpoint, how_many, *_nesting(carriers, words), 0.9, rules)
    return None


def _how_many(evidence: Evidence, carriers: list[str], listed: tuple[str, ...], in_checkpoint: bool) -> str:
    """How many keys of a side carry the words, where all are known; else how many of the listed ones."""
    side = evidence.checkpoint if in_checkpoint else evidence.model
    if side is not None:
        return "every key carries" if len(carriers) == len(side) else f"{len(carriers)} of {len(side)} keys carry"
    if len(carriers) < len(listed):
        return f"{len(carriers)} of {len(listed)} {'unexpected' if in_checkpoint else 'missing'} keys carry"
    return f"all {len(listed)} {'unexpected' if in_checkpoint else 'missing'} keys carry"
