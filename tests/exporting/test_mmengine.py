"""What is pasted as `revise_keys` is loaded by mmengine itself."""

from __future__ import annotations

import re
import sys
from collections import OrderedDict
from importlib.util import find_spec
from unittest.mock import MagicMock, patch

import pytest
import torch
from hypothesis import assume, given, settings

import automatch
from automatch.errors import RuleError
from automatch.exporting.background import Background
from automatch.exporting.dialects import mmengine
from automatch.exporting.renames import other_numbers
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet
from tests.exporting.random_rules import rules_on_keys
from tests.exporting.rule_cases import BY_HAND, CORPUS_CASES, of_corpus

# mmengine-lite is mmengine without what it draws with. Its loader draws nothing, but stands beside modules that do.
DRAWING = ("cv2", "matplotlib", "matplotlib.figure", "matplotlib.pyplot", "matplotlib.backends.backend_agg")


@pytest.fixture(scope="module")
def checkpoints():
    absent = [name for name in DRAWING if name not in sys.modules and find_spec(name.partition(".")[0]) is None]
    sys.modules.update((name, MagicMock()) for name in absent)
    try:
        return pytest.importorskip("mmengine.runner.checkpoint")
    finally:
        for name in absent:
            del sys.modules[name]


def revise_keys(rules: RuleSet, background: Background) -> list[tuple[str, str]]:
    text = mmengine.render(rules, background)
    assert text.isascii()
    names: dict = {}
    exec(text, names)
    return names["revise_keys"]


def loaded_keys(checkpoints, keys, revise) -> dict[str, str]:
    """What mmengine makes of every key; a key that is lost is missing."""
    got = {}
    with patch.object(checkpoints, "load_state_dict", lambda model, state_dict, strict, logger: got.update(state_dict)):
        checkpoints._load_checkpoint_to_model(None, OrderedDict((key, key) for key in keys), revise_keys=revise)
    return {key: name for name, key in got.items()}


@given(rules_on_keys())
@settings(max_examples=100, deadline=None)
def test_mmengine_does_what_the_rules_do(checkpoints, case) -> None:
    rules, background = case
    revise = revise_keys(rules, background)
    assert loaded_keys(checkpoints, background.keys, revise) == {key: rules.rename(key) for key in background.keys}


def test_a_file_is_loaded_into_the_model(checkpoints, tmp_path) -> None:
    old = torch.nn.ModuleDict({"h": torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 4))})
    moved = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(3, 3), torch.nn.Linear(3, 4))
    new = torch.nn.ModuleDict({"blocks": moved})
    torch.save(old.state_dict(), tmp_path / "old.pth")
    names: dict = {}
    exec(automatch.diagnose(tmp_path / "old.pth", new).export("mmengine"), names)
    checkpoints.load_checkpoint(new, str(tmp_path / "old.pth"), strict=True, revise_keys=names["revise_keys"])
    for ours, theirs in zip(moved[1:], old["h"], strict=True):
        assert torch.equal(ours.weight, theirs.weight) and torch.equal(ours.bias, theirs.bias)


LAYERS = r"layers\.(?P<i>\d+)\."


@pytest.mark.parametrize(
    ("rules", "keys", "entries"),
    [
        (RuleSet((Rule(LAYERS + "w", "blocks.{i}.w"),)), None, [(r"^layers\.(?P<i>\d+)\.w$", r"blocks.\g<i>.w")]),
        # one at a time, from the last to the first: none takes what the one before it made
        (
            RuleSet((Rule(LAYERS + "w", "layers.{i+1}.w"),)),
            ("layers.0.w", "layers.1.w"),
            [(r"^layers\.1\.w$", "layers.2.w"), (r"^layers\.0\.w$", "layers.1.w")],
        ),
        # no order does it
        (
            RuleSet((Rule("q", "k"), Rule("k", "q"))),
            ("q", "k"),
            [("^q$", "->k"), ("^k$", "->q"), ("^->", "")],
        ),
    ],
    ids=["as it stands", "moved by one", "exchanged"],
)
def test_what_is_written(rules, keys, entries) -> None:
    assert revise_keys(rules, Background(keys=keys)) == entries


@pytest.mark.parametrize(
    ("rule", "keys", "why"),
    [
        (Rule(LAYERS + "w", "l.{i}", op="transpose"), ("layers.0.w",), "its operation is transpose"),
        (Rule(LAYERS + "w", "l.{i+1}.w"), None, "cannot calculate and no keys are known"),
        (Rule("(?i)layers", "l"), ("LAYERS",), "its flags"),
    ],
)
def test_what_is_refused(rule, keys, why) -> None:
    with pytest.raises(RuleError, match=f"cannot say rule 1 .*{why}.*; use --dialect python"):
        revise_keys(RuleSet((rule,)), Background(keys=keys))


@pytest.mark.parametrize("name", BY_HAND)
def test_rules_by_hand(checkpoints, name) -> None:
    rules, keys = BY_HAND[name]
    revise = revise_keys(rules, Background(keys=keys))
    assert loaded_keys(checkpoints, keys, revise) == {key: rules.rename(key) for key in keys}


@pytest.mark.parametrize("name", CORPUS_CASES[::3])
def test_rules_of_real_checkpoints(checkpoints, name) -> None:
    rules, background = of_corpus(name)
    revise = revise_keys(rules, background)
    assert loaded_keys(checkpoints, background.keys, revise) == {key: rules.rename(key) for key in background.keys}


@given(rules_on_keys())
@settings(deadline=None)
def test_it_holds_for_deeper_models_where_nothing_is_calculated(checkpoints, case) -> None:
    rules, background = case
    assume(not re.search(r"\{[^}]*[-+*/%]", " ".join(str(rule.replacement) for rule in rules)))
    revise = revise_keys(rules, background)
    for key in other_numbers(background.keys):
        assert loaded_keys(checkpoints, [key], revise) == {key: rules.rename(key)}


def test_what_it_cannot_say_beside_the_rules_is_a_comment() -> None:
    rules = RuleSet((Rule("a", "wte"),), tied=(("wte", "head"),), undecided=("a", "b", "c", "d"))
    text = mmengine.render(rules, Background(keys=("a", "b", "c", "d")))
    assert "# Not said here: head gets the tensor of wte too" in text
    assert "a guess: a, b, c and 1 more" in text


@given(rules_on_keys())
@settings(deadline=None)
def test_without_keys_it_holds_for_every_key(checkpoints, case) -> None:
    rules, background = case
    try:
        revise = revise_keys(rules, Background())
    except RuleError as error:
        assert "cannot calculate" in str(error)
        return
    assert loaded_keys(checkpoints, background.keys, revise) == {key: rules.rename(key) for key in background.keys}
