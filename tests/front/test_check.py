"""`automatch check`: exit 0 while kept rules still carry a checkpoint onto a model, else 1 with the difference."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import automatch
from automatch.cli import main

DOCS = Path(__file__).parents[2] / "docs"
OLD = {
    "module.conv.weight": [4, 3, 3, 3],
    "module.norm.weight": [4],
    "module.norm.num_batches_tracked": [],
    "fc.weight": [2, 4],
}
NEW = {"stem.conv.weight": [4, 3, 3, 3], "stem.norm.weight": [4], "fc.weight": [2, 4]}
RULE = {"pattern": r"module\.(?P<rest>.+)", "replacement": "stem.{rest}"}


def keys(path: Path, entries: dict) -> str:
    path.write_text(json.dumps({"keys": [[key, shape, "float32"] for key, shape in entries.items()]}))
    return str(path)


def check(folder: Path, rules: list, old: dict = OLD, new: dict = NEW, **options) -> automatch.Checked:
    (folder / "rules.json").write_text(json.dumps(rules))
    sides = keys(folder / "old.keys.json", old), keys(folder / "new.keys.json", new)
    return automatch.check(folder / "rules.json", *sides, **options)


def test_rules_that_carry_everything(tmp_path) -> None:
    found = check(tmp_path, [RULE])
    assert (found.complete, found.exit_code) == (True, 0)
    assert (found.hits, found.dead, found.untouched) == ((3,), (), ("fc.weight",))
    assert list(found.harmless) == ["module.norm.num_batches_tracked"]
    assert found.verdict == "3 of 3 model keys carried by 1 rule; 1 key left over, harmless"
    assert "taken by no rule, they keep their names: 1 key" in str(found)


@pytest.mark.parametrize(
    ("rules", "old", "new", "field", "what", "said"),
    [
        ([], OLD, NEW, "missing_keys", ["stem.conv.weight", "stem.norm.weight"], "2 missing, 2 left over"),
        ([RULE], OLD, {**NEW, "fc.bias": [2]}, "missing_keys", ["fc.bias"], "1 missing"),
        (
            [RULE],
            {**OLD, "module.extra": [1]},
            NEW,
            "unexpected_keys",
            [{"key": "stem.extra", "checkpoint_key": "module.extra"}],
            "{module => stem}.extra",
        ),
        (
            [RULE],
            OLD,
            {**NEW, "fc.weight": [3, 4]},
            "mismatched_keys",
            [{"key": "fc.weight", "checkpoint_key": "fc.weight", "checkpoint_shape": [2, 4], "model_shape": [3, 4]}],
            "[2, 4] => [3, 4]",
        ),
        (
            [RULE],
            {**OLD, "stem.norm.weight": [4]},
            NEW,
            "collisions",
            ["'module.norm.weight' and 'stem.norm.weight' both become 'stem.norm.weight'"],
            "1 colliding",
        ),
        (
            [{"pattern": r"module\.(?P<a>\w+)\.(?P<b>\w+)", "replacement": "stem.{a+1}.{b}"}],
            OLD,
            NEW,
            "faults",
            3,
            "calculates with 'a'",
        ),
        (
            [{"pattern": r"(?P<part>q|k|v)\.w", "replacement": "qkv.w", "op": "concat", "part": "part", "dim": 0}],
            {"q.w": [2, 2], "v.w": [2, 2]},
            {"qkv.w": [6, 2]},
            "faults",
            ["'qkv.w' cannot be made: it is made of 3 tensors, and only 2 are there ('q.w', 'v.w')"],
            "1 that cannot be carried",
        ),
    ],
    ids=["nothing", "missing", "left over", "shape", "collision", "arithmetic", "group"],
)
def test_what_is_wrong_is_named(tmp_path, rules, old, new, field, what, said) -> None:
    found = check(tmp_path, rules, old, new)
    assert (found.complete, found.exit_code) == (False, 1)
    value = found.to_dict()[field]
    assert (len(value) if isinstance(what, int) else value) == what
    assert said in str(found)


def test_a_dead_rule_is_named_and_fails_where_asked(tmp_path) -> None:
    rules = [RULE, {"pattern": "gone", "replacement": "x"}]
    found = check(tmp_path, rules)
    assert (found.dead, found.exit_code) == ((2,), 0)
    assert "gone => x   DEAD: takes no key" in str(found)
    strict = check(tmp_path, rules, dead_fails=True)
    assert strict.exit_code == 1
    assert "not every rule is needed" in strict.verdict


def test_rules_of_a_nested_checkpoint_hold_for_its_flat_key_list(tmp_path, capsys, monkeypatch) -> None:
    """What CI keeps is a key list, which has but one place; a file with several has to have the rules' one."""
    monkeypatch.chdir(tmp_path)
    state = {"module.fc.weight": torch.zeros(2, 4), "module.fc.bias": torch.zeros(2)}
    torch.save({"state_dict": state, "epoch": 3}, "old.pth")
    torch.save({"net": state, "ema": {key: value + 1 for key, value in state.items()}}, "other.pth")
    keys(tmp_path / "new.keys.json", {"fc.weight": [2, 4], "fc.bias": [2]})
    assert main(["rules", "old.pth", "new.keys.json", "-o", "keep.json"]) == 0
    assert main(["keys", "old.pth", "-o", "old.keys.json"]) == 0
    assert main(["check", "keep.json", "old.keys.json", "new.keys.json"]) == 0
    torch.save(state, "flat.pth")
    assert main(["apply", "keep.json", "flat.pth", "out.pth"]) == 0
    capsys.readouterr()
    assert main(["check", "keep.json", "other.pth", "new.keys.json"]) == 2
    assert "no tensors at 'state_dict'" in capsys.readouterr().err


def test_guesses_are_told_once_and_not_as_a_warning_of_python(recwarn) -> None:
    """The report names the keys that go by a guess."""
    state = {"z.weight": torch.zeros(8, 8), "x.weight": torch.zeros(8, 8)}
    model = nn.ModuleDict({name: nn.Linear(8, 8, bias=False) for name in ("first", "second")})
    found = automatch.check(automatch.diagnose(state, model).rules, state, model)
    assert found.guessed and found.complete
    assert not [w for w in recwarn if issubclass(w.category, UserWarning)]


def test_rules_of_which_none_takes_a_key_are_not_held_against_the_old_checkpoint(tmp_path) -> None:
    """The key list that was committed is already the new one."""
    found = check(tmp_path, [RULE], old=NEW)
    assert (found.complete, found.exit_code) == (False, 1)
    assert (
        found.verdict
        == "no rule is needed: 3 of 3 model keys carried by 1 rule; nothing left over; 1 rule without a key"
    )


def test_what_else_the_file_holds_is_told(tmp_path) -> None:
    old = {key: torch.empty(shape) for key, shape in OLD.items()}
    torch.save({"G": old, "G_ema": {key: value.clone() for key, value in old.items()}}, tmp_path / "gan.pth")
    (tmp_path / "rules.json").write_text(json.dumps([RULE]))
    model = keys(tmp_path / "new.keys.json", NEW)
    assert "`G` and `G_ema` hold the same keys" in str(
        automatch.check(tmp_path / "rules.json", tmp_path / "gan.pth", model)
    )
    diagnosis = automatch.diagnose(tmp_path / "gan.pth", keys(tmp_path / "same.keys.json", OLD))
    assert diagnosis.verdict.startswith("`G` and `G_ema` fit alike, choose with --at; ")
    assert diagnosis.exit_code == 1
