"""Names that say what a module is only to those who know how code bases number and nest their modules."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from automatch.matching import match
from tests.matching.built import built
from tests.matching.truth import flagged, found, solved, spec, truth

WIDTH = 16


def layers(name: str, parts: Mapping[str, nn.Module], depth: int = 3) -> nn.Module:
    """Layers that hold these modules, between an embedding and a head."""
    modules: dict[str, nn.Module] = {"embed": nn.Embedding(50, WIDTH)}
    for i in range(depth):
        modules |= {f"{name}.{i}.{path}": type(part)(*_sizes(part)) for path, part in parts.items()}
    return built({**modules, "head": nn.Linear(WIDTH, 7)})


def _sizes(part: nn.Module) -> tuple[int, ...]:
    if isinstance(part, nn.Linear):
        return part.in_features, part.out_features
    return (part.weight.shape[0],)


def same_but(words: Mapping[str, str], checkpoint: nn.Module) -> dict:
    """The truth where these parts of a key are replaced."""

    def other(key: str) -> str:
        for old, new in words.items():
            key = key.replace(old, new)
        return key

    return truth((key, other(key)) for key in checkpoint.state_dict())


GATED = {"gate_proj": nn.Linear(WIDTH, 24), "up_proj": nn.Linear(WIDTH, 24), "down_proj": nn.Linear(24, WIDTH)}


@pytest.mark.parametrize("names", [("fc_1", "fc_2", "proj"), ("wi_0", "wi_1", "wo")], ids=["litgpt", "T5"])
def test_the_gate_is_the_first_of_two_that_these_code_bases_number(names: tuple[str, ...]) -> None:
    mine = layers("layers", {f"mlp.{name}": part for name, part in zip(names, GATED.values(), strict=True)})
    theirs = layers("layers", {f"mlp.{name}": part for name, part in GATED.items()})
    words = {f"mlp.{old}.": f"mlp.{new}." for old, new in zip(names, GATED, strict=True)}
    solved(mine, theirs, same_but(words, mine))
    solved(theirs, mine, same_but({new: old for old, new in words.items()}, theirs))


def test_a_gate_and_up_in_one_tensor_are_cut_for_what_is_numbered() -> None:
    """Phi-3's gate_up_proj is litgpt's fc_1 and fc_2."""
    fused = {"gate_up_proj": nn.Linear(WIDTH, 48), "down_proj": nn.Linear(24, WIDTH)}
    split = {"fc_1": nn.Linear(WIDTH, 24), "fc_2": nn.Linear(WIDTH, 24), "proj": nn.Linear(24, WIDTH)}
    answer = match(spec(layers("layers", fused)), spec(layers("layers", split)))
    served = found(answer)["layers.1.fc_1.weight", "layers.1.fc_2.weight"]
    assert (served.checkpoint, served.op) == (("layers.1.gate_up_proj.weight",), "chunk")
    assert not flagged(answer)


def test_other_numbers_tell_no_gate() -> None:
    """In Qwen 1 the second of `w1` and `w2` is the gate."""
    mine = layers("layers", {f"mlp.{n}": part for n, part in zip(("w1", "w2", "c_proj"), GATED.values(), strict=True)})
    answer = match(spec(mine), spec(layers("layers", {f"mlp.{name}": part for name, part in GATED.items()})))
    assert {"layers.1.mlp.gate_proj.weight", "layers.1.mlp.up_proj.weight"} <= flagged(answer)


ATTENTION = {"attn.qkv": nn.Linear(WIDTH, 3 * WIDTH), "attn.proj": nn.Linear(WIDTH, WIDTH)}
MLP = {"mlp.fc1": nn.Linear(WIDTH, 40), "mlp.fc2": nn.Linear(40, WIDTH)}


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (("ln_1", "ln_2"), ("ln", "ff_ln")),
        (("attn_input_layer_norm", "ffn_input_layer_norm"), ("input_layernorm", "post_attention_layernorm")),
        (("pre_attn", "pre_mlp"), ("input_layernorm", "post_attention_layernorm")),
    ],
    ids=["one bare", "before the parts", "no word for a norm"],
)
def test_the_norm_before_the_attention_and_the_norm_before_the_mlp(mine: tuple, theirs: tuple) -> None:
    sides = [
        layers("layers", {first: nn.LayerNorm(WIDTH), **ATTENTION, second: nn.LayerNorm(WIDTH), **MLP})
        for first, second in (mine, theirs)
    ]
    words = {f".{old}.": f".{new}." for old, new in zip(mine, theirs, strict=True)}
    solved(*sides, same_but(words, sides[0]))


def test_norms_that_stand_in_the_layer_that_they_feed() -> None:
    """Megatron-Core keeps the weights of a norm in the linear layer behind it."""
    mine, theirs = [("embed.weight", (50, 16))], [("embed.weight", (50, 16))]
    for i in range(3):
        own, other = f"layers.{i}.self_attention.linear", f"layers.{i}"
        mine += [
            (f"{own}_proj.weight", (16, 16)),
            (f"{own}_qkv.layer_norm_weight", (16,)),
            (f"{own}_qkv.weight", (48, 16)),
        ]
        own = f"layers.{i}.mlp.linear"
        mine += [
            (f"{own}_fc1.layer_norm_weight", (16,)),
            (f"{own}_fc1.weight", (40, 16)),
            (f"{own}_fc2.weight", (16, 40)),
        ]
        theirs += [(f"{other}.input_layernorm.weight", (16,)), (f"{other}.attn.qkv.weight", (48, 16))]
        theirs += [(f"{other}.attn.o_proj.weight", (16, 16)), (f"{other}.post_attention_layernorm.weight", (16,))]
        theirs += [(f"{other}.mlp.fc1.weight", (40, 16)), (f"{other}.mlp.fc2.weight", (16, 40))]
    answer = match(spec(mine), spec(theirs))
    served = found(answer)
    for i in range(3):
        inside = served[f"layers.{i}.input_layernorm.weight",].checkpoint
        assert inside == (f"layers.{i}.self_attention.linear_qkv.layer_norm_weight",)
    assert not {key for key in flagged(answer) if "norm" in key}


def test_two_norms_that_are_counted_and_that_of_the_mlp() -> None:
    """AnimateDiff's `norms.0`, `norms.1` and `ff_norm` are the norm1, norm2 and norm3 of diffusers."""
    attentions = {f"attn{n}.{path}": nn.Linear(WIDTH, WIDTH) for n in (1, 2) for path in ("to_q", "to_out")}
    names = (("norms.0", "norms.1", "ff_norm"), ("norm1", "norm2", "norm3"))
    sides = [layers("blocks", {**attentions, **MLP, **dict.fromkeys(own, nn.LayerNorm(WIDTH))}) for own in names]
    solved(*sides, same_but({f".{old}.": f".{new}." for old, new in zip(*names, strict=True)}, sides[0]))


def test_of_two_projections_of_one_part_one_is_the_further_one() -> None:
    """Wan's `k` reads the text and `k_img` the image, which are diffusers' `to_k` and `add_k_proj`."""
    names = (("q", "k", "v", "o", "k_img", "v_img"), ("to_q", "to_k", "to_v", "to_out", "add_k_proj", "add_v_proj"))
    sides = [layers("blocks", {f"cross_attn.{name}": nn.Linear(WIDTH, WIDTH) for name in own}) for own in names]
    solved(*sides, same_but({f".{old}.": f".{new}." for old, new in zip(*names, strict=True)}, sides[0]))


def test_letters_that_count_containers() -> None:
    """`conv_a.bn` and `conv_b.bn` are the first and the second, as `conv1` and `conv2` are."""

    def net(first: str, second: str) -> nn.Module:
        parts: dict[str, nn.Module] = {}
        for n, name in enumerate((first, second)):
            conv, norm = ("conv", "bn") if name.endswith(("a", "b")) else (f"conv{n + 1}", f"norm{n + 1}")
            home = f"{name}." if name.endswith(("a", "b")) else ""
            parts |= {f"{home}{conv}": nn.Conv2d(4, 4, 3), f"{home}{norm}": nn.BatchNorm2d(4)}
        return built({f"blocks.{i}.{path}": part for i in range(1) for path, part in parts.items()})

    mine, theirs = net("conv_a", "conv_b"), net("1", "2")
    words = {"conv_a.conv": "conv1", "conv_a.bn": "norm1", "conv_b.conv": "conv2", "conv_b.bn": "norm2"}
    solved(mine, theirs, same_but(words, mine))


def test_a_list_that_may_hold_two_others_by_turns_is_in_doubt() -> None:
    """Video UNets hold `attentions` and `temp_attentions`, of one shape where text and layer have one width."""
    mine: dict[str, nn.Module] = {}
    theirs: dict[str, nn.Module] = {}
    for stage, width in enumerate((WIDTH, 24)):
        text = 24  # as wide as the layers of the second stage
        for i in range(2):
            for n, (name, keys) in enumerate((("attentions", text), ("temp_attentions", width)), 1):
                block = {"norm": nn.LayerNorm(width), "to_k": nn.Linear(keys, width), "to_out": nn.Linear(width, width)}
                mine |= {f"input_blocks.{1 + 3 * stage + i}.{n}.{path}": part for path, part in block.items()}
                theirs |= {f"down_blocks.{stage}.{name}.{i}.{path}": part for path, part in block.items()}
    answer = match(spec(built(mine)), spec(built(theirs)))
    assert flagged(answer) == {key for key in built(theirs).state_dict() if key.startswith("down_blocks.1.")}


def test_a_number_of_the_training_is_neither_a_bias_nor_a_counter() -> None:
    """`best_eer` beside the weights, and torch_ema's `num_updates`."""
    mine = built({"body.0": nn.Linear(8, 8), "body.1": nn.BatchNorm1d(8)}).state_dict()
    mine |= {"best_eer": torch.tensor(0.1), "num_updates": torch.tensor(3)}
    del mine["body.1.num_batches_tracked"]
    answer = match(
        spec(mine), spec(built({"net.0": nn.Linear(8, 8), "net.1": nn.BatchNorm1d(8), "out": nn.Linear(8, 1)}))
    )
    assert not {"best_eer", "num_updates"} & {key for match in answer.matches for key in match.checkpoint_keys}


def test_the_counter_of_a_norm_goes_with_it() -> None:
    """Also where the norm was put together at the very end."""
    mine = {f"mix.{i}.{path}": part for i in range(2) for path, part in _mixer("0", "1", "3", conv=True).items()}
    theirs = {f"mlps.{i}.{path}": part for i in range(2) for path, part in _mixer("norm", "up", "down").items()}
    answer = match(spec(built(mine)), spec(built(theirs)))
    served = {match.model_keys[0]: match.checkpoint_keys[0] for match in answer.matches}
    assert all(served[f"mlps.{i}.norm.num_batches_tracked"] == f"mix.{i}.0.num_batches_tracked" for i in range(2))


def _mixer(norm: str, up: str, down: str, conv: bool = False) -> dict[str, nn.Module]:
    make = (lambda a, b: nn.Conv1d(a, b, 1)) if conv else nn.Linear
    more = {} if conv else {"scale": nn.LayerNorm(8, bias=False)}
    return {norm: nn.BatchNorm1d(8), up: make(8, 24), down: make(24, 8), **more}


def test_a_key_of_both_sides_is_served_though_another_one_took_its_tensor() -> None:
    """Of TabNet's first norm a later version holds a second key; which of the two the file means is said as a doubt."""
    mine = {f"tabnet.{name}": part for name, part in _tabnet("").items()}
    theirs = {f"tabnet.{name}": part for name, part in _tabnet("encoder.").items()}
    answer = match(spec(built(mine)), spec(built(theirs | {"tabnet.initial_bn": nn.BatchNorm1d(6)})))
    assert not answer.missing_keys
    assert "tabnet.initial_bn.weight" in flagged(answer)


def _tabnet(home: str) -> dict[str, nn.Module]:
    steps = {f"{home}steps.{i}.fc": nn.Linear(6, 9) for i in range(4)}
    return {f"{home}initial_bn": nn.BatchNorm1d(6), **steps, f"{home}out": nn.Linear(9, 2)}
