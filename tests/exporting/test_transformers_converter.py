"""A list of renamings and converters does in transformers what the rules do here, values included."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import save_file
from torch import nn

from automatch.errors import RuleError
from automatch.exporting.background import Background
from automatch.exporting.dialects import transformers_converter
from automatch.exporting.peeling import peeled
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet
from tests.exporting.real_libraries import library
from tests.exporting.rule_cases import AT_RANDOM, BY_HAND, CORPUS_CASES, CORPUS_CASES_WITH_OPERATIONS, Case, of_corpus

LARGEST = 4_000_000


def conversion(text: str) -> list[Any]:
    """The list that somebody pastes."""
    assert text.isascii()
    library("transformers.core_model_loading")
    names: dict[str, Any] = {}
    exec(text, names)
    transforms: list[Any] = names["CONVERSION"]
    return transforms


def model_of(state_dict: dict[str, torch.Tensor]) -> nn.Module:
    """A model that has these keys and shapes, zeros in all of them, and what transformers asks a model for."""
    model = nn.Module()
    for key, tensor in state_dict.items():
        module = model
        *path, name = key.split(".")
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.register_parameter(name, nn.Parameter(torch.zeros_like(tensor), requires_grad=False))
    model.base_model_prefix = "no_such_prefix"
    model.config = None
    return model


def assert_loads(text: str, rules: RuleSet, state_dict: dict[str, torch.Tensor]) -> None:
    """The real loading gives every parameter what `RuleSet.apply` gives it."""
    loading = library("transformers.core_model_loading")
    config = library("transformers.modeling_utils").LoadStateDictConfig(weight_mapping=conversion(text))
    wanted = rules.apply(state_dict)
    model = model_of(wanted)
    info, _ = loading.convert_and_load_state_dict_in_model(model, state_dict, config)
    assert not info.conversion_errors
    assert (info.missing_keys, info.unexpected_keys, info.mismatched_keys) == (set(), set(), set())
    got = model.state_dict()
    assert all(torch.equal(got[key], wanted[key]) for key in wanted)


def numbered(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Tensors no two values of which are alike, so that a swap of any two shows."""
    out, start = {}, 0
    for key, shape in shapes.items():
        size = math.prod(shape)
        out[key] = torch.arange(start, start + size, dtype=torch.float64).reshape(shape)
        start += size
    return out


def assert_said(rules: RuleSet, shapes: dict[str, tuple[int, ...]]) -> str:
    """Rendered and loaded for real; gives the text."""
    text = transformers_converter.render(rules, Background(tuple(shapes), shapes))
    assert_loads(text, rules, numbered(shapes))
    return text


LAYERS = r"layers\.(?P<i>\d+)\."
QKV = LAYERS + r"(?P<part>q|k|v)\.w"
EXPERTS = LAYERS + r"experts\.(?P<e>\d+)\.(?P<part>gate|up)"
TWELVE = {f"layers.{i}.experts.{e}.{p}": (2, 3) for i in range(2) for e in range(11, -1, -1) for p in ("up", "gate")}
SAID = {
    "concat": (Rule(QKV, "h.{i}.qkv.w", op="concat", part="part", dim=0), "[Concatenate(dim=0)]"),
    "transposed parts": (Rule(QKV, "h.{i}.qkv.w", op="transpose+concat", part="part", dim=0), "Steps("),
    "chunk": (Rule(LAYERS + "w", ("h.{i}.q.w", "h.{i}.k.w"), op="chunk", dim=0), "[Chunk(dim=0)]"),
    "unequal chunk": (Rule(LAYERS + "w", ("h.{i}.q", "h.{i}.k"), op="chunk", dim=0, sizes=(2, 1)), "Steps("),
    "pieces that differ twice": (Rule(LAYERS + "w", ("q.{i}.q.w", "k.{i}.k.w"), op="chunk", dim=0), "[Chunk(dim=0)]"),
    "unstack": (Rule(LAYERS + "w", "h.{i}.e.{e+1}.w", op="unstack", by="e", dim=0), "t.unbind(0)"),
    "transpose": (Rule(LAYERS + "w", "h.{i}.w", op="transpose"), "[Transpose(dim0=-2, dim1=-1)]"),
    "transpose of two": (Rule(LAYERS + "w", "h.{i}.w", op="transpose", perm=(1, 0)), "[Transpose(dim0=0, dim1=1)]"),
    "a name that stays": (Rule("(?P<a>.+w)", "{a}", op="transpose"), "[Transpose(dim0=-2, dim1=-1)]"),
    "all text in a group": (
        Rule(r"(?P<a>layers\.\d+\.w)", "{a}", op="transpose"),
        '("~1~", "w", operations=[Transpose(',
    ),
    "permute": (Rule(LAYERS + "p", "h.{i}.p", op="permute", perm=(2, 0, 1)), "t.permute((2, 0, 1))"),
    "reshape": (Rule(LAYERS + "p", "h.{i}.p", op="reshape", shape=(0, -1)), "t.reshape([t.shape[0], -1])"),
    "interleave": (Rule(LAYERS + "w", "h.{i}.w", op="interleave", shape=(1, 2, 3, 1), dim=0), "t.unflatten"),
    "join_latent": (Rule(LAYERS + r"(?P<part>k|v)_b", "h.{i}.kv_b", op="join_latent", part="part"), "Steps("),
    "split_latent": (
        Rule(LAYERS + "w", ("h.{i}.k_b", "h.{i}.v_b"), op="split_latent", shape=(1, 2)),
        "t.unflatten(0, (-1, 3))",
    ),
    "stack": (Rule(LAYERS + r"experts\.(?P<e>\d+)\.up", "h.{i}.up", op="stack", by="e"), "[MergeModulelist(dim=0)]"),
    "stack of parts": (Rule(QKV, "h.{i}.qkv", op="stack", part="part"), "Steps(False, "),
    "stack of parts that are turned": (Rule(QKV, "h.{i}.qkv", op="transpose+stack", part="part"), "Steps(False, "),
    "stack+concat": (
        Rule(EXPERTS, "h.{i}.gate_up", op="stack+concat", by="e", part="part", dim=1),
        "[MergeModulelist(dim=0), Concatenate(dim=1)]",
    ),
    "concat+stack": (
        Rule(EXPERTS, "h.{i}.gate_up", op="concat+stack", by="e", part="part", dim=0),
        "[MergeModulelist(dim=0), Concatenate(dim=1)]",
    ),
    "concat at the end, stack": (
        Rule(EXPERTS, "h.{i}.gate_up", op="concat+stack", by="e", part="part", dim=-1),
        "[MergeModulelist(dim=0), Concatenate(dim=-1)]",
    ),
    "stack of what is turned": (
        Rule(EXPERTS, "h.{i}.gate_up", op="transpose+stack+concat", by="e", part="part", dim=2),
        "Steps(True, ",
    ),
    "a text that stands in the name before": (Rule(LAYERS + "w", "ww.{i}.w", op="transpose"), "Transpose"),
}
SHAPES: dict[str, tuple[int, ...]] = {
    **{f"layers.{i}.{p}.w": (2, 2) for i in (0, 1, 10) for p in "vqk"},
    **{f"layers.{i}.w": (6, 4) for i in (0, 1, 10)},
    **{f"layers.{i}.p": (2, 3, 4) for i in range(2)},
    **{f"layers.{i}.{name}_b": shape for i in range(2) for name, shape in {"k": (2, 5, 3), "v": (2, 4, 5)}.items()},
    **TWELVE,
    "other": (2,),
}


@pytest.mark.parametrize(("rule", "said"), SAID.values(), ids=SAID)
def test_operations(rule: Rule, said: str) -> None:
    assert said in assert_said(RuleSet((rule,)), SHAPES)


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        (r"(?P<a>h\.\d+\.[^.]+\.weight)", "h.0.x.weight"),
        (r"x(?P<a>ab*c)(?P<b>\.w)", "xabbbc.w"),
        (r"(?P<a>\d+\d)-(?P<b>[a.b]c)", "123-.c"),
        (r"(?P<a>x\.(?:a|b\.\d+)\.w)-(?P<b>q.|k.)", "x.b.12.w-kk"),
        (r"(?P<a>.+\.(?:a|b))(?P<b>\.\w)", "x.b.w"),
        (r"(?P<a>(?:a)b\\)(?P<b>c.\w{2}d)", "ab\\cxyzd"),
        (r"(?P<a>x[\]d]\])(?P<b>q|k)", "xd]k"),
    ],
)
def test_texts_are_moved_out_of_groups(pattern: str, key: str) -> None:
    rule = Rule(pattern, "{a}.{{a}}" + (".{b}" if "<b>" in pattern else ""))
    assert RuleSet((peeled(rule),)).rename(key) == RuleSet((rule,)).rename(key) != key
    assert peeled(rule, ("a", "b")) == rule


def test_renames_and_operations_together() -> None:
    rules = RuleSet(
        (*(rule for rule, _ in (SAID["concat"], SAID["stack+concat"], SAID["unstack"])), Rule("other", "o"))
    )
    assert_said(rules, SHAPES)


def test_a_second_name_stays_and_a_comment_says_so() -> None:
    rules = RuleSet((Rule("w", "v", op="transpose"),), doubles=(("u", "w"),))
    text = transformers_converter.render(rules, Background(("w", "u"), {"w": (2, 3), "u": (2, 3)}))
    assert "u is a second name of w and stays" in text


def test_parts_with_a_rule_each() -> None:
    parts = [Rule(rf"(?P<a>.+)\.{p}\.w", "{a}.qkv", op="concat", part=(i, 3), dim=0) for i, p in enumerate("qkv")]
    text = assert_said(RuleSet(tuple(parts)), SHAPES)
    assert text.count("WeightConverter(") == 1


@pytest.mark.parametrize("case", BY_HAND.values(), ids=BY_HAND)
def test_renames_by_hand(case: Case) -> None:
    rules, keys = case
    shapes = {key: (2,) for key in keys}
    text = transformers_converter.render(rules, Background(keys, shapes))
    new = [rules.rename(key) for key in keys]
    if not any(other.startswith(f"{key}.") for key in new for other in new):  # no module has a parameter of its name
        assert_loads(text, rules, numbered(shapes))


@settings(max_examples=60)
@given(AT_RANDOM)
def test_any_renames_are_said_rightly_or_refused(case: Case) -> None:
    rules, keys = case
    loading = library("transformers.core_model_loading")
    try:
        text = transformers_converter.render(rules, Background(keys))
    except RuleError:
        return
    transforms = conversion(text)
    assert {key: loading.rename_source_key(key, transforms, [])[0] for key in keys} == {
        k: rules.rename(k) for k in keys
    }


@pytest.mark.filterwarnings("ignore:.*renamed by a guess")
@pytest.mark.parametrize("name", [*CORPUS_CASES_WITH_OPERATIONS, *CORPUS_CASES[:3]])
def test_real_checkpoints(name: str) -> None:
    rules, background = of_corpus(name)
    text = transformers_converter.render(rules, background)
    if sum(map(math.prod, background.shapes.values())) <= LARGEST:
        assert_loads(text, RuleSet(rules.rules), numbered(dict(background.shapes)))
    else:
        compile(text, name, "exec")


@pytest.mark.parametrize(
    ("rules", "shapes", "reason"),
    [
        ((SAID["concat"][0],), {"layers.0.q.w": (2, 2)}, "do not carry this checkpoint: .*made of 3 tensors"),
        ((SAID["concat"][0],), {}, "needs the keys of a checkpoint with their shapes"),
        ((Rule("w", "v", op="permute"),), {"w": (2, 2)}, "cannot be run"),
        (
            (Rule(r"e(?P<e>\d+)x", "e", op="stack", by="e"),),
            {f"e{e}x": (2,) for e in (9, 10)},
            r"\['e10x', 'e9x'\] would become \['e'\] there.*--dialect python",
        ),
        (
            (Rule("(?P<a>.+)", "{a}.{e}", op="unstack", by="e"),),
            {"a": (2, 2), "b": (3, 2)},
            "become different numbers of tensors",
        ),
    ],
)
def test_what_cannot_be_said_is_refused(rules: tuple[Rule, ...], shapes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RuleError, match=reason):
        transformers_converter.render(RuleSet(rules), Background(tuple(shapes) or None, shapes))


def test_a_mixture_of_experts_is_loaded(tmp_path) -> None:
    """The whole way: experts one by one in the file, stacked in the model."""
    library("transformers")
    from transformers import MixtralConfig, MixtralForCausalLM
    from transformers.conversion_mapping import (
        get_checkpoint_conversion_mapping,
        register_checkpoint_conversion_mapping,
    )

    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=11,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=3,
    )
    model = MixtralForCausalLM(config).eval()
    layer = r"blk\.(?P<i>\d+)\."
    rules = RuleSet(
        (
            Rule(
                layer + r"(?P<e>\d+)\.(?P<part>one|three)",
                "model.layers.{i}.mlp.experts.gate_up_proj",
                op="stack+concat",
                by="e",
                part="part",
                dim=1,
            ),
            Rule(layer + r"(?P<e>\d+)\.two", "model.layers.{i}.mlp.experts.down_proj", op="stack", by="e", dim=0),
            Rule(layer + "(?P<rest>.+)", "model.layers.{i}.{rest}"),
        )
    )
    old: dict[str, torch.Tensor] = {}
    for key, tensor in model.state_dict().items():
        place = key.replace("model.layers.", "blk.")
        if key.endswith("experts.gate_up_proj"):
            for e, expert in enumerate(tensor):
                for name, part in zip(("one", "three"), expert.chunk(2), strict=True):
                    old[f"{place.split('.mlp')[0]}.{e}.{name}"] = part.clone()
        elif key.endswith("experts.down_proj"):
            old.update({f"{place.split('.mlp')[0]}.{e}.two": part.clone() for e, part in enumerate(tensor)})
        else:
            old[place] = tensor
    save_file(old, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    shapes = {key: tuple(tensor.shape) for key, tensor in old.items()}
    transforms = conversion(transformers_converter.render(rules, Background(tuple(old), shapes)))
    own = get_checkpoint_conversion_mapping("mixtral")
    register_checkpoint_conversion_mapping("mixtral", transforms, overwrite=True)
    try:
        loaded, info = MixtralForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    finally:
        register_checkpoint_conversion_mapping("mixtral", own, overwrite=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    ids = torch.arange(5)[None]
    with torch.no_grad():
        assert torch.equal(loaded.eval()(ids).logits, model(ids).logits)
