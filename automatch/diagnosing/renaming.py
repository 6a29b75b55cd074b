"""Which change of names would turn the unexpected keys into the missing ones, judged by the names alone.

Three kinds are tried: words of a wrapper taken out or put in (`module.`, `_orig_mod.`), one run of
words taken out or put in (`model.`, `generator.module.`), and words exchanged for others. Nothing is
believed before it was replayed on every listed key.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from automatch.diagnosing.evidence import Evidence
from automatch.diagnosing.naming import is_counter, tokens
from automatch.rules.replacement import quote
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet

RulePair = tuple[str, str]
_LONGEST_RUN = 4
MOST_KEYS = 3000
_MOST_RULES = 30


@dataclass(frozen=True)
class Renaming:
    """One change of names and how far it goes.

    Attributes:
        removed: words that leave the checkpoint keys, joined by dots; "" if none.
        added: words that come in; "" if none.
        leading: the change is at the beginning of the keys.
        pairs: (unexpected key, missing key) that it joins.
        rules: the change as (pattern, replacement), replayed on these pairs; empty where none does it.
    """

    removed: str
    added: str
    leading: bool
    pairs: tuple[tuple[str, str], ...]
    rules: tuple[RulePair, ...] = ()


def replay(rules: Sequence[RulePair], keys: Iterable[str]) -> dict[str, str]:
    """Rename keys by rules.

    Args:
        rules: (pattern, replacement) pairs, in order.
        keys: checkpoint keys.

    Returns:
        New key by old key, for the keys that a rule takes.
    """
    ruleset = RuleSet(tuple(Rule(pattern, replacement) for pattern, replacement in rules))
    moves = ((key, ruleset.move(key)) for key in keys)
    return {key: move.targets[0] for key, move in moves if move is not None}


def cures(rules: Sequence[RulePair], evidence: Evidence) -> bool:
    """Whether the rules do good and no harm on the listed keys.

    Every key that they take goes to a missing key, no two to the same; and either every unexpected key
    is taken or every missing key is served. num_batches_tracked may stand in one list only (a file without
    `_metadata` never misses it). Where the missing keys were cut, a target may lie beyond the cut: there one
    hit is asked for.
    """
    if not rules:
        return False
    renamed = replay(rules, evidence.unexpected_keys)
    missing = set(evidence.missing_keys)
    targets = set(renamed.values())
    if len(targets) < len(renamed) or not targets & missing:
        return False
    astray = [k for k, target in renamed.items() if target not in missing and not is_counter(k)]
    if astray and evidence.missing_whole:
        return False
    all_taken = all(k in renamed for k in evidence.unexpected_keys if not is_counter(k))
    return all_taken or (evidence.missing_whole and all(k in targets for k in missing if not is_counter(k)))


def without(key: str, words: frozenset[str]) -> str:
    """The key with these words taken out wherever they stand."""
    return ".".join(t for t in tokens(key) if t not in words)


def affix(evidence: Evidence) -> Renaming | None:
    """The one run of words that, taken out of or put into the unexpected keys, serves most missing keys."""
    unexpected = [k for k in evidence.unexpected_keys if not is_counter(k)][:MOST_KEYS]
    missing = [k for k in evidence.missing_keys if not is_counter(k)][:MOST_KEYS]
    sources, targets = set(unexpected), set(missing)
    taken = _votes(unexpected, targets)
    put = _votes(missing, sources)
    best_taken = taken.most_common(1)
    best_put = put.most_common(1)
    if not best_taken and not best_put:
        return None
    if best_taken and (not best_put or best_taken[0][1] >= best_put[0][1]):
        (run, leading), _ = best_taken[0]
        pairs = tuple((u, m) for u in unexpected for m in _cut(u, run, leading, targets))
        return Renaming(run, "", leading, pairs, _removing(run, leading, pairs))
    (run, leading), _ = best_put[0]
    pairs = tuple((u, m) for m in missing for u in _cut(m, run, leading, sources))
    return Renaming("", run, leading, pairs, _adding(run, leading, pairs))


def change(source: str, target: str) -> tuple[str, str, bool]:
    """What differs between two keys: words removed, words added, and whether that is at the beginning."""
    a, b = tokens(source), tokens(target)
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    return ".".join(a[start : len(a) - end]), ".".join(b[start : len(b) - end]), start == 0


def wrapper_rules(words: Sequence[str], keys: Sequence[str]) -> tuple[RulePair, ...]:
    """Rules that take wrapper words out of keys, one for each order and place in which they occur."""
    places = sorted({wrapper_places(k, frozenset(words)) for k in keys} - {()}, key=lambda p: (-len(p), p))
    rules: list[RulePair] = []
    for place in places:
        pattern, replacement = "", ""
        for number, (gap, word) in enumerate(place):
            if gap:
                pattern += rf"(?P<part{number}>.+)\."
                replacement += f"{{part{number}}}."
            pattern += rf"{re.escape(word)}\."
        rules.append((pattern + r"(?P<rest>.+)", replacement + "{rest}"))
    return tuple(rules)


def wrapper_places(key: str, words: frozenset[str]) -> tuple[tuple[bool, str], ...]:
    """The wrapper words of a key in order, each with whether other words stand between it and the one before."""
    places: list[tuple[bool, str]] = []
    since = 0
    for token in tokens(key)[:-1]:
        if token in words:
            places.append((since > 0, token))
            since = 0
        else:
            since += 1
    return tuple(places)


def runs(key: str, longest: int) -> Iterable[tuple[str, str, str]]:
    """Every way to cut a run of at most `longest` words out of a key: what is before, the run, what is behind."""
    parts = tokens(key)
    for start in range(len(parts)):
        for end in range(start + 1, min(len(parts), start + longest) + 1):
            if end - start < len(parts):
                yield ".".join(parts[:start]), ".".join(parts[start:end]), ".".join(parts[end:])


def _votes(keys: Sequence[str], others: set[str]) -> Counter[tuple[str, bool]]:
    votes: Counter[tuple[str, bool]] = Counter()
    for key in keys:
        found = {(run, not head) for head, run, tail in runs(key, _LONGEST_RUN) if tail and _join(head, tail) in others}
        votes.update(sorted(found))
    return Counter({run: n for run, n in votes.items() if not run[0].replace(".", "").isdigit()})


def _cut(key: str, run: str, leading: bool, others: set[str]) -> list[str]:
    found = [
        _join(head, tail) for head, r, tail in runs(key, _LONGEST_RUN) if r == run and tail and leading is (not head)
    ]
    return [k for k in found if k in others][:1]


def _join(head: str, tail: str) -> str:
    return f"{head}.{tail}" if head else tail


def _removing(run: str, leading: bool, pairs: Sequence[tuple[str, str]]) -> tuple[RulePair, ...]:
    word = re.escape(run)
    if leading:
        return ((rf"{word}\.(?P<rest>.+)", "{rest}"),)
    heads = {u[: len(u) - len(u.split(run + ".", 1)[-1]) - len(run) - 1] for u, _ in pairs}
    if len(heads) == 1:
        head = next(iter(heads))
        return ((rf"{re.escape(head)}{word}\.(?P<rest>.+)", f"{quote(head)}{{rest}}"),)
    return ((rf"(?P<head>.+)\.{word}\.(?P<rest>.+)", "{head}.{rest}"),)


def _adding(run: str, leading: bool, pairs: Sequence[tuple[str, str]]) -> tuple[RulePair, ...]:
    """A rule that adds words must leave alone the keys that fit already, so it names what it takes."""
    word = re.escape(run)
    firsts = sorted({tokens(u)[0] for u, _ in pairs})
    if leading:
        some = "|".join(re.escape(f) for f in firsts)
        pattern = rf"(?P<rest>(?:{some})(?:\..+)?)" if len(firsts) <= 8 else rf"(?!{word}\.)(?P<rest>.+)"
        return ((pattern, f"{quote(run)}.{{rest}}"),)
    heads = {m.split("." + run + ".", 1)[0] for _, m in pairs}
    if len(heads) == 1:
        head = next(iter(heads))
        return ((rf"{re.escape(head)}\.(?!{word}\.)(?P<rest>.+)", f"{quote(head)}.{quote(run)}.{{rest}}"),)
    return template_rules(pairs)


def template_rules(pairs: Sequence[tuple[str, str]]) -> tuple[RulePair, ...]:
    """One rule for each template among the pairs; none where that would be too many."""
    rules = tuple(dict.fromkeys(_template_rule(source, target) for source, target in pairs))
    return rules if len(rules) <= _MOST_RULES else ()


def _template_rule(source: str, target: str) -> RulePair:
    """A rule for one pair in which every number that both keys share in order is captured."""
    pattern, replacement = [], []
    numbers: list[str] = []
    for word in tokens(source):
        if word.isdigit():
            pattern.append(rf"(?P<i{len(numbers)}>\d+)")
            numbers.append(word)
        else:
            pattern.append(re.escape(word))
    left = list(enumerate(numbers))
    for word in tokens(target):
        name = next((i for i, number in left if number == word), None)
        if name is None:
            replacement.append(quote(word))
        else:
            replacement.append(f"{{i{name}}}")
            left = [item for item in left if item[0] > name]
    return r"\.".join(pattern), ".".join(replacement)
