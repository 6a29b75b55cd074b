"""Rules files in JSON and YAML: what is written is read again, and a person's own are read as they were meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import automatch
from automatch.cli import main
from automatch.errors import InputError, RuleError
from automatch.exporting.background import Background
from automatch.exporting.dialects import json_rules, yaml_rules
from automatch.rules.replacement import quote
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet
from automatch.rules.yaml_text import read_yaml

QKV = Rule(
    r"(?P<a>layers\.\d+)\.(?P<part>q|k|v)\.w", "{a}.qkv", op="concat", part="part", dim=0, hits=6, note="it's q, k: v"
)
EVERYTHING = RuleSet(
    (
        QKV,
        Rule("a", ("b", "c"), op="chunk", dim=1, sizes=(2, 1)),
        Rule("x", "y", op="reshape", shape=(0, -1)),
        Rule("m", "n", op="concat", part=(0, 2), dim=0, ambiguous=1),
    ),
    tied=(("wte", "head"),),
    undecided=("m",),
    doubles=(("second", "first"),),
)


def read(dialect, text: str) -> RuleSet:
    if dialect is json_rules:
        return RuleSet.from_json(text)
    return RuleSet.from_document(read_yaml(text))


@pytest.mark.parametrize("dialect", [json_rules, yaml_rules])
def test_nothing_is_lost(dialect) -> None:
    background = Background(keys=("layers.0.q.w", "m"), checkpoint="C:\\old\n#.pth", model="Net", at="ema: 'x'")
    text = dialect.render(EVERYTHING, background)
    assert text.isascii() and read(dialect, text) == EVERYTHING
    assert read(dialect, dialect.render(RuleSet())) == RuleSet()


texts = st.text(max_size=12) | st.text("'\"\\:#-{}[]!&*?|> \t\n\x00\x85\u2028\U0001f600éN0e~,", max_size=8)


@pytest.mark.parametrize("dialect", [json_rules, yaml_rules])
@given(st.lists(st.tuples(texts, texts, texts), max_size=3))
def test_any_text_survives(dialect, rows) -> None:
    import re

    rules = RuleSet(tuple(Rule(re.escape(key), quote(name), note=note) for key, name, note in rows))
    assert read(dialect, dialect.render(rules)) == rules


def test_a_yaml_file_is_a_document_to_review() -> None:
    keys = tuple(f"layers.{i}.{p}.w" for i in range(2) for p in "qkv")
    background = Background(keys=keys, checkpoint="old.pth", model="Net", at="ema", proven=True)
    assert (
        yaml_rules.render(RuleSet((QKV,)), background)
        == r"""# A proposal of automatch, old.pth for Net: read it before use.
# The state_dict that it is for stands at 'ema' in the file.
# Replayed on 6 checkpoint keys: each goes where the match table says, no other key moves, no two become one.
# A rule sees the whole original key; the first that matches wins; keys that none matches stay.
checkpoint:
  name: 'old.pth'
  at: 'ema'
model:
  name: 'Net'
rules:
  # concat, 6 keys: layers.#.q.w (2), layers.#.k.w (2), layers.#.v.w (2); it's q, k: v
  - pattern: '(?P<a>layers\.\d+)\.(?P<part>q|k|v)\.w'
    replacement: '{a}.qkv'
    op: 'concat'
    hits: 6
    part: 'part'
    dim: 0
    note: 'it''s q, k: v'
"""
    )


def test_what_a_person_writes_is_read_as_it_was_meant() -> None:
    rules = RuleSet.from_document(
        read_yaml(r"""
# without quotes
- pattern: h\.(?P<n>\d+)\.(?P<rest>.+)   # no comma needed
  replacement: "blocks.{n}.{rest}"
- {pattern: 007, replacement: no}
- pattern: 1e5
  replacement: >-
    yes
""")
    )
    assert [(rule.pattern, rule.replacement) for rule in rules] == [
        (r"h\.(?P<n>\d+)\.(?P<rest>.+)", "blocks.{n}.{rest}"),
        ("007", "no"),
        ("1e5", "yes"),
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- &a {pattern: x, replacement: y}\n- *a", "an anchor or a reference in line 1"),
        ("- !!python/name:os.system x", "a tag in line 1"),
        ("- pattern: a\n  pattern: b\n  replacement: c", "'pattern' twice, again in line 2"),
        ("- pattern: [", "not YAML"),
        ("---\n[]\n---\n[]", "not YAML"),
        ("- ? [a]\n  : b", "no text in line 1"),
        ("[" * 100_000, "nested more than 20 deep"),
        ("a: \x07", "not YAML"),
        ("- pattern: 5\n  replacement: a", 'rule 1: "pattern" is not a text'),
        ("", "neither a list of rules nor"),
        ("tied: [[a]]\nrules: []", '"tied" is not a list of pairs'),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text, sentence) -> None:
    with pytest.raises(RuleError, match=sentence) as error:
        RuleSet.from_document(read_yaml(text))
    assert "\n" not in str(error.value)


def test_without_pyyaml_the_sentence_says_how_to_get_it(monkeypatch) -> None:
    import builtins

    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "yaml":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="pip install pyyaml"):
        read_yaml("[]")


@pytest.mark.parametrize("name", ["rules.yaml", "rules.YML", "rules.json"])
def test_a_rules_file_is_applied(name, tmp_path, capsys) -> None:
    save_file({"module.fc.weight": torch.arange(4.0)}, tmp_path / "old.safetensors")
    save_file({"fc.weight": torch.zeros(4)}, tmp_path / "model.safetensors")
    old, model, rules, new = (
        str(tmp_path / f) for f in ("old.safetensors", "model.safetensors", name, "new.safetensors")
    )
    dialect = Path(name).suffix.lower()[1:].replace("yml", "yaml")
    assert main(["rules", old, model, "-o", rules] + (["--dialect", "yaml"] if dialect == "yaml" else [])) == 0
    assert main(["apply", rules, old, new]) == 0
    assert load_file(new)["fc.weight"].tolist() == [0, 1, 2, 3]
    assert main(["rules", rules, "--dialect", "python"]) == 0
    assert "Not proven on any checkpoint" in capsys.readouterr().out
    assert main(["rules", rules, "--dialect", "mmengine", "--keys", old]) == 0
    assert "Replayed on 1 checkpoint key" in capsys.readouterr().out


def test_the_json_of_a_diagnosis_knows_the_keys(tmp_path) -> None:
    old, new = {"a.w": torch.zeros(2), "odd": torch.zeros(9)}, {"b.w": torch.zeros(2)}
    found = automatch.diagnose(old, new, pin={"a.w": "b.w"})
    (tmp_path / "rules.json").write_text(found.to_json(), encoding="utf-8")
    text = automatch.export(tmp_path / "rules.json", "mmengine")
    assert "Replayed on 2 checkpoint keys" in text
    assert json.loads(found.export("json"))["rules"] == found.to_dict()["rules"]


@pytest.mark.parametrize("dialect", ["yaml", "python", "hook", "mmengine", "torch-state-bridge"])
@pytest.mark.parametrize("reverse", [[], ["--reverse"]])
def test_rules_that_take_no_key_of_the_file_are_not_replayed_on_it(dialect, reverse, tmp_path, capsys) -> None:
    rules, keys = tmp_path / "rules.json", tmp_path / "other.keys.json"
    rules.write_text(json.dumps(RuleSet((Rule(r"encoder\.(?P<a>.+)", "enc.{a}"),)).to_list()))
    keys.write_text(json.dumps({"keys": [["decoder.weight", [2], "float32"], ["decoder.bias", [2], "float32"]]}))
    assert main(["rules", str(rules), "--keys", str(keys), "--dialect", dialect, *reverse]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "no rule takes any of its 2 keys" in printed.err
