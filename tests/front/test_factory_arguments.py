"""Arguments for a factory, wherever they stand on the command line."""

import json

import pytest
import torch
from torch import nn

from automatch.cli import main

ARGS = ["--model-args", "3", "out_features=2"]


@pytest.mark.parametrize(
    "argv",
    [
        ["a.pt", "torch.nn:Linear", *ARGS],
        [*ARGS, "a.pt", "torch.nn:Linear"],
        ["diagnose", *ARGS, "a.pt", "torch.nn:Linear"],
        ["a.pt", *ARGS, "torch.nn:Linear"],
        ["a.pt", *ARGS, "--by", "all", "torch.nn:Linear"],
        [*ARGS, "--quiet", "a.pt", "torch.nn:Linear"],
        ["--model-args", "3", "--quiet", "--model-args", "out_features=2", "a.pt", "torch.nn:Linear"],
    ],
    ids=" ".join,
)
def test_they_may_stand_anywhere(argv, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(nn.Linear(3, 2).state_dict(), "a.pt")
    assert main(argv) == 0


NEGATIVE = ["--model-args", "1", "-1"]


@pytest.mark.parametrize(
    "argv", [["a.pt", "net.py:build", *NEGATIVE], ["a.pt", *NEGATIVE, "net.py:build"]], ids=" ".join
)
def test_a_number_below_zero_is_an_argument(argv, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("from torch import nn\ndef build(a, b):\n    return nn.Linear(3 * a, 1 - b)\n")
    torch.save(nn.Linear(3, 2).state_dict(), "a.pt")
    assert main(argv) == 0


@pytest.mark.parametrize("argv", [["torch.nn:Linear", *ARGS], [*ARGS, "torch.nn:Linear"]], ids=" ".join)
def test_keys_of_a_factory(argv, capsys) -> None:
    assert main(["keys", *argv]) == 0
    assert json.loads(capsys.readouterr().out)["keys"] == [["weight", [2, 3], "float32"], ["bias", [2], "float32"]]
