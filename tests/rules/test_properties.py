"""Whatever the assignment is, the rules reproduce it on every key (replayed by a second, naive reading of rules)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automatch.matching.assignment import Match
from automatch.rules.induce import induce
from automatch.rules.linear import linear
from automatch.rules.replay import replay
from automatch.rules.rule_set import RuleSet

WORDS = ["layer", "layers", "conv", "norm", "attn", "q", "k", "v", "weight", "bias", "mlp", "fc", "w", "module", "x"]
TEXTS = st.sampled_from(WORDS)
NUMBERS = st.integers(0, 12).map(str)
SEPARATORS = st.sampled_from([".", ".", ".", "_", "/", ""])


@st.composite
def keys(draw: st.DrawFn) -> str:
    parts = draw(st.lists(st.one_of(TEXTS, NUMBERS), min_size=1, max_size=5))
    out = parts[0]
    for part in parts[1:]:
        out += draw(SEPARATORS) + part
    return out


ODD = st.one_of(keys(), st.text(min_size=1, max_size=8), st.text("a.{}()[]|*+?^$\\1#\n", min_size=1, max_size=6))


def naive(rules: RuleSet, key: str) -> str:
    """First match wins, replacement filled in by Python itself."""
    for rule in rules:
        match = re.compile(rule.pattern).fullmatch(key)
        if match is None:
            continue
        assert isinstance(rule.replacement, str)
        names = {k: v for k, v in match.groupdict().items() if v is not None}

        def fill(piece: re.Match[str], names: dict[str, str] = names) -> str:
            text = piece.group()
            if text in ("{{", "}}"):
                return text[0]
            if text[1:-1] in names:
                return names[text[1:-1]]
            return str(eval(text[1:-1], {}, {k: int(v) for k, v in names.items() if v.isdigit()}))

        return re.sub(r"\{\{|\}\}|\{[^}]*\}", fill, rule.replacement)
    return key


def check(matches: Sequence[Match], source: Sequence[str], target: Sequence[str]) -> RuleSet:
    rules = induce(matches, source, target)
    proof = replay(rules, matches, source, target)
    assert proof.ok, (proof.wrong, proof.collisions, str(rules))
    wanted: dict[str, set[str]] = {}
    for match in matches:
        wanted.setdefault(match.checkpoint_keys[0], set()).add(match.model_keys[0])
    landed = {key: naive(rules, key) for key in source}
    assert all(landed[key] in goals for key, goals in wanted.items())
    assert len(set(landed.values())) == len(landed), "two keys collide"
    assert not {landed[key] for key in source if key not in wanted} & {m.model_keys[0] for m in matches}
    assert all(linear(rule.pattern) for rule in rules)
    assert rules == induce(matches, source, target), "not deterministic"
    return rules


SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SETTINGS
@given(st.lists(ODD, min_size=1, max_size=10, unique=True), st.randoms(use_true_random=False), st.data())
def test_any_correspondence_between_any_keys_is_reproduced(source, random, data):
    target = data.draw(st.lists(st.one_of(st.sampled_from(source), ODD), min_size=1, max_size=10, unique=True))
    free = list(source)
    random.shuffle(free)
    matches = [Match((key,), (free.pop(),)) for key in target if free and random.random() < 0.8]
    check(matches, source, target)


@SETTINGS
@given(
    st.lists(keys(), min_size=2, max_size=25, unique=True),
    st.dictionaries(TEXTS, TEXTS, max_size=3),
    st.sampled_from(["", "module.", "model."]),
    st.integers(-1, 2),
    st.data(),
)
def test_words_prefixes_and_indices_may_change(source, words, prefix, shift, data):
    def renamed(key: str) -> str:
        tokens = re.findall(r"[0-9]+|[a-z]+|.", key)
        return prefix + "".join(str(int(t) + shift) if t.isdigit() else words.get(t, t) for t in tokens)

    kept = data.draw(st.lists(st.booleans(), min_size=len(source), max_size=len(source)))
    pairs = {renamed(key): key for key, keep in zip(source, kept, strict=True) if keep}
    matches = [Match((target,), (key,)) for target, key in pairs.items()]
    check(matches, source, [*pairs, "something.else"])


@SETTINGS
@given(st.integers(1, 30), st.integers(1, 4), st.integers(-3, 3), st.integers(1, 3), st.booleans())
def test_arithmetic_on_layers_needs_no_table(layers, leaves, shift, factor, reverse):
    names = ["weight", "bias", "running_mean", "running_var"][:leaves]
    source = [f"net.{i}.{name}" for i in range(layers) for name in names]
    top = factor * (layers - 1) + abs(shift)

    def number(i: int) -> int:
        return top - factor * i if reverse else factor * i + abs(shift)

    pairs = [(f"net.{i}.{name}", f"blocks.{number(i)}.{name}") for i in range(layers) for name in names]
    rules = check([Match((t,), (s,)) for s, t in pairs], source, [t for _, t in pairs])
    assert len(rules) == 1


@SETTINGS
@given(st.lists(keys(), min_size=1, max_size=15, unique=True), st.data())
def test_ties_give_one_of_the_tied_keys_and_duplicate_it_when_applied(source, data):
    matches, target = [], []
    for i, key in enumerate(source):
        goals = [f"m{i}.{n}" for n in range(data.draw(st.integers(0, 3)))]
        target += goals
        matches += [Match((goal,), (key,)) for goal in goals]
    rules = check(matches, source, target)
    out = rules.apply({key: key for key in source})
    assert all(out[match.model_keys[0]] == match.checkpoint_keys[0] for match in matches)


@SETTINGS
@given(st.lists(keys(), min_size=1, max_size=12, unique=True))
def test_rules_survive_json(source):
    pairs = [(key, f"model.{key}") for key in source]
    rules = induce([Match((t,), (s,)) for s, t in pairs], source, [t for _, t in pairs])
    assert RuleSet.from_list(rules.to_list()) == rules
