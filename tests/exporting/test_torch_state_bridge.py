"""The text goes through torch-state-bridge itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automatch.errors import RuleError
from automatch.exporting.background import Background
from automatch.exporting.dialects import torch_state_bridge
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet
from tests.exporting.random_rules import rules_on_keys
from tests.exporting.rule_cases import BY_HAND, CORPUS_CASES, of_corpus

bridge = pytest.importorskip("torch_state_bridge")

REFUSED = ("odd characters",)
LAYERS = r"layers\.(?P<i>\d+)\."


def bridged(text: str, keys) -> dict[str, str]:
    return {key: name for name, key in bridge.state_bridge({key: key for key in keys}, text).items()}


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


@given(rules_on_keys())
@settings(max_examples=120, deadline=None)
def test_the_library_does_what_the_rules_do_or_it_is_refused(case) -> None:
    rules, background = case
    try:
        text = torch_state_bridge.render(rules, background)
    except RuleError as error:
        assert "cannot say rule" in str(error)
        return
    assert not bridge.validate_rules(text)
    assert bridged(text, background.keys) == {key: rules.rename(key) for key in background.keys}


@given(st.lists(st.sampled_from(["a", "{n}", ",", "#", " ", ".", "1", "{(n+1)}", "\n", "b"]), max_size=6).map("".join))
def test_odd_texts_are_read_as_the_library_reads_them(target) -> None:
    """The simulation that stands before the user agrees with the library on texts that nobody would write."""
    text, keys = f"a.{{n}}, x{target}y", ["a.1", "b.a.07.a.2", "c"]
    try:
        theirs = bridged(text, keys)
    except (ValueError, KeyError):
        return
    ours = {key: torch_state_bridge.bridged(text)(key) for key in keys}
    assert ours == theirs


def test_short_lines_where_they_are_enough() -> None:
    rules = RuleSet((Rule(r"h\.(?P<i>\d+)\.ln_(?P<n>\d+)\.(?P<rest>.+)", "blocks.{i}.norm{n-1}.{rest}"),))
    keys = tuple(f"h.{i}.ln_{n}.{w}" for i in range(3) for n in (1, 2) for w in ("weight", "bias"))
    text = torch_state_bridge.render(rules, Background(keys=(*keys, "wte.weight")))
    assert lines(text) == ["h.{a}.ln_{b}., blocks.{a}.norm{(b-1)}."]
    assert bridged(text, [*keys, "h.77.ln_1.weight"])["h.77.ln_1.weight"] == "blocks.77.norm0.weight"


@pytest.mark.parametrize(
    ("rules", "keys"),
    [
        (
            RuleSet((Rule(r"(?P<a>h\.\d+)\.q", "{a}.k"), Rule(r"(?P<a>h\.\d+)\.k", "{a}.q"))),
            ("h.0.q", "h.0.k", "h.1.q"),
        ),
        (RuleSet((Rule(LAYERS + "w", "layers.{i+1}.w"),)), ("layers.0.w", "layers.1.w", "layers.2.w")),
        (RuleSet((Rule(r"fc\.w", "head.w"),)), ("fc.w", "mlp.fc.w")),
        (RuleSet((Rule(r"layer\.(?P<i>\d+)\.w", "block.{i}.w"),)), ("layer.1.w", "player.1.w")),
        (RuleSet((Rule("q", "k"), Rule("k", "q"))), ("q", "k", "qk", "x.q")),
        (RuleSet((Rule(LAYERS + r"(?P<j>\d+)\.w", "x.{i*10+j}.w"),)), ("layers.1.2.w",)),
    ],
    ids=[
        "exchanged",
        "moved by one",
        "the end of another key",
        "the end of another word",
        "names without dots",
        "a name inside a name",
    ],
)
def test_the_traps_of_the_library_are_passed_by(rules, keys) -> None:
    text = torch_state_bridge.render(rules, Background(keys=keys))
    assert bridged(text, keys) == {key: rules.rename(key) for key in keys}


@pytest.mark.parametrize(
    ("rules", "keys", "why"),
    [
        (RuleSet((Rule("0", "x"),)), ("0", "a.0"), "cannot say rule 1 .*anchored.*'a.0' would become"),
        (RuleSet((Rule(LAYERS + "w", "l", op="transpose"),)), ("layers.0.w",), "its operation is transpose"),
        (RuleSet((Rule("a,b", "c"),)), ("a,b",), "characters that have a meaning"),
        (RuleSet((Rule("a", "b"),)), None, "no keys are known"),
    ],
)
def test_what_is_refused(rules, keys, why) -> None:
    with pytest.raises(RuleError, match=why):
        torch_state_bridge.render(rules, Background(keys=keys))


@pytest.mark.parametrize("name", BY_HAND)
def test_rules_by_hand(name) -> None:
    rules, keys = BY_HAND[name]
    if name in REFUSED:
        with pytest.raises(RuleError, match="cannot say rule 1"):
            torch_state_bridge.render(rules, Background(keys=keys))
    else:
        text = torch_state_bridge.render(rules, Background(keys=keys))
        assert bridged(text, keys) == {key: rules.rename(key) for key in keys}


@pytest.mark.parametrize("name", CORPUS_CASES[1::3])
def test_rules_of_real_checkpoints(name) -> None:
    rules, background = of_corpus(name)
    text = torch_state_bridge.render(rules, background)
    assert bridged(text, background.keys) == {key: rules.rename(key) for key in background.keys}
