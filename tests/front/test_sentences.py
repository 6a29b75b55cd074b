"""Errors of other libraries inside ours: no colours, no unsafe advice, no half words; and the usual slips are named."""

from pathlib import Path

import pytest
import torch
from torch import nn

import automatch
from automatch.cli import main
from automatch.errors import quoted


class Unknown:
    """A class that the safe loader does not take."""


def test_what_torch_says_is_quoted_without_colours_and_unsafe_advice(tmp_path) -> None:
    torch.save({"w": torch.zeros(2), "x": Unknown()}, tmp_path / "a.pt")
    with pytest.raises(Exception, match="weights_only") as raised:
        torch.load(tmp_path / "a.pt", weights_only=True)
    text = quoted(raised.value)
    assert text and "\x1b" not in text and "weights_only" not in text and "two options" not in text
    assert quoted(ValueError("word " * 100)).endswith("word ...")
    assert quoted(ValueError()) == "ValueError"


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_with_an_unknown_class_says_which(zipped, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.zeros(2), "x": Unknown()}, "a.pt", _use_new_zipfile_serialization=zipped)
    Path("rules.json").write_text('[{"pattern": "w", "replacement": "v"}]')
    assert main(["apply", "rules.json", "a.pt", "b.pt"]) == 2
    err = capsys.readouterr().err
    assert "Unknown" in err and "x1b" not in err and "weights_only=False" not in err


def test_usual_slips(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(nn.Linear(2, 2).state_dict(), "a.pt")
    assert main(["torch.nn:Linear", "a.pt"]) == 2
    assert "checkpoint first" in capsys.readouterr().err
    assert main(["a.pt", "nofile.py:x"]) == 2
    assert capsys.readouterr().err.count("nofile.py") == 1
    with pytest.raises(automatch.InputError, match=r"class.*Linear\(\.\.\.\)"):
        automatch.diagnose("a.pt", nn.Linear)
    with pytest.raises(automatch.InputError, match="class"):
        automatch.diagnose(nn.Linear, "a.pt")


def test_more_usual_slips(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(nn.Linear(2, 2).state_dict(), "a.pt")
    Path("net.py").write_text("def build():\n    pass\n")
    Path("rules.yaml").write_text('- pattern: "a\\.b"\n  replacement: c\n')
    for argv, said in (
        (["a.pt", "net.py"], "net.py: a program, not a checkpoint; name what builds the model in it, as net.py:Net"),
        (["https://example.com/a.pt", "a.pt"], "no network is opened, download it first"),
        (["a.pt", "torch.nn:Linear(in_features=2)", "--model-args", "in_features=3"], "in_features is given twice"),
        (["rules", "a.pt"], "a checkpoint comes with a model"),
        (["apply", "rules.yaml", "a.pt", "b.pt"], "line 1: found unknown escape character '.'; in single quotes"),
    ):
        assert main(argv) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(automatch.InputError, match=r"the model comes first, load\(model, checkpoint\)"):
        automatch.load("a.pt", nn.Linear(2, 2))


def test_values_that_decide_nothing_are_told() -> None:
    twins = {"a.weight": torch.ones(3), "b.weight": torch.ones(3)}
    found = automatch.diagnose(twins, {"x.weight": torch.ones(3), "y.weight": torch.ones(3)}, values=True)
    assert "values: those of 2 ambiguous matches were held against the model's; 0 decided" in found.assignment.notes


def test_a_missing_file_is_said_before_a_model_is_built(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("def build():\n    raise SystemExit('built')\n")
    with pytest.raises(automatch.InputError, match=r"nowhere\.pth: no such file"):
        automatch.diagnose("nowhere.pth", "net.py:build")
