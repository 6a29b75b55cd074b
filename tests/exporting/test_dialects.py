"""A dialect is one file and one name in the tuple: the command line asks the tuple."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import automatch
from automatch.cli import main
from automatch.exporting import dialects
from automatch.exporting.dialects import DIALECTS
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet


@pytest.fixture
def sides(tmp_path) -> list[str]:
    for name, keys in (("old", ["base_model.module.w"]), ("new", ["base_model.w"])):
        (tmp_path / f"{name}.keys.json").write_text(json.dumps({"keys": [[key, [2], "float32"] for key in keys]}))
    return [str(tmp_path / "old.keys.json"), str(tmp_path / "new.keys.json")]


def test_the_command_line_writes_every_dialect_of_the_tuple(sides, monkeypatch, capsys) -> None:
    def render(rules, background) -> str:
        return f"{len(background.keys)} key: " + "\n".join(f"{r.pattern} -> {r.replacement}" for r in rules)

    sed = SimpleNamespace(NAME="sed", DESCRIPTION="lines for sed", render=render)
    monkeypatch.setattr(dialects, "DIALECTS", (*dialects.DIALECTS, sed))
    assert main(["rules", *sides, "--dialect", "sed"]) == 0
    assert capsys.readouterr().out == "1 key: base_model\\.module\\.w -> base_model.w\n"
    for option in ("--help", "--list"):
        with pytest.raises(SystemExit) as stop:
            main(["rules", option])
        assert not stop.value.code
        assert "lines for sed" in capsys.readouterr().out


@pytest.mark.parametrize("name", [dialect.NAME for dialect in DIALECTS])
def test_every_dialect_is_a_line_of_the_list_and_says_that_it_is_a_proposal(name, sides, capsys) -> None:
    assert main(["rules", *sides, "--dialect", name]) == 0
    text = capsys.readouterr().out
    assert "A proposal of automatch" in text and "Replayed on 1 checkpoint key" in text
    assert main(["rules", *sides, "--dialect", name]) == 0
    assert capsys.readouterr().out == text
    with pytest.raises(SystemExit):
        main(["rules", "--list"])
    assert [line for line in capsys.readouterr().out.splitlines() if line.split()[0] == name and len(line) < 120]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["OLD", "NEW", "--keys", "OLD", "--dialect", "json"], "--keys is for rules from a file"),
        (["NOWHERE"], "NOWHERE: cannot be read"),
        (["MOVED", "--dialect", "mmengine"], "cannot say rule 1 .*no keys are known"),
        (["CUT", "--keys", "OLD"], "both become 'w'"),
        (["OLD", "NEW", "-o", "OLD"], "is the input itself"),
        (["CUT", "-o", "CUT"], "is the input itself"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence, sides, tmp_path, capsys) -> None:
    (tmp_path / "old.keys.json").write_text('{"keys": [["w", [2], "float32"], ["module.w", [2], "float32"]]}')
    files = {"OLD": sides[0], "NEW": sides[1], "NOWHERE": str(tmp_path / "NOWHERE")}
    for name, rule in (("CUT", (r"module\.(?P<w>.+)", "{w}")), ("MOVED", (r"l(?P<n>\d+)", "l{n+1}"))):
        files[name] = str(tmp_path / f"{name}.json")
        Path(files[name]).write_text(json.dumps([dict(zip(("pattern", "replacement"), rule, strict=True))]))
    assert main(["rules", *(files.get(word, word) for word in arguments)]) == 2
    error = capsys.readouterr().err
    assert re.search(sentence, error) and error.count("\n") == 1


def test_in_python(sides) -> None:
    diagnosis = automatch.diagnose(*sides)
    for dialect in DIALECTS:
        text = diagnosis.export(dialect.NAME)
        assert automatch.export(diagnosis, dialect.NAME) == text
        assert "module" in automatch.export(diagnosis.rules, dialect.NAME, keys=sides[0])
    with pytest.raises(automatch.InputError, match="'sed' is no dialect; choose one of yaml, json, python"):
        automatch.export(diagnosis, "sed")


def test_the_way_back_is_written_too(tmp_path, capsys) -> None:
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    parts = {f"h.{i}.{part}.w": torch.full((2, 3), 3.0 * i + n) for i in range(2) for n, part in enumerate("qkv")}
    save_file(parts, old)
    rule = Rule(r"(?P<a>h\.\d+)\.(?P<part>q|k|v)\.w", "{a}.qkv.w", op="concat", part="part", dim=0)
    (tmp_path / "rules.json").write_text(json.dumps([rule.to_dict()]))
    save_file(RuleSet((rule,)).apply(parts), new)
    arguments = ["rules", str(tmp_path / "rules.json"), "--keys", str(old), "--dialect", "python"]
    names: list[dict] = [{}, {}]
    for name, more in zip(names, ([], ["--reverse"]), strict=True):
        assert main([*arguments, *more]) == 0
        exec(capsys.readouterr().out, name)
    assert list(names[0]["convert"](parts)) == ["h.0.qkv.w", "h.1.qkv.w"]
    back = names[1]["convert"](load_file(new))
    assert set(back) == set(parts) and all(torch.equal(back[key], parts[key]) for key in parts)
    assert main([*arguments[:2], "--dialect", "python", "--reverse"]) == 2
    assert "rule 1: joins tensors, whose sizes it does not say" in capsys.readouterr().err


def test_rules_that_do_not_carry_the_keys_are_not_written(tmp_path, capsys) -> None:
    rule = Rule(r"(?P<part>q|k|v)\.w", "qkv.w", op="concat", part="part", dim=0)
    (tmp_path / "rules.json").write_text(json.dumps([rule.to_dict()]))
    save_file({"q.w": torch.zeros(2), "v.w": torch.zeros(2)}, tmp_path / "old.safetensors")
    arguments = ["rules", str(tmp_path / "rules.json"), "--keys", str(tmp_path / "old.safetensors")]
    assert main(arguments) == 2
    assert "the rules do not carry every key: 'qkv.w' cannot be made" in capsys.readouterr().err


def test_the_exit_code_is_that_of_diagnose(tmp_path, capsys) -> None:
    body = {f"blocks.{i}.w": torch.zeros(4, i + 2) for i in range(4)}
    save_file({f"module.{key}": tensor for key, tensor in body.items()}, tmp_path / "old.safetensors")
    save_file({**body, "head.w": torch.zeros(9)}, tmp_path / "new.safetensors")
    arguments = ["rules", str(tmp_path / "old.safetensors"), str(tmp_path / "new.safetensors")]
    assert main([*arguments, "-o", str(tmp_path / "convert.py")]) == 1
    assert capsys.readouterr().out == ""
    names: dict = {}
    exec((tmp_path / "convert.py").read_text(), names)
    assert set(names["convert"](load_file(tmp_path / "old.safetensors"))) == set(body)
