"""`automatch check`: exit 0 while kept rules still carry a checkpoint onto a model, else 1 with the difference."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

import automatch
from automatch import RuleSet
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
    model = nn.ModuleDict({"first": nn.Linear(8, 8), "second": nn.Linear(8, 8)})
    state = {
        f"{name}.{leaf}": torch.zeros(8, 8)[: 8 if leaf == "weight" else 0] for name in "zx" for leaf in ("weight",)
    }
    found = automatch.diagnose(state, nn.ModuleDict({name: nn.Linear(8, 8, bias=False) for name in model}))
    assert automatch.check(found.rules, state, nn.ModuleDict({n: nn.Linear(8, 8, bias=False) for n in model})).guessed
    assert not [w for w in recwarn if issubclass(w.category, UserWarning)]


def test_operations_are_run_on_the_shapes(tmp_path) -> None:
    rule = {"pattern": r"(?P<part>q|k|v)\.w", "replacement": "qkv.w", "op": "concat", "part": "part", "dim": 0}
    old = {"q.w": [4, 2], "k.w": [1, 2], "v.w": [1, 2]}
    assert check(tmp_path, [rule], old, {"qkv.w": [6, 2]}).complete
    assert [pair.model_shape for pair in check(tmp_path, [rule], old, {"qkv.w": [2, 6]}).mismatched_keys] == [(2, 6)]


def test_a_diagnosis_that_is_complete_passes_its_own_check(tmp_path) -> None:
    old, new = keys(tmp_path / "old.keys.json", OLD), keys(tmp_path / "new.keys.json", NEW)
    (tmp_path / "rules.json").write_text(automatch.diagnose(old, new).to_json())
    assert automatch.check(tmp_path / "rules.json", old, new).complete


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.wte = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.wte.weight


def test_torch_has_the_last_word_where_the_model_is_at_hand(tmp_path) -> None:
    model = Tied()
    old = {f"gpt.{key}": tensor for key, tensor in model.state_dict().items() if "num_batches" not in key}
    rules = RuleSet.from_list([{"pattern": r"gpt\.(?P<rest>.+)", "replacement": "{rest}"}])
    found = automatch.check(rules, old, model)
    assert found.complete
    assert found.strict_load is not None and found.strict_load.passed
    assert found.strict_load.kept == ("norm.num_batches_tracked",)

    one = {key: tensor for key, tensor in old.items() if "head" not in key}
    assert automatch.check(rules, one, model).missing_keys == ("head.weight",)
    tied = RuleSet(rules.rules, tied=(("wte.weight", "head.weight"),))
    assert automatch.check(tied, one, model).complete

    refused = automatch.check(rules, {**old, "gpt.wte.weight": old["gpt.wte.weight"].long()}, model)
    assert [pair.key for pair in refused.mismatched_dtypes] == ["wte.weight"]
    assert refused.exit_code == 1


def test_the_place_in_a_nested_file_is_that_of_the_rules(tmp_path) -> None:
    state_dict = {f"module.{key}": torch.zeros(shape) for key, shape in {"a.weight": (2, 2), "a.bias": (2,)}.items()}
    torch.save({"ema": {"net": state_dict}, "model": {"x": torch.zeros(3)}}, tmp_path / "old.pt")
    model = keys(tmp_path / "new.keys.json", {"a.weight": [2, 2], "a.bias": [2]})
    (tmp_path / "rules.json").write_text(automatch.diagnose(tmp_path / "old.pt", model, at="ema.net").to_json())
    found = automatch.check(tmp_path / "rules.json", tmp_path / "old.pt", model)
    assert found.complete and found.checkpoint.at == "ema.net"


def test_on_the_command_line(tmp_path, capsys) -> None:
    check(tmp_path, [RULE])
    rules, old, new = (str(tmp_path / name) for name in ("rules.json", "old.keys.json", "new.keys.json"))
    assert main(["check", rules, old, new]) == 0
    assert "3 of 3 model keys carried by 1 rule" in capsys.readouterr().out
    assert main(["check", rules, old, new, "-q"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["check", rules, new, old, "--format", "json", "-o", str(tmp_path / "out.json")]) == 1
    page = re.findall(r"## The check.*?```json\n(.*?)```", (DOCS / "json.md").read_text(encoding="utf-8"), re.DOTALL)
    assert set(json.loads((tmp_path / "out.json").read_text())) == set(json.loads(page[0]))
    assert main(["check", rules, old, new, "-o", rules]) == 2
    assert main(["check", str(tmp_path / "none.json"), old, new]) == 2
    (tmp_path / "rules.json").write_text('[{"pattern": "(", "replacement": "x"}]')
    capsys.readouterr()
    assert main(["check", rules, old, new]) == 2
    assert "rules.json: rule 1: the pattern '(' is not a Python regex" in capsys.readouterr().err


@pytest.fixture
def library(tmp_path) -> Path:
    """A library as docs/checking.md speaks of it."""
    (tmp_path / "mylib").mkdir()
    (tmp_path / "conversions").mkdir()
    (tmp_path / "mylib" / "model.py").write_text(
        "from torch import nn\n\n\ndef build():\n    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))\n"
    )
    old = {
        f"net.{i}.{leaf}": shape
        for i, w in enumerate([[2, 3], [2, 2]])
        for leaf, shape in (("weight", w), ("bias", [2]))
    }
    keys(tmp_path / "conversions" / "v1.keys.json", old)
    rules = [{"pattern": r"net\.(?P<rest>.+)", "replacement": "{rest}"}]
    (tmp_path / "conversions" / "v1_to_v2.json").write_text(json.dumps(rules))
    return tmp_path


def block(language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / "checking.md").read_text(encoding="utf-8"), re.DOTALL)[-1]


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_recipe_for_pytest_passes_and_fails(library) -> None:
    (library / "test_conversions.py").write_text(block("python"))
    pytest_here = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_conversions.py"]
    done = run(*pytest_here, cwd=library)
    assert done.returncode == 0, done.stdout
    model = library / "mylib" / "model.py"
    model.write_text(model.read_text().replace("nn.Linear(2, 2)", "nn.Linear(2, 5)"))
    done = run(*pytest_here, cwd=library)
    assert done.returncode == 1
    assert "2 of another shape" in done.stdout


def test_the_recipe_for_pre_commit_runs(library) -> None:
    (hook,) = yaml.safe_load(block("yaml"))["repos"][0]["hooks"]
    assert {"id", "name", "entry", "language"} <= set(hook)
    assert re.search(hook["files"], "mylib/model.py") and re.search(hook["files"], "conversions/v1_to_v2.json")
    program, *arguments = hook["entry"].split()
    done = run(str(Path(sys.executable).parent / program), *arguments, cwd=library)
    assert done.returncode == 0, done.stdout + done.stderr
    (library / "conversions" / "v1_to_v2.json").write_text("[]")
    assert run(str(Path(sys.executable).parent / program), *arguments, cwd=library).returncode == 1


def test_what_the_model_computes_may_be_left_out(tmp_path) -> None:
    old = {**OLD, "module.attn.inv_freq": [4]}
    found = check(tmp_path, [RULE], old, {**NEW, "stem.position_ids": [1, 8]})
    assert found.complete
    assert {"module.attn.inv_freq", "stem.position_ids"} <= set(found.harmless)


def test_rules_in_yaml_are_checked_as_well(tmp_path) -> None:
    check(tmp_path, [RULE])
    (tmp_path / "rules.yaml").write_text(
        "rules:\n  - pattern: 'module\\.(?P<rest>.+)'\n    replacement: 'stem.{rest}'\n"
    )
    sides = str(tmp_path / "old.keys.json"), str(tmp_path / "new.keys.json")
    assert automatch.check(tmp_path / "rules.yaml", *sides).complete
