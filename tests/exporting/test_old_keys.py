"""What is pasted into a module of one's own: torch calls it for old checkpoints and for new ones."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings

import automatch
from automatch.errors import RuleError
from automatch.exporting.background import Background
from automatch.exporting.dialects import hook, load_from_state_dict
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet
from tests.exporting.random_rules import rules_on_keys
from tests.exporting.rule_cases import CORPUS_CASES_WITH_OPERATIONS, of_corpus


def names_of(text: str) -> dict:
    assert text.isascii()
    names: dict = {}
    exec(text, names)
    return names


class Keeper(torch.nn.Module):
    """Notes the keys below it after torch has called the hooks."""

    kept: tuple[str, ...] = ()

    def _load_from_state_dict(self, state_dict, prefix, *rest) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self.kept = tuple(key.removeprefix(prefix) for key in state_dict if key.startswith(prefix))


def keys_after(module: Keeper, keys, version: int | None = None) -> list[str]:
    """What the module loads, as the whole model and inside another one."""
    inner, whole = "part.0.", torch.nn.ModuleDict({"part": torch.nn.ModuleList([module])})
    seen = []
    for top, prefix in ((module, ""), (whole, inner)):
        state_dict = OrderedDict((prefix + key, torch.zeros(1)) for key in keys)
        state_dict["beside"] = torch.zeros(1)
        if version is not None:
            state_dict._metadata = {prefix[:-1]: {"version": version}}
        top.load_state_dict(state_dict, strict=False)
        seen.append(sorted(key for key in module.kept if key != "beside"))
    assert seen[0] == seen[1]
    return seen[0]


@given(rules_on_keys())
@settings(max_examples=60, deadline=None)
def test_a_hook_renames_old_checkpoints_and_lets_new_ones_pass(case) -> None:
    rules, background = case
    new = sorted(rules.rename(key) for key in background.keys)
    if rules.rename("beside") != "beside":
        return
    try:
        names = names_of(hook.render(rules, background))
    except RuleError as error:
        assert "same keys" in str(error)
        assert set(new) <= set(background.keys) or any(rules.rename(key) != key for key in new)
        return
    module = Keeper()
    names["register_old_keys"](module)
    assert keys_after(module, background.keys) == new
    assert keys_after(module, new) == new


@given(rules_on_keys())
@settings(max_examples=60, deadline=None)
def test_versions_tell_old_checkpoints_from_new_ones(case) -> None:
    rules, background = case
    new = sorted(rules.rename(key) for key in background.keys)
    if rules.rename("beside") != "beside":
        return
    names = names_of(load_from_state_dict.render(rules, background))
    module = type("Net", (names["OldKeys"], Keeper), {})()
    assert keys_after(module, background.keys, version=1) == new
    assert keys_after(module, new, version=2) == new
    assert keys_after(module, background.keys, version=2) == sorted(background.keys)


class Old(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.norm_1 = torch.nn.BatchNorm1d(4)


class New(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qk = torch.nn.Linear(4, 8)
        self.norm1 = torch.nn.BatchNorm1d(4)


class Net(torch.nn.Module):
    def __init__(self, block) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(block() for _ in range(2))
        self.head = torch.nn.Linear(4, 2)


RULES = RuleSet(
    (
        Rule(r"(?P<part>query|key)\.(?P<w>weight|bias)", "qk.{w}", op="concat", part="part", dim=0),
        Rule(r"norm_(?P<i>\d+)\.(?P<w>.+)", "norm{i}.{w}"),
    )
)


def with_hook(keys) -> type[New]:
    register = names_of(hook.render(RULES, Background(keys=keys)))["register_old_keys"]

    class Hooked(New):
        def __init__(self) -> None:
            super().__init__()
            register(self)

    return Hooked


def with_version(keys) -> type[New]:
    mixin = names_of(load_from_state_dict.render(RULES, Background(keys=keys)))["OldKeys"]
    return type("Versioned", (mixin, New), {})


@pytest.mark.parametrize("block", [with_hook, with_version])
def test_modules_inside_a_model_load_old_and_new_files(block, tmp_path) -> None:
    old, new = Net(Old), Net(block(tuple(Old().state_dict())))
    torch.save(old.state_dict(), tmp_path / "old.pth")
    new.load_state_dict(torch.load(tmp_path / "old.pth", weights_only=True), strict=True)
    for theirs, ours in zip(old.blocks, new.blocks, strict=True):
        assert torch.equal(ours.qk.weight, torch.cat([theirs.query.weight, theirs.key.weight]))
        assert torch.equal(ours.norm1.running_var, theirs.norm_1.running_var)
    torch.save(new.state_dict(), tmp_path / "new.pth")
    again = Net(type(new.blocks[0]))
    again.load_state_dict(torch.load(tmp_path / "new.pth", weights_only=True), strict=True)
    assert torch.equal(again.blocks[1].qk.bias, new.blocks[1].qk.bias)
    copied = {key: tensor for key, tensor in new.state_dict().items()}  # as a safetensors file: without versions
    again.load_state_dict(copied, strict=True)


@pytest.mark.parametrize("block", [with_hook, with_version])
def test_what_is_missing_is_told_by_torch(block) -> None:
    state_dict = Old().state_dict()
    del state_dict["key.weight"]
    module = block(tuple(Old().state_dict()))()
    with pytest.raises(RuntimeError, match=r"not every tensor of 'qk.weight' is there"):
        module.load_state_dict(state_dict)


def test_the_hook_can_be_taken_off_again() -> None:
    module = New()
    names = names_of(hook.render(RULES, Background(keys=tuple(Old().state_dict()))))
    names["register_old_keys"](module).remove()
    with pytest.raises(RuntimeError, match="Missing key"):
        module.load_state_dict(Old().state_dict())


SWAP = RuleSet((Rule("q", "k"), Rule("k", "q")))
SHIFT = RuleSet((Rule(r"layers\.(?P<i>\d+)", "layers.{i+1}"),))


def test_where_no_key_tells_old_from_new() -> None:
    with pytest.raises(RuleError, match=r"cannot say rule 1 .*cannot tell.*--dialect load-from-state-dict"):
        hook.render(SWAP, Background(keys=("q", "k")))
    with pytest.raises(RuleError, match="no keys are known"):
        hook.render(SWAP)
    module = type(
        "Net", (names_of(load_from_state_dict.render(SWAP, Background(keys=("q", "k"))))["OldKeys"], New), {}
    )()
    with pytest.raises(RuntimeError, match="has no version"):
        module.load_state_dict({"q": torch.zeros(1), "k": torch.zeros(1)})


def test_a_key_tells_old_from_new_in_deeper_models_too() -> None:
    names = names_of(hook.render(SHIFT, Background(keys=("layers.0", "layers.1"))))
    module = Keeper()
    names["register_old_keys"](module)
    deeper = [f"layers.{i}" for i in range(4)]
    assert keys_after(module, deeper) == [f"layers.{i}" for i in range(1, 5)]
    assert keys_after(module, [f"layers.{i}" for i in range(1, 5)]) == [f"layers.{i}" for i in range(1, 5)]


@pytest.mark.parametrize("dialect", ["hook", "load-from-state-dict"])
def test_the_diagnosis_of_a_model_is_enough(dialect) -> None:
    old = torch.nn.ModuleDict({"norm_1": torch.nn.BatchNorm1d(4), "out": torch.nn.Linear(4, 2)})
    new = torch.nn.ModuleDict({"norm1": torch.nn.BatchNorm1d(4), "out": torch.nn.Linear(4, 2)})
    names = names_of(automatch.diagnose(old.state_dict(), new).export(dialect))
    if dialect == "hook":
        names["register_old_keys"](new)
    else:
        new = type("Net", (names["OldKeys"], torch.nn.ModuleDict), {})(dict(new))
    new.load_state_dict(old.state_dict(), strict=True)
    assert torch.equal(new["out"].weight, old["out"].weight)


def test_torch_before_the_public_name_of_the_hook(monkeypatch) -> None:
    monkeypatch.delattr(torch.nn.Module, "register_load_state_dict_pre_hook")
    with_hook(tuple(Old().state_dict()))().load_state_dict(Old().state_dict(), strict=True)


@pytest.mark.filterwarnings("ignore:.*renamed by a guess")
@pytest.mark.parametrize("name", CORPUS_CASES_WITH_OPERATIONS[::4])
@pytest.mark.parametrize("dialect", [hook, load_from_state_dict])
def test_operations_of_real_checkpoints(dialect, name) -> None:
    rules, background = of_corpus(name)
    names = names_of(dialect.render(rules, background))
    old = {key: torch.zeros(shape, device="meta") for key, shape in background.shapes.items()}
    wanted = {key: tensor.shape for key, tensor in rules.apply(old).items()}
    assert {key: tensor.shape for key, tensor in names["convert"](old).items()} == wanted
