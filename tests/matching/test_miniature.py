"""Long lists of equal items are matched in miniature, and the answer is the one that the whole would have given."""

from __future__ import annotations

from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import automatch
from automatch.describing.repeats import columns_of
from automatch.matching import engine, match
from automatch.matching.assignment import Assignment
from automatch.matching.miniature import cutting
from automatch.spec import StateDictSpec, TensorSpec
from tests.matching.truth import renamed, spec

LAYERS, EXPERTS = 20, 24


def mixture(layers: int = LAYERS, experts: int = EXPERTS) -> nn.Module:
    """A mixture of experts, two thousand keys and more."""
    with torch.device("meta"):
        expert = lambda: nn.ModuleDict(  # noqa: E731
            {"gate_proj": nn.Linear(16, 24), "up_proj": nn.Linear(16, 24), "down_proj": nn.Linear(24, 16)}
        )
        blocks = [
            nn.ModuleDict(
                {
                    "q_proj": nn.Linear(16, 16),
                    "k_proj": nn.Linear(16, 8),
                    "input_layernorm": nn.LayerNorm(16),
                    "experts": nn.ModuleList(expert() for _ in range(experts)),
                }
            )
            for _ in range(layers)
        ]
        return nn.ModuleDict({"embed_tokens": nn.Embedding(99, 16), "layers": nn.ModuleList(blocks)})


WORDS = (("layers", "blocks"), ("q_proj", "wq"), ("k_proj", "wk"), ("input_layernorm", "attention_norm"))
WORDS += (("experts", "moe.experts"), ("gate_proj", "w1"), ("down_proj", "w2"), ("up_proj", "w3"))


def to_meta(key: str) -> str:
    for word, other in WORDS:
        key = key.replace(word, other)
    return key


def whole(checkpoint: StateDictSpec, model: StateDictSpec) -> Assignment:
    """The answer without a miniature."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "miniature", lambda *_: None)
        return match(checkpoint, model)


def test_a_third_of_the_keys_gives_the_same_answer() -> None:
    model = spec(mixture())
    checkpoint = spec(renamed(mixture(), to_meta))
    found = match(checkpoint, model)
    assert found.sample is not None
    assert 2 * len(found.sample.model_keys) < len(model)
    assert found == whole(checkpoint, model)
    assert {m.model_keys[0]: m.checkpoint_keys[0] for m in found.matches} == {k: to_meta(k) for k in model.keys}
    assert not any(m.ambiguous for m in found.matches)


def test_rules_learnt_in_miniature_are_those_of_the_whole_and_count_every_key() -> None:
    model, checkpoint = mixture(), renamed(mixture(), to_meta)
    found = automatch.diagnose(checkpoint, model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "miniature", lambda *_: None)
        assert automatch.diagnose(checkpoint, model).rules == found.rules
    assert [rule.hits for rule in found.rules] == list(found.proof.hits)
    assert sum(found.proof.hits) == len([key for key in checkpoint if key != "embed_tokens.weight"])


def stacked(layers: int = LAYERS, experts: int = EXPERTS) -> nn.Module:
    """The same network with its experts as stacks, gate and up in one, and q and k in their own."""
    blocks = []
    for _ in range(layers):
        block = nn.ModuleDict(
            {
                "q_proj": nn.Linear(16, 16, bias=False),
                "k_proj": nn.Linear(16, 8, bias=False),
                "input_layernorm": nn.LayerNorm(16),
                "experts": nn.Module(),
            }
        )
        block["experts"].gate_up_proj = nn.Parameter(torch.empty(experts, 48, 16))
        block["experts"].down_proj = nn.Parameter(torch.empty(experts, 16, 24))
        blocks.append(block)
    return nn.ModuleDict({"embed_tokens": nn.Embedding(99, 16), "layers": nn.ModuleList(blocks)})


def test_experts_of_many_layers_are_stacked_as_those_of_a_few() -> None:
    many = 30
    with torch.device("meta"):
        model = spec(stacked(many))
    apart = {k: v for k, v in mixture(many).state_dict().items() if not k.endswith("bias") or "norm" in k}
    checkpoint = spec({to_meta(key): tensor for key, tensor in apart.items()})
    found = match(checkpoint, model)
    assert found.sample is not None
    assert found == whole(checkpoint, model)
    served = {m.model_keys[0]: m for m in found.matches}
    assert len(served) == len(model)
    last = served[f"layers.{many - 1}.experts.gate_up_proj"]
    assert last.op == "stack+concat"
    assert set(last.checkpoint_keys) == {
        f"blocks.{many - 1}.moe.experts.{e}.{w}.weight" for e in range(EXPERTS) for w in ("w1", "w3")
    }


def dense_first(model: StateDictSpec, dense: int = 2) -> StateDictSpec:
    """The same network, whose first layers have one matrix instead of experts."""
    out = []
    for tensor in model.tensors:
        early = any(f".{i}." in tensor.key.split("experts")[0] for i in range(dense))
        if "experts" not in tensor.key or not early:
            out.append(tensor)
        elif tensor.key.endswith(("experts.0.w1.weight", "experts.down_proj")):
            out.append(TensorSpec(tensor.key.split("experts")[0] + "dense.weight", (40, 16)))
    return StateDictSpec(model.name, tuple(out))


@pytest.mark.parametrize("dense", [0, 2])
@pytest.mark.parametrize("back", [False, True])
def test_of_experts_that_one_side_stacks_a_few_say_how_all_are_stacked(dense: int, back: bool) -> None:
    with torch.device("meta"):
        model = spec(stacked(24, 32))
    apart = {k: v for k, v in mixture(24, 32).state_dict().items() if not k.endswith("bias") or "norm" in k}
    sides = [spec({to_meta(key): tensor for key, tensor in apart.items()}), model]
    first, second = (dense_first(side, dense) for side in (reversed(sides) if back else sides))
    found = match(first, second)
    assert found.sample is not None
    assert len(found.sample.checkpoint_keys) + len(found.sample.model_keys) < (len(first) + len(second)) / 4
    assert not found.missing_keys
    assert not found.unexpected_keys
    assert found == whole(first, second)
    assert {m.op for m in found.matches} == {
        "rename",
        *(("unstack", "chunk+unstack") if back else ("stack", "stack+concat")),
    }


@pytest.mark.parametrize("lost", ["blocks.3.moe.experts.7.w1.weight", "blocks.0.moe.experts.31.w2.weight"])
def test_a_stack_that_lacks_an_expert_is_not_taken_for_whole(lost: str) -> None:
    with torch.device("meta"):
        model = spec(stacked(24, 32))
    apart = {k: v for k, v in mixture(24, 32).state_dict().items() if not k.endswith("bias") or "norm" in k}
    checkpoint = changed(spec({to_meta(key): tensor for key, tensor in apart.items()}), lost, None)
    found = match(checkpoint, model)
    assert found == whole(checkpoint, model)
    assert any(lost.split(".")[1] == key.split(".")[1] for key in found.missing_keys)


def changed(model: StateDictSpec, key: str, instead: TensorSpec | None) -> StateDictSpec:
    tensors = (t if t.key != key else instead for t in model.tensors)
    return StateDictSpec(model.name, tuple(t for t in tensors if t is not None))


@pytest.mark.parametrize("where", [(0, 0), (7, 3), (LAYERS - 1, EXPERTS - 1)])
def test_one_expert_that_differs_is_not_taken_for_the_others(where: tuple[int, int]) -> None:
    key = f"blocks.{where[0]}.moe.experts.{where[1]}.w1.weight"
    model, checkpoint = spec(mixture()), spec(renamed(mixture(), to_meta))
    wanted = f"layers.{where[0]}.experts.{where[1]}.gate_proj.weight"

    found = match(changed(checkpoint, key, None), model)
    assert wanted in found.missing_keys
    assert len(found.matches) == len(model) - 1

    found = match(changed(checkpoint, key, TensorSpec(key, (25, 16))), model)
    assert [(m.key, m.checkpoint_key) for m in found.mismatched] == [(wanted, key)]


def test_a_file_that_ends_too_early_misses_its_last_key() -> None:
    model, checkpoint = spec(mixture()), spec(renamed(mixture(), to_meta))
    found = match(StateDictSpec("file", checkpoint.tensors[:-1]), model)
    assert found.missing_keys == (model.keys[-1],)
    found = match(*(StateDictSpec("short", side.tensors[:-1]) for side in (checkpoint, model)))
    assert len(found.matches) == len(model) - 1


def test_of_keys_that_share_one_tensor_every_column_is_uneven() -> None:
    """Two heads in each layer that are tied to a third: none of the three lists may be cut."""
    tensors = tuple(
        TensorSpec(f"layers.{i}.{name}.weight", (4, 4), tied=None if name == "first" else f"layers.{i}.first.weight")
        for i in range(4)
        for name in ("first", "second", "third")
    )
    assert [column.even for column in columns_of(StateDictSpec("model", tensors))] == [False, False, False]


def test_a_model_with_more_layers_misses_them() -> None:
    checkpoint, model = spec(renamed(mixture(20), to_meta)), spec(mixture(24))
    found = match(checkpoint, model)
    assert {key.split(".")[1] for key in found.missing_keys} == {"20", "21", "22", "23"}
    assert len(found.matches) == len(checkpoint)


def test_layers_in_another_order_of_tensors_are_not_cut() -> None:
    model, checkpoint = spec(mixture()), spec(renamed(mixture(), to_meta))
    tensors = list(checkpoint.tensors)
    moved = [t for t in tensors if t.key.startswith("blocks.15.")]
    Random(3).shuffle(moved)
    rest = iter(moved)
    mixed = tuple(next(rest) if t.key.startswith("blocks.15.") else t for t in tensors)
    found = match(StateDictSpec("file", mixed), model)
    assert {m.model_keys[0]: m.checkpoint_keys[0] for m in found.matches} == {k: to_meta(k) for k in model.keys}


@st.composite
def lists(draw: st.DrawFn) -> tuple[StateDictSpec, StateDictSpec]:
    """Two hands' names for lists of lists; either side may lack some keys, and one may keep the inner lists in stacks.

    The first of the outer items may be others.
    """
    sizes = draw(st.lists(st.sampled_from([(4,), (4, 4), (8, 4), (6,)]), min_size=1, max_size=4))
    outer, inner = draw(st.integers(5, 20)), draw(st.integers(1, 20))
    words = draw(st.permutations(["alpha", "beta", "gamma", "delta"]))
    stacks, early, back = draw(st.booleans()), draw(st.sampled_from([0, 0, 1, 2])), draw(st.booleans())
    sides: list[list[TensorSpec]] = [[TensorSpec("stem.weight", (3, 3))], [TensorSpec("first.weight", (3, 3))]]
    for i in range(outer):
        for n, size in enumerate(sizes if stacks and i >= early else ()):
            sides[1].append(TensorSpec(f"net.blocks.{i}.heads.{words[n]}.weight", (inner, *size)))
        for j in range(inner if i >= early else 0):
            for n, size in enumerate(sizes):
                if stacks:
                    sides[0].append(TensorSpec(f"layers.{i}.parts.{j}.p{n}.weight", size))
                    continue
                sides[0].append(TensorSpec(f"layers.{i}.parts.{j}.p{n}.weight", size))
                sides[1].append(TensorSpec(f"net.blocks.{i}.heads.{j}.{words[n]}.weight", size))
        sides[0].append(TensorSpec(f"layers.{i}.norm.weight", (4,)))
        sides[1].append(TensorSpec(f"net.blocks.{i}.ln.weight", (4,)))
    lost: list[set[int]] = [draw(st.just(set()) | st.sets(st.integers(0, len(side) - 1), max_size=2)) for side in sides]
    kept = [[t for n, t in enumerate(side) if n not in gone] for side, gone in zip(sides, lost, strict=True)]
    first, second = reversed(kept) if back else kept
    return StateDictSpec("file", tuple(first)), StateDictSpec("model", tuple(second))


def answer(found: Assignment) -> tuple[object, ...]:
    """What is matched and what is flagged, without the wording."""
    matches = [(m.model_keys, m.checkpoint_keys, m.op, m.ambiguous) for m in found.matches]
    return matches, found.missing_keys, found.unexpected_keys, found.mismatched


@settings(max_examples=60, deadline=None)
@given(lists())
def test_whatever_the_lists_are_the_answer_is_that_of_the_whole(sides: tuple[StateDictSpec, StateDictSpec]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "WORTH_IT", 0)
        patch.setattr(cutting, "LEAST", 8)
        patch.setattr(cutting, "KEPT", 6)
        patch.setattr(cutting, "STACKED", 3)
        found = match(*sides)
    assert answer(found) == answer(whole(*sides))
