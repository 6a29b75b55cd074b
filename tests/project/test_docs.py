"""The pages of docs/ say what is true: their examples run, their fields are the real ones."""

import json
import re
from pathlib import Path

import torch

import automatch
from automatch import RuleSet

DOCS = Path(__file__).parents[2] / "docs"


def json_blocks(page: str) -> list:
    return [
        json.loads(b) for b in re.findall(r"```json\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    ]


def test_the_rules_of_the_page_do_what_it_says() -> None:
    renames, concat = json_blocks("rules.md")
    rules = RuleSet.from_list(renames)
    assert rules.rename("h.3.ln_1.weight") == "h.3.norm0.weight"
    assert rules.rename("other.h.3.ln_1.weight") == "other.h.3.ln_1.weight"
    parts = {f"layers.0.attn.{part}_proj.weight": torch.full((1, 2), i) for i, part in enumerate("qkv")}
    joined = RuleSet.from_list([concat]).apply(dict(reversed(parts.items())))
    assert joined["layers.0.attn.qkv.weight"].tolist() == [[0, 0], [1, 1], [2, 2]]


def write_keys(path: Path, entries: list) -> Path:
    path.write_text(json.dumps({"keys": entries}))
    return path


def diagnosed(folder: Path, checkpoint: dict, model: dict) -> dict:
    sides = []
    for name, entries in (("checkpoint", checkpoint), ("model", model)):
        sides.append(folder / f"{name}.keys.json")
        sides[-1].write_text(json.dumps({"keys": [[key, shape, "float32"] for key, shape in entries.items()]}))
    return automatch.diagnose(*sides).to_dict()


def test_the_diagnosis_has_the_fields_of_the_page(tmp_path) -> None:
    page = json_blocks("json.md")[0]
    body = {"body.weight": [4, 4], "body.bias": [4], "norm.weight": [4], "norm.bias": [4]}
    renamed = diagnosed(tmp_path, {f"module.{key}": shape for key, shape in body.items()}, body)
    resized = diagnosed(tmp_path, {**body, "fc.weight": [1000, 4]}, {**body, "fc.weight": [10, 4]})
    for found in (renamed, resized):
        assert set(page) == set(found)
        assert set(page["checkpoint"]) == set(found["checkpoint"]) and set(page["proof"]) == set(found["proof"])
        assert found["schema"] == page["schema"]
    assert set(page["matches"][0]) <= set(renamed["matches"][0])
    assert set(page["rules"][0]) <= set(renamed["rules"][0])
    assert [set(page["mismatched_keys"][0])] == [set(pair) for pair in resized["mismatched_keys"]]


def test_the_explanation_has_the_fields_of_the_page() -> None:
    page = json_blocks("json.md")[1]
    text = (
        "RuntimeError: Error(s) in loading state_dict for Net:\n"
        "\tsize mismatch for fc.weight: copying a param with shape torch.Size([1000, 4]) from checkpoint, "
        "the shape in current model is torch.Size([10, 4])."
    )
    found = automatch.explain(text).to_dict()
    assert set(page) == set(found)
    assert found["mismatched_keys"] == [{"key": "fc.weight", "checkpoint_shape": [1000, 4], "model_shape": [10, 4]}]
    assert set(page["mismatched_keys"][0]) == set(found["mismatched_keys"][0])


def test_the_key_list_of_the_page_is_read(tmp_path) -> None:
    (tmp_path / "page.keys.json").write_text(json.dumps(json_blocks("json.md")[2]))
    found = automatch.diagnose(tmp_path / "page.keys.json", tmp_path / "page.keys.json")
    assert [match.model_keys for match in found.matches] == [("features.conv0.weight",), ("features.norm0.weight",)]
