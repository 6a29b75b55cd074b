"""What the evidence does not decide is never written without a word."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

import automatch
from automatch.cli import main


@pytest.fixture
def undecided(tmp_path, monkeypatch) -> automatch.Diagnosis:
    """Three tensors of one shape for two places, under names that say nothing."""
    monkeypatch.chdir(tmp_path)
    save_file({key: torch.full((3,), i) for i, key in enumerate("abc")}, "in.safetensors")
    found = automatch.diagnose("in.safetensors", {key: torch.zeros(3) for key in "xy"})
    (tmp_path / "whole.json").write_text(found.to_json())
    (tmp_path / "list.json").write_text(json.dumps(found.to_dict()["rules"]))
    return found


def test_the_rules_say_how_many_of_their_hits_are_guesses(undecided) -> None:
    guessed = [key for match in undecided.doubtful for key in match.checkpoint_keys]
    assert sum(rule["ambiguous"] for rule in undecided.to_dict()["rules"]) == len(guessed) == 2
    assert undecided.rules.undecided == tuple(guessed)
    assert automatch.RuleSet.from_json(undecided.to_json()) == undecided.rules


@pytest.mark.parametrize("rules", ["whole.json", "list.json"])
def test_apply_refuses_a_guess_unless_it_is_wanted(rules, undecided, tmp_path, capsys) -> None:
    assert main(["apply", rules, "in.safetensors", "out.safetensors"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "--ambiguous" in line and "ambiguous=True" in line and "in.safetensors" in line
    assert not (tmp_path / "out.safetensors").exists()
    with pytest.raises(automatch.NotProvenError, match="ambiguous"):
        automatch.convert(rules, "in.safetensors", "out.safetensors")
    assert main(["apply", rules, "in.safetensors", "out.safetensors", "--ambiguous"]) == 0
    assert set(load_file("out.safetensors")) >= {"x", "y"}


def test_python_hears_a_warning_and_the_snippet_names_them(undecided) -> None:
    given = load_file("in.safetensors")
    with pytest.warns(UserWarning, match="guess"):
        undecided.rules.apply(given)
    names: dict = {}
    exec(undecided.to_python(), names)
    assert names["AMBIGUOUS"] == list(undecided.rules.undecided)
    assert re.search(r"# rename, 1 key, 1 of them a guess", undecided.to_python())
    with pytest.warns(UserWarning, match="guess"):
        expected = undecided.rules.apply(given)
    assert list(names["convert"](given)) == list(expected)


def test_what_is_decided_is_written_without_ado(undecided, recwarn) -> None:
    decided = automatch.diagnose("in.safetensors", {key: torch.zeros(3) for key in "xy"}, pin=[("c", "x"), ("a", "y")])
    assert "ambiguous" not in json.dumps(decided.to_dict()["rules"])
    assert "AMBIGUOUS" not in decided.to_python()
    decided.rules.apply(load_file("in.safetensors"))
    assert not recwarn.list
    automatch.convert(decided.rules, "in.safetensors", "out.safetensors")
