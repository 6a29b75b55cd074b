"""A `key_mapping` does in transformers what the rules do here: every text goes through the real classes."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from automatch.errors import RuleError
from automatch.exporting.background import Background
from automatch.exporting.dialects import transformers
from automatch.exporting.weight_renaming import LEGACY, Renaming, renamed_by_all
from automatch.rules.replacement import quote
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet
from tests.exporting.real_libraries import library
from tests.exporting.rule_cases import AT_RANDOM, BY_HAND, CORPUS_CASES, Case, of_corpus


def key_mapping(text: str) -> dict[str, str]:
    """The dict that somebody pastes."""
    assert text.isascii()
    (statement,) = ast.parse(text).body
    assert isinstance(statement, ast.Assign)
    mapping: dict[str, str] = ast.literal_eval(statement.value)
    return mapping


def assert_renames(text: str, rules: RuleSet, keys: tuple[str, ...]) -> None:
    """What `from_pretrained` does with a key_mapping and every key."""
    loading = library("transformers.core_model_loading")
    renamings = [
        loading.WeightRenaming(source_patterns=source, target_patterns=target)
        for source, target in key_mapping(text).items()
    ]
    got = {key: loading.rename_source_key(key, renamings, [])[0] for key in keys}
    assert got == {key: rules.rename(key) for key in keys}
    if "writes the old names again" in text:
        used = [renaming.reverse_transform() for renaming in reversed(renamings) if renaming.was_used()]
        assert {key: loading.rename_source_key(new, used, [], reverse=True)[0] for key, new in got.items()} == {
            key: key for key in keys
        }


@pytest.mark.parametrize("case", BY_HAND.values(), ids=BY_HAND)
def test_rules_by_hand(case: Case) -> None:
    rules, keys = case
    assert_renames(transformers.render(rules, Background(keys)), rules, keys)


@pytest.mark.parametrize("name", CORPUS_CASES)
def test_real_checkpoints(name: str) -> None:
    rules, background = of_corpus(name)
    text = transformers.render(rules, background)
    assert_renames(text, rules, background.keys or ())
    assert f"{len(background.keys or ())} checkpoint keys: each goes where the match table says" in text


@settings(max_examples=60)
@given(AT_RANDOM)
def test_anything_is_said_rightly_or_refused(case: Case) -> None:
    rules, keys = case
    try:
        text = transformers.render(rules, Background(keys))
    except RuleError:
        return
    assert_renames(text, rules, keys)


@settings(max_examples=60)
@given(AT_RANDOM)
def test_without_keys_it_holds_for_every_key(case: Case) -> None:
    rules, keys = case
    try:
        text = transformers.render(rules)
        expected = [rules.rename(key) for key in keys]
    except RuleError:
        return
    assert len(expected) == len(keys)
    assert_renames(text, rules, keys)


@settings(max_examples=60)
@given(st.text(max_size=8), st.text(max_size=8))
def test_any_text_survives_or_is_refused(key: str, target: str) -> None:
    rules = RuleSet((Rule(re.escape(key), quote(target)),))
    try:
        text = transformers.render(rules, Background((key,)))
    except RuleError:
        return
    assert_renames(text, rules, (key,))


def test_one_captured_text_is_one_line() -> None:
    rule = Rule(r"(?P<a>layers\.\d+)\.norm\.(?P<b>weight|bias)", "{a}.ln.{b}", hits=2, note="by hand")
    text = transformers.render(RuleSet((rule,)), Background(("layers.0.norm.weight", "layers.0.norm.bias")))
    assert key_mapping(text) == {r"^(layers\.\d+)\.norm\.(?=weight$|bias$)": r"\1.ln."}
    assert "rename, 2 keys: " in text
    assert "by hand" in text
    assert "a proposal" in text.lower()


def test_numbers_are_listed_and_the_text_says_so() -> None:
    rules = RuleSet((Rule(r"h\.(?P<i>\d+)\.(?P<a>.+)", "h.{i+1}.{a}"),))
    text = transformers.render(rules, Background(tuple(f"h.{i}.{a}" for i in range(3) for a in "wb")))
    assert list(key_mapping(text).values()) == ["h.3.", "h.2.", "h.1."]
    assert "only for the listed values of i" in text


@pytest.mark.parametrize(
    ("rule", "keys", "reason"),
    [
        (Rule("a", "b", op="transpose"), ("a",), r"rule 1 .*'a' => 'b'.*transpose.*--dialect transformers-converter"),
        (Rule("a(?P<i>.+)", "{i+1}"), None, "calculates.*without the keys"),
        (Rule("(?P<a>.+)-(?P<b>.+)", "{b}-{a}"), None, "one captured group.*without the keys"),
        (Rule("a", "b.weight_g"), ("a",), "rule 1 .*transformers itself makes 'b.parametrizations.weight.original0'"),
        (Rule("a", "b(0)"), ("a",), r"'\('.*means something else.*--dialect python"),
        (Rule("a", r"b\1"), ("a",), "means something else"),
        (Rule("(?P<i>.+)", "{i+1}"), tuple(map(str, range(999))), r"999 keys is too long \(200 at most\)"),
    ],
)
def test_what_cannot_be_said_is_refused(rule: Rule, keys: tuple[str, ...] | None, reason: str) -> None:
    with pytest.raises(RuleError, match=reason):
        transformers.render(RuleSet((rule,)), Background(keys))


_PIECES = ["a", "b", "^", "$", ".", r"\.", "*", ".*", "*.", "(a|b)", "(b)", "(?=a)", "(?!b)", "_", "0", r"\1"]
_TEXTS = st.lists(st.sampled_from(_PIECES), min_size=1, max_size=4).map("".join)


@settings(max_examples=200)
@given(_TEXTS, _TEXTS, st.lists(st.text("ab._0", min_size=1, max_size=6), min_size=1, max_size=4))
def test_renamings_mean_here_what_they_mean_there(source: str, target: str, keys: list[str]) -> None:
    """What the replay asks is the class itself, word by word, with all that the dialect never writes."""
    loading = library("transformers.core_model_loading")
    for key in keys:
        try:
            there = loading.WeightRenaming(source, target)
            wanted = there.rename_source_key(key)[0], there.reverse_transform().rename_source_key(key)[0]
        except (re.error, ValueError, IndexError, TypeError):
            continue
        here = Renaming(source, target)
        assert (here.renamed(key), here.turned_round().renamed(key)) == wanted


@pytest.mark.parametrize(
    "name", "LayerNorm.gamma x.LayerNorm.beta y.weight_g weight_g z.weight_v model.language_model.model.a other".split()
)
def test_what_transformers_renames_by_itself(name: str) -> None:
    mapping = library("transformers.conversion_mapping").get_checkpoint_conversion_mapping("legacy")
    wanted = library("transformers.core_model_loading").rename_source_key(name, mapping, [])[0]
    assert renamed_by_all(LEGACY, name) == wanted


def test_a_model_is_loaded_and_saved(tmp_path) -> None:
    """The whole way: an old checkpoint, `from_pretrained`, equal outputs, saved under the new names."""
    library("transformers")
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(n_layer=2, n_embd=8, n_head=2, vocab_size=11, n_positions=8)
    model = GPT2LMHeadModel(config).eval()
    rules = RuleSet(
        (
            Rule(r"block_(?P<i>\d+)/(?P<a>ln_1|attn)/(?P<rest>.+)", "transformer.h.{i-1}.{a}.{rest}"),
            Rule(r"block_(?P<i>\d+)/norm_2/(?P<rest>.+)", "transformer.h.{i-1}.ln_2.{rest}"),
            Rule(r"block_(?P<i>\d+)/(?P<rest>.+)", "transformer.h.{i-1}.{rest}"),
            Rule(r"(?P<a>wte|wpe|ln_f)_(?P<b>weight|bias)", "transformer.{a}.{b}"),
        )
    )
    state_dict: dict[str, Any] = {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}
    back = {}
    for key in state_dict:
        old = key.removeprefix("transformer.")
        if old.startswith("h."):
            _, i, part, rest = old.split(".", 3)
            name = {"ln_2": "norm_2"}.get(part, part)
            old = f"block_{int(i) + 1}/{name}/{rest}" if part != "mlp" else f"block_{int(i) + 1}/{part}.{rest}"
        else:
            old = old.replace(".", "_")
        back[old] = key
    assert {old: rules.rename(old) for old in back} == back
    (tmp_path / "old").mkdir()
    save_file({old: state_dict[key].clone() for old, key in back.items()}, tmp_path / "old" / "model.safetensors")
    (tmp_path / "old" / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    mapping = key_mapping(transformers.render(rules, Background(tuple(back))))
    loaded, info = GPT2LMHeadModel.from_pretrained(tmp_path / "old", key_mapping=mapping, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    ids = torch.arange(5)[None]
    with torch.no_grad():
        assert torch.equal(loaded.eval()(ids).logits, model(ids).logits)
    loaded.save_pretrained(tmp_path / "new", save_original_format=False)
    again, info = GPT2LMHeadModel.from_pretrained(tmp_path / "new", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert torch.equal(again.transformer.h[1].ln_2.weight, model.transformer.h[1].ln_2.weight)
