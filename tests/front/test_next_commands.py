"""The commands under "next" can be pasted: what was said to get the report is in them."""

from __future__ import annotations

import shlex
from pathlib import Path

import torch
from torch import nn

import automatch
from automatch.cli import main

MODEL = """
from torch import nn
def build(width=4): return nn.ModuleDict({"inner": nn.Linear(int(width), 3), "last": nn.Linear(3, 3)})
"""


def test_what_was_said_is_in_the_commands(tmp_path: Path, capsys) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    old = {
        "old.weight": torch.ones(3, 6),
        "old.bias": torch.ones(3),
        "end.weight": torch.ones(3, 3),
        "end.bias": torch.ones(3),
    }
    torch.save({"model": {"x": torch.zeros(2)}, "ema": old}, tmp_path / "c.pth")
    sources = [str(tmp_path / "c.pth"), f"{tmp_path / 'model.py'}:build"]
    said = ["--at", "ema", "--pin", "old.weight=inner.weight", "--pin", "end.weight=last.weight"]
    assert main([*sources, *said, "--model-args", "width=6"]) == 0
    printed = capsys.readouterr().out
    command = next(line.strip() for line in printed.splitlines() if "--format json" in line)
    first, second = command.replace("OUT", str(tmp_path / "new.pth")).split(" && ")
    rules = str(tmp_path / "rules.json")
    assert main([word if word != "rules.json" else rules for word in shlex.split(first)[1:]]) == 0
    assert main([word if word != "rules.json" else rules for word in shlex.split(second)[1:]]) == 0
    new = torch.load(tmp_path / "new.pth", weights_only=True)
    assert list(new["ema"]) == ["inner.weight", "inner.bias", "last.weight", "last.bias"]
    load = next(line.strip() for line in printed.splitlines() if "automatch.load(" in line)
    model = nn.ModuleDict({"inner": nn.Linear(6, 3), "last": nn.Linear(3, 3)})
    exec(load, {"automatch": automatch, "model": model})
    assert torch.equal(model["inner"].weight, old["old.weight"])


def test_options_of_a_comparison_are_refused_for_finished_rules(tmp_path: Path, capsys) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text('[{"pattern": "a", "replacement": "b"}]')
    for said in (["--pin", "a=b"], ["--by", "name"], ["--values"], ["--at", "model"]):
        assert main(["rules", str(rules), *said]) == 2
        assert said[0] in capsys.readouterr().err
    assert main(["rules", str(rules)]) == 0


def test_rules_for_a_part_say_that_something_is_left(tmp_path: Path, capsys) -> None:
    keys = '{"keys": [["%s.weight", [3, 6], "float32"], ["%s.bias", [3], "float32"]%s]}'
    old, new = tmp_path / "old.keys.json", tmp_path / "new.keys.json"
    old.write_text(keys % ("a", "a", ""))
    new.write_text(keys % ("b", "b", ', ["head.weight", [9, 9], "float32"]'))
    assert main(["rules", str(old), str(new), "--dialect", "python"]) == 1
    assert "missing" in capsys.readouterr().err
