"""Words exchanged for others: which exchange would turn the unexpected keys into the missing ones.

`layers.0.attn.weight` becomes `blocks.0.attn.weight` by exchanging one run of words. Several exchanges may
do equally well (`query`, `key` and `value` for any of `to_q`, `to_k` and `to_v`): names then say that
something was renamed and not what. Only what is evident becomes a rule.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from automatch.describing.lexicon import lexicon
from automatch.describing.tokens import words_of
from automatch.diagnosing.evidence import Evidence
from automatch.diagnosing.naming import is_counter, tokens
from automatch.diagnosing.renaming import MOST_KEYS, RulePair, replay, runs, template_rules
from automatch.rules.replacement import quote

_LONGEST_RUN = 3
_MOST_EXCHANGES = 40
_FEW = 60
_MOST_OPTIONS = 20_000
_LEAVES = re.compile(
    r"(?:weight|bias)(?:_[gv]|_[ih]h(?:_l\d+)?)?|running_\w+|num_batches_tracked|in_proj_\w+"
    r"|original[01]"
)

Words = tuple[str, str]
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Exchange:
    """The exchanges that join two lists.

    Attributes:
        pairs: (unexpected key, missing key) joined.
        words: (from, to), in the order in which they were taken.
        evident: no other exchange would have done as well.
    """

    pairs: Pairs
    words: tuple[Words, ...]
    evident: bool


def exchange(evidence: Evidence) -> Exchange:
    """Exchange runs of words so that unexpected keys become missing ones, the commonest exchange first.

    Keys that change in two places are tried again after the first exchange was made in them.
    """
    unexpected = [k for k in evidence.unexpected_keys if not is_counter(k)][:MOST_KEYS]
    missing = [k for k in evidence.missing_keys if not is_counter(k)][:MOST_KEYS]
    whole = (evidence.unexpected_whole, evidence.missing_whole)
    first = _pass({u: u for u in unexpected}, missing, whole)
    taken, found = {m for _, m in first.pairs}, {u for u, _ in first.pairs}
    changed = {_exchanged(u, first.words): u for u in unexpected if u not in found}
    if not first.words or not changed or all(k == u for k, u in changed.items()):
        return first
    second = _pass(changed, [m for m in missing if m not in taken], whole)
    return Exchange(first.pairs + second.pairs, first.words + second.words, first.evident and second.evident)


def _exchanged(key: str, words: tuple[Words, ...]) -> str:
    """The key after the first exchange that applies to it."""
    for source, target in words:
        for head, run, tail in runs(key, _LONGEST_RUN):
            if run == source:
                return ".".join(part for part in (head, target, tail) if part)
    return key


def _pass(unexpected: dict[str, str], missing: list[str], whole: tuple[bool, bool]) -> Exchange:
    """One exchange for each key, the commonest first; `unexpected` gives the real key of each."""
    options, exact = _options(list(unexpected), missing, whole)
    pairs: dict[str, str] = {}
    taken: set[str] = set()
    used: list[Words] = []
    evident = True
    while len(used) < _MOST_EXCHANGES and sum(map(len, options.values())) < _MOST_OPTIONS:
        fresh = {w: [(u, m) for u, m in c if u not in pairs and m not in taken] for w, c in options.items()}
        options = {w: c for w, c in fresh.items() if c and len({u for u, _ in c}) == len(c) == len({m for _, m in c})}
        if not options:
            break
        words = max(options, key=lambda w: (w in exact, len(options[w]), likeness(*w), -len(w[0]), -len(w[1]), w))
        if len(options[words]) == 1 and len(unexpected) > _FEW:
            break  # an exchange for every key is no renaming
        rivals = [w for w in options if w != words and (w[0] == words[0] or w[1] == words[1])]
        evident = evident and not any(_rivals(w, words, options, exact) for w in rivals)
        pairs.update(options[words])
        taken.update(m for _, m in options[words])
        used.append(words)
    return Exchange(tuple((unexpected[u], m) for u, m in pairs.items()), tuple(used), evident)


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
        wanted = [k for k in keys if not is_counter(k)][:MOST_KEYS]
        if not other_whole:
            last = max((i for i, k in enumerate(wanted) if k in served), default=-1)
            wanted = wanted[: last + 1]
        shares.append(sum(k in served for k in wanted) / len(wanted) if wanted else 0.0)
    return min(shares)


def exchange_rules(found: Exchange) -> tuple[RulePair, ...]:
    """Evident exchanges as rules if these do exactly what the pairs say, else one rule a template, else none."""
    if not found.evident:
        return ()
    short = tuple(_word_rule(words, found.pairs) for words in found.words)
    wanted = dict(found.pairs)
    if replay(short, wanted) == wanted:
        return short
    by_template = template_rules(found.pairs)
    return by_template if replay(by_template, wanted) == wanted else ()


def _word_rule(words: Words, pairs: Pairs) -> RulePair:
    """A rule that exchanges the words where they stand beside the neighbours that all its keys share.

    Keys that fit already are in neither list: the narrower the rule, the less it can take of them.
    """
    source, target = words
    heads, tails = set(), set()
    for u, m in pairs:
        for head, run, tail in runs(u, _LONGEST_RUN):
            if run == source and m == ".".join(part for part in (head, target, tail) if part):
                heads.add(head.rpartition(".")[2])
                tails.add(tail.partition(".")[0])
    before = _neighbour(heads)
    behind = _neighbour(tails)
    head = rf"(?P<head>(?:.+\.)?{before}\.)" if before else "" if heads == {""} else r"(?P<head>(?:.+\.)?)"
    tail = rf"(?P<tail>\.{behind}(?:\..+)?)" if behind else "" if tails == {""} else r"(?P<tail>(?:\..+)?)"
    text = f"{'{head}' if head else ''}{quote(target)}{'{tail}' if tail else ''}"
    return f"{head}{re.escape(source)}{tail}", text


def _neighbour(found: set[str]) -> str:
    """A pattern for the words found at one place; "" where they are too many or none stands there."""
    if "" in found:
        return ""
    if all(word.isdigit() for word in found):
        return r"\d+"
    return (
        ""
        if len(found) > 4
        else "|".join(map(re.escape, sorted(found)))
        if len(found) == 1
        else (f"(?:{'|'.join(map(re.escape, sorted(found)))})")
    )


def _options(
    unexpected: list[str], missing: list[str], whole: tuple[bool, bool]
) -> tuple[dict[Words, list[tuple[str, str]]], set[Words]]:
    """Every exchange that turns some unexpected key into a missing one, and those that leave no occurrence out.

    What lies opposite to a cut may be left out.
    """
    index: dict[Words, list[tuple[str, str]]] = defaultdict(list)
    places: tuple[dict[str, int], dict[str, int]] = (defaultdict(int), defaultdict(int))
    for m in missing:
        for head, run, tail in runs(m, _LONGEST_RUN):
            index[head, tail].append((run, m))
            places[1][run] += 1
    options: dict[Words, list[tuple[str, str]]] = defaultdict(list)
    for u in unexpected:
        for head, run, tail in runs(u, _LONGEST_RUN):
            places[0][run] += 1
            for other, m in index.get((head, tail), ())[:50]:
                if _is_exchange(run, other):
                    options[run, other].append((u, m))
    exact = set()
    for (a, b), c in options.items():
        all_here, all_there = len(c) == places[0][a], len(c) == places[1][b]
        if (all_here or not whole[1]) and (all_there or not whole[0]) and (all_here or all_there):
            exact.add((a, b))
    return dict(options), exact


def _is_exchange(run: str, other: str) -> bool:
    """Whether exchanging these words can be a renaming: not a number for a number, not a weight for a bias."""
    if run == other or (run.replace(".", "").isdigit() and other.replace(".", "").isdigit()):
        return False
    first, second = run.split("."), other.split(".")
    if first[0] == second[0] or first[-1] == second[-1]:
        return False
    return not (_LEAVES.fullmatch(first[-1]) and _LEAVES.fullmatch(second[-1]))


def _rivals(words: Words, chosen: Words, options: dict[Words, list[tuple[str, str]]], exact: set[Words]) -> bool:
    """Whether `words` would have done as well as the chosen exchange."""
    if chosen in exact and words not in exact:
        return False
    if len(options[words]) < 0.9 * len(options[chosen]):
        return False
    return likeness(*words) > likeness(*chosen) - 0.5


def likeness(run: str, other: str) -> float:
    """1 where the words share a meaning of the field or most of their letters, -1 where meanings exclude each other."""
    first, second = _meanings(run), _meanings(other)
    if first & second:
        return 1.0
    if any(second & lexicon().exclusive.get(meaning, frozenset()) for meaning in first):
        return -1.0
    from rapidfuzz.fuzz import ratio

    return 0.6 if ratio(run.lower(), other.lower()) >= 75 else 0.0


def _meanings(run: str) -> frozenset[str]:
    known = lexicon()
    found: set[str] = set()
    for token in tokens(run):
        words = words_of(token)
        for word in ("".join(words), *words):
            found |= known.words.get(word, frozenset())
    return frozenset(found)
