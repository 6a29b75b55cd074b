"""Everything under other names: no exchange of words joins the lists, but both have the same outline."""

from __future__ import annotations

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import is_head
from automatch.diagnosing.outline import alike, in_words, outline

_FEWEST = 6
_NEARLY = 0.9


def check(evidence: Evidence) -> Finding | None:
    """Whether two whole lists agree in counts, last words and blocks; names alone cannot say more than that."""
    if evidence.assignment is not None or not (evidence.missing_whole and evidence.unexpected_whole):
        return None
    if any(not is_head(m.key) for m in evidence.mismatched):
        return None
    there, here = outline(evidence.unexpected_keys), outline(evidence.missing_keys)
    part = alike(there, here)
    if min(there.keys, here.keys) < _FEWEST or part < _NEARLY or all(k[:1].isdigit() for k in evidence.listed):
        return None
    how = "the same" if part == 1.0 else "nearly the same"
    return Finding(
        "renamed-modules",
        0.6 if part == 1.0 else 0.5,
        f"{here.keys} missing and {there.keys} unexpected keys have {how} outline ({in_words(here)}) under other "
        "names, as renamed modules have; which belongs to which needs the shapes",
        "run `automatch diagnose CHECKPOINT MODEL`: it compares the shapes, pairs the keys and proves the rules, or "
        "says that the architectures differ",
    )
