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
from automatch.rules.replacement import parse, quote

RulePair = tuple[str, str]
_LONGEST_RUN = 4
_MOST_KEYS = 3000
_MOST_RULES = 30
_LEAVES = frozenset(
    ["weight", "bias", "running_mean", "running_var", "num_batches_tracked", "weight_g", "weight_v", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "in_proj_weight", "in_proj_bias", "original0", "original1"]
)


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
    """Rename keys by rules as a rule set does: the first that matches the whole key wins.

    Args:
        rules: (pattern, replacement) pairs.
        keys: checkpoint keys.

    Returns:
        New key by old key, for the keys that a rule matches.
    """
    compiled = [(re.compile(pattern), parse(replacement)) for pattern, replacement in rules]
    renamed: dict[str, str] = {}
    for key in keys:
        for pattern, replacement in compiled:
            match = pattern.fullmatch(key)
            if match:
                renamed[key] = replacement.expand(match.groupdict())
                break
    return renamed


def cures(rules: Sequence[RulePair], evidence: Evidence) -> bool:
    """Whether the rules send every unexpected key to a missing key, no two to the same.

    num_batches_tracked may stand in one list only (a file without `_metadata` never misses it). In a
    text that was cut, a target may be beyond the cut: there one hit is asked for, and no collision.
    """
    if not rules:
        return False
    renamed = replay(rules, evidence.unexpected_keys)
    missing = set(evidence.missing_keys)
    if len(set(renamed.values())) < len(renamed):
        return False
    if not any(target in missing for target in renamed.values()):
        return False
    wanted = [k for k in evidence.unexpected_keys if not is_counter(k)]
    if any(k not in renamed for k in wanted):
        return False
    return not evidence.missing_whole or all(renamed[k] in missing for k in wanted)


def without(key: str, words: frozenset[str]) -> str:
    """The key with these words taken out wherever they stand."""
    return ".".join(t for t in tokens(key) if t not in words)


def affix(evidence: Evidence) -> Renaming | None:
    """The one run of words that, taken out of or put into the unexpected keys, serves most missing keys."""
    unexpected = [k for k in evidence.unexpected_keys if not is_counter(k)][:_MOST_KEYS]
    missing = [k for k in evidence.missing_keys if not is_counter(k)][:_MOST_KEYS]
    taken = _votes(unexpected, set(missing))
    put = _votes(missing, set(unexpected))
    best_taken = taken.most_common(1)
    best_put = put.most_common(1)
    if not best_taken and not best_put:
        return None
    if best_taken and (not best_put or best_taken[0][1] >= best_put[0][1]):
        (run, leading), _ = best_taken[0]
        pairs = tuple((u, m) for u in unexpected for m in _cut(u, run, leading, set(missing)))
        return Renaming(run, "", leading, pairs, _removing(run, leading, pairs))
    (run, leading), _ = best_put[0]
    pairs = tuple((u, m) for m in missing for u in _cut(m, run, leading, set(unexpected)))
    return Renaming("", run, leading, pairs, _adding(run, leading, pairs))


def exchange(evidence: Evidence) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """Exchange runs of words so that unexpected keys become missing ones, the commonest exchange first.

    Returns:
        The pairs (unexpected, missing) it joins, and the exchanges (from, to) it took.
    """
    unexpected = [k for k in evidence.unexpected_keys if not is_counter(k)][:_MOST_KEYS]
    missing = [k for k in evidence.missing_keys if not is_counter(k)][:_MOST_KEYS]
    index: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for m in missing:
        for head, run, tail in _runs(m, 3):
            index.setdefault((head, tail), []).append((run, m))
    options: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for u in unexpected:
        for head, run, tail in _runs(u, 3):
            for other, m in index.get((head, tail), ())[:50]:
                if _is_exchange(run, other):
                    options.setdefault((run, other), []).append((u, m))
    pairs: dict[str, str] = {}
    taken: set[str] = set()
    used: list[tuple[str, str]] = []
    for words, candidates in sorted(options.items(), key=lambda item: (-len(item[1]), len(item[0][0]), item[0])):
        fresh = [(u, m) for u, m in candidates if u not in pairs and m not in taken]
        if len({u for u, _ in fresh}) < len(fresh) or not fresh:
            continue
        pairs.update(fresh)
        taken.update(m for _, m in fresh)
        used.append(words)
    return tuple(pairs.items()), tuple(used)


def agreement(evidence: Evidence, pairs: Sequence[tuple[str, str]]) -> float:
    """How much of both lists the pairs explain, in [0, 1].

    A list that was cut is judged up to its last key that has a counterpart: both lists are in the
    order of their state_dict, so what stands before the cut should have found one.
    """
    sources, targets = {u for u, _ in pairs}, {m for _, m in pairs}
    shares = []
    for keys, served, other_whole in (
        (evidence.unexpected_keys, sources, evidence.missing_whole),
        (evidence.missing_keys, targets, evidence.unexpected_whole),
    ):
        wanted = [k for k in keys if not is_counter(k)][:_MOST_KEYS]
        if not other_whole:
            last = max((i for i, k in enumerate(wanted) if k in served), default=-1)
            wanted = wanted[: last + 1]
        shares.append(sum(k in served for k in wanted) / len(wanted) if wanted else 0.0)
    return min(shares)


def exchange_rules(pairs: Sequence[tuple[str, str]], used: Sequence[tuple[str, str]]) -> tuple[RulePair, ...]:
    """The exchanges as rules if these do exactly what the pairs say, else one rule a template, else none."""
    short = tuple(
        (rf"(?P<head>(?:.+\.)?){re.escape(a)}(?P<tail>(?:\..+)?)", f"{{head}}{quote(b)}{{tail}}") for a, b in used
    )
    wanted = dict(pairs)
    if replay(short, wanted) == wanted:
        return short
    by_template = tuple(dict.fromkeys(_template_rule(u, m) for u, m in pairs))
    return by_template if len(by_template) <= _MOST_RULES and replay(by_template, wanted) == wanted else ()


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


def words_removed(source: str, target: str) -> list[str] | None:
    """The words to take out of `source` to get `target`, None where that is not enough."""
    rest = tokens(target)[::-1]
    removed = []
    for word in tokens(source):
        if rest and rest[-1] == word:
            rest.pop()
        else:
            removed.append(word)
    return None if rest else removed


def wrapper_rules(words: Sequence[str], keys: Sequence[str]) -> tuple[RulePair, ...]:
    """Rules that take wrapper words out of keys, one for each number of places that occurs."""
    word = "|".join(re.escape(w) for w in words)
    part = rf"(?:{word})\." if len(words) > 1 else rf"{word}\."
    places = sorted({_places(k, frozenset(words)) for k in keys} - {()}, key=lambda p: (-len(p), p))
    rules: list[RulePair] = []
    for gaps in places:
        pattern, replacement = "", ""
        for number, gap in enumerate(gaps):
            if gap:
                pattern += rf"(?P<part{number}>.+)\."
                replacement += f"{{part{number}}}."
            pattern += part
        rules.append((pattern + r"(?P<rest>.+)", replacement + "{rest}"))
    return tuple(rules)


def _places(key: str, words: frozenset[str]) -> tuple[bool, ...]:
    """For each wrapper word in the key, whether other words stand between it and the one before."""
    gaps: list[bool] = []
    since = 0
    for token in tokens(key)[:-1]:
        if token in words:
            gaps.append(since > 0)
            since = 0
        else:
            since += 1
    return tuple(gaps)


def _runs(key: str, longest: int) -> Iterable[tuple[str, str, str]]:
    """Every way to cut a run of words out of a key: what is before, the run, what is behind."""
    parts = tokens(key)
    for start in range(len(parts)):
        for end in range(start + 1, min(len(parts), start + longest) + 1):
            if end - start < len(parts):
                yield ".".join(parts[:start]), ".".join(parts[start:end]), ".".join(parts[end:])


def _votes(keys: Sequence[str], others: set[str]) -> Counter[tuple[str, bool]]:
    votes: Counter[tuple[str, bool]] = Counter()
    for key in keys:
        runs = {(run, not head) for head, run, tail in _runs(key, _LONGEST_RUN) if tail and _join(head, tail) in others}
        votes.update(sorted(runs))
    return Counter({run: n for run, n in votes.items() if not run[0].replace(".", "").isdigit()})


def _cut(key: str, run: str, leading: bool, others: set[str]) -> list[str]:
    found = [
        _join(head, tail) for head, r, tail in _runs(key, _LONGEST_RUN) if r == run and tail and leading is (not head)
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
    by_template = tuple(dict.fromkeys(_template_rule(u, m) for u, m in pairs))
    return by_template if len(by_template) <= _MOST_RULES else ()


def _is_exchange(run: str, other: str) -> bool:
    """Whether exchanging these words can be a renaming: not a number for a number, not a weight for a bias."""
    if run == other or (run.replace(".", "").isdigit() and other.replace(".", "").isdigit()):
        return False
    first, second = run.split("."), other.split(".")
    if first[0] == second[0] or first[-1] == second[-1]:
        return False
    return not (first[-1] in _LEAVES and second[-1] in _LEAVES)


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
