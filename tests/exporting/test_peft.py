"""A `key_mapping` does in peft what the rules do here: every text goes through the real loader."""

from __future__ import annotations

import ast
import re
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from automatch import diagnose
from automatch.errors import RuleError
from automatch.exporting.background import Background
from automatch.exporting.dialects import peft
from automatch.rules.replacement import quote
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet
from tests.exporting.real_libraries import library
from tests.exporting.rule_cases import AT_RANDOM, BY_HAND, Case, of_corpus

PREFIX = "base_model.model."


def key_mapping(text: str) -> dict[str, str]:
    """The dict that somebody pastes."""
    assert text.isascii()
    (statement,) = ast.parse(text).body
    assert isinstance(statement, ast.Assign)
    mapping: dict[str, str] = ast.literal_eval(statement.value)
    return mapping


def loaded(text: str, keys: tuple[str, ...]) -> dict[str, str]:
    """What peft makes of the keys of an adapter file."""
    loading = library("peft.utils.save_and_load")
    with tempfile.TemporaryDirectory() as folder:
        tensors = {key: torch.tensor([number]) for number, key in enumerate(keys)}
        save_file(tensors, Path(folder) / "adapter_model.safetensors")
        weights = loading.load_peft_weights(folder, device="cpu", key_mapping=key_mapping(text))
    return {keys[int(tensor)]: key for key, tensor in weights.items()}


def of_an_adapter(case: Case) -> Case:
    """The same rules and keys below the prefix of adapters."""
    rules, keys = case
    own = tuple(
        Rule(rf"base_model\.model\.{rule.pattern}", PREFIX + str(rule.replacement))
        if rule.pattern != "a|b"
        else Rule(r"base_model\.model\.(?:a|b)", PREFIX + str(rule.replacement))
        for rule in rules
    )
    return RuleSet(own), tuple(PREFIX + key for key in keys)


@pytest.mark.parametrize("case", BY_HAND.values(), ids=BY_HAND)
def test_rules_by_hand(case: Case) -> None:
    rules, keys = of_an_adapter(case)
    text = peft.render(rules, Background(keys))
    assert loaded(text, keys) == {key: rules.rename(key) for key in keys}


@settings(max_examples=60)
@given(AT_RANDOM)
def test_anything_is_said_rightly_or_refused(case: Case) -> None:
    rules, keys = of_an_adapter(case)
    try:
        text = peft.render(rules, Background(keys))
    except RuleError:
        return
    assert loaded(text, keys) == {key: rules.rename(key) for key in keys}


@settings(max_examples=60)
@given(AT_RANDOM)
def test_without_keys_it_holds_for_every_key(case: Case) -> None:
    rules, keys = of_an_adapter(case)
    try:
        text = peft.render(rules)
        expected = {key: rules.rename(key) for key in keys}
    except RuleError:
        return
    if len(set(expected.values())) == len(expected):
        assert loaded(text, keys) == expected


@settings(max_examples=60)
@given(st.text(st.characters(codec="utf-8"), max_size=8), st.text(st.characters(codec="utf-8"), max_size=8))
def test_any_text_survives_or_is_refused(key: str, target: str) -> None:
    rules, keys = of_an_adapter((RuleSet((Rule(re.escape(key), quote(target)),)), (key,)))
    try:
        text = peft.render(rules, Background(keys))
    except RuleError:
        return
    assert loaded(text, keys) == {keys[0]: PREFIX + target}


def test_every_capture_can_be_used_and_numbers_are_listed() -> None:
    rules = RuleSet((Rule(r"(?P<a>.+)\.h\.(?P<i>\d+)\.(?P<b>[^.]+)\.(?P<c>lora_.+)", "{a}.{b}.{i+1}.{c}"),))
    keys = tuple(f"{PREFIX}m.h.{i}.q.lora_{x}.weight" for i in range(2) for x in "AB")
    text = peft.render(rules, Background(keys))
    assert key_mapping(text) == {
        rf"^(?P<a>.+)\.h\.{i}\.(?P<b>[^.]+)\.(?P<c>lora_.+)$": rf"\g<a>.\g<b>.{i + 1}.\g<c>" for i in range(2)
    }
    assert "only for the listed values of i" in text
    assert loaded(text, keys) == {key: rules.rename(key) for key in keys}


@pytest.mark.parametrize("name", ["lora/peft-llama-2layer-lora-adapter_to_peftmodel"])
def test_the_name_of_the_adapter_is_left_to_peft(name: str) -> None:
    rules, background = of_corpus(name)
    assert len(rules) == 1
    text = peft.render(rules, background)
    assert key_mapping(text) == {}
    assert "by itself" in text


@pytest.mark.parametrize(
    ("rule", "keys", "reason"),
    [
        (Rule("a", "b"), ("a",), "for adapters, whose keys begin with 'base_model.', and 'a' does not"),
        (
            Rule(r"base_model\.model\.(?P<a>.+)", "{a}"),
            (f"{PREFIX}a",),
            "rule 1 .*peft puts 'base_model.model.' before",
        ),
        (Rule(r"(?P<a>.+)", "{a}", op="transpose"), (f"{PREFIX}a",), "rule 1 .*transpose"),
        (Rule(r"(?P<a>.+)\.(?P<i>\d+)", "{a}.{i+1}"), None, "rule 1 .*without the keys of a checkpoint"),
        (
            Rule(r"base_model\.model\.(?P<i>\d+)", "base_model.model.{i+1}"),
            tuple(f"{PREFIX}{i}" for i in range(300)),
            "rule 1 .*300 of 300 entries, and 200 are listed",
        ),
    ],
)
def test_what_cannot_be_said_is_refused(rule: Rule, keys: tuple[str, ...] | None, reason: str) -> None:
    with pytest.raises(RuleError, match=reason):
        peft.render(RuleSet((rule,)), Background(keys))


class Block(nn.Module):
    """Two layers under names that differ between the versions of a model."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__()
        self.names = (first, second)
        self.add_module(first, nn.Linear(3, 4))
        self.add_module(second, nn.Linear(4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One after the other."""
        for name in self.names:
            x = self.get_submodule(name)(x)
        return x


def version(first: str, second: str) -> nn.Module:
    """The model with these names, its weights the same under any."""
    torch.manual_seed(0)
    return nn.Sequential(Block(first, second), Block(first, second))


def test_an_adapter_of_an_old_model_is_loaded(tmp_path) -> None:
    """The whole way: an adapter saved for a model whose layers were renamed since, found out, loaded, equal outputs."""
    library("peft")
    from peft import LoraConfig, PeftModel, get_peft_model

    old = get_peft_model(
        version("query", "out"), LoraConfig(r=2, target_modules=["query", "out"], init_lora_weights=False)
    )
    old.save_pretrained(tmp_path)
    config = LoraConfig(r=2, target_modules=["q_proj", "o_proj"], inference_mode=True)
    diagnosis = diagnose(tmp_path / "adapter_model.safetensors", get_peft_model(version("q_proj", "o_proj"), config))
    config.save_pretrained(tmp_path)
    mapping = key_mapping(diagnosis.export("peft"))
    assert mapping and "default" not in "".join(mapping.values())
    loaded = PeftModel.from_pretrained(version("q_proj", "o_proj"), tmp_path, key_mapping=mapping)
    x = torch.rand(5, 3)
    with torch.no_grad():
        assert torch.equal(loaded(x), old(x))


def test_an_adapter_with_magnitudes_is_loaded(tmp_path) -> None:
    """DoRA keeps a vector whose key has `.weight` in the model and not in the file."""
    library("peft")
    from peft import LoraConfig, PeftModel, get_peft_model

    names = {"target_modules": ["query", "out"], "init_lora_weights": False}
    old = get_peft_model(version("query", "out"), LoraConfig(r=2, use_dora=True, **names))
    old.save_pretrained(tmp_path)
    config = LoraConfig(r=2, target_modules=["q_proj", "o_proj"], use_dora=True, inference_mode=True)
    new = get_peft_model(version("q_proj", "o_proj"), config)
    rules = RuleSet(
        (
            Rule(r"(?P<a>.+)\.query\.lora_magnitude_vector", "{a}.q_proj.lora_magnitude_vector.default.weight"),
            Rule(r"(?P<a>.+)\.out\.(?P<b>lora_magnitude_vector)", "{a}.o_proj.{b}.default.weight"),
            Rule(r"(?P<a>.+)\.query\.(?P<b>lora_.)\.weight", "{a}.q_proj.{b}.default.weight"),
            Rule(r"(?P<a>.+)\.out\.(?P<b>lora_.)\.weight", "{a}.o_proj.{b}.default.weight"),
        )
    )
    keys = tuple(load_file(tmp_path / "adapter_model.safetensors"))
    assert set(map(rules.rename, keys)) == {key for key in new.state_dict() if "lora" in key}
    config.save_pretrained(tmp_path)
    mapping = key_mapping(peft.render(rules, Background(keys)))
    assert len(mapping) == 4
    loaded = PeftModel.from_pretrained(version("q_proj", "o_proj"), tmp_path, key_mapping=mapping)
    x = torch.rand(5, 3)
    with torch.no_grad():
        assert torch.equal(loaded(x), old.eval()(x))
