"""A script cut as many characters from every key as a prefix has, and the keys had no prefix.

`k[7:]` takes `module.` away, and makes `ock1.weight` of `conv_block1.weight`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import is_counter
from automatch.diagnosing.renaming import affix

_PREFIXES = {len(p): p for p in ("module.", "_orig_mod.", "model.", "net.", "backbone.", "encoder.")}
_LONGEST = 30
_FIRST = 500
"""Where none of so many missing keys has lost its first characters, the others are not looked at."""


def check(evidence: Evidence) -> Finding | None:
    """Whether every unexpected key is a missing one without its first characters, always equally many."""
    # keys are looked up where they lie already: most files have no such tail, and a set of its own costs more
    there = evidence.checkpoint.by_key if evidence.checkpoint else frozenset(evidence.unexpected_keys)
    if "" not in there and not any(_tails(evidence.missing_keys[:_FIRST], there)):
        return None
    unexpected = [k for k in evidence.unexpected_keys if not is_counter(k)]
    if "" in unexpected:
        return Finding(
            "prefix-module",
            0.8,
            "an unexpected key is empty: a script cut a prefix from keys that are no longer than it",
            "take the line that cuts a fixed number of characters (`k[7:]`) out of the loading script, or let it "
            "cut only keys that begin with the prefix",
        )
    if len(unexpected) < 2:
        return None
    wanted = frozenset(unexpected)
    if not any(_tails(evidence.missing_keys[:_FIRST], wanted)):
        return None
    tails = set(_tails(evidence.missing_keys, wanted))
    cuts = Counter(cut for k in unexpected for cut in range(1, _LONGEST) if (k, cut) in tails)
    cut, hits = cuts.most_common(1)[0]
    cut_words = sum(_cuts_a_word(k, cut) for k in evidence.missing_keys if k[cut:] in wanted)
    if hits < 0.7 * len(unexpected) or cut_words < 0.5 * hits:
        return None  # at the edges of words it may as well be a renaming: `to_q` and `q`
    whole = affix(evidence)
    if whole and len(whole.pairs) >= hits:
        return None  # whole words too many or too few explain it as well
    prefix = _PREFIXES.get(cut, "")
    cause = {"module.": "prefix-module", "_orig_mod.": "prefix-compile"}.get(prefix, "prefix-wrapper")
    named = f", as long as `{prefix}`" if prefix else ""
    return Finding(
        cause,
        0.93,
        f"{hits} of {len(unexpected)} unexpected keys are missing ones without their first {cut} characters{named}: "
        "a script strips a prefix that these keys never had",
        f"take the line that cuts {cut} characters (`k[{cut}:]`) out of the loading script, or let it cut only keys "
        f"that begin with the prefix",
    )


def _tails(keys: Iterable[str], wanted: Container[str]) -> Iterator[tuple[str, int]]:
    """What is left of keys without their first characters and is wanted, each with how many were cut."""
    for key in keys:
        for cut in range(1, min(_LONGEST, len(key))):
            if (tail := key[cut:]) in wanted:
                yield tail, cut


def _cuts_a_word(key: str, cut: int) -> bool:
    """Whether the cut goes through a word: `conv_bl|ock1.0`, not `to_|q` nor `net.|0`."""
    return key[cut - 1].isalnum() and key[cut].isalnum() and not (key[cut - 1].islower() and key[cut].isupper())
