"""Names that say what a module is only to those who know how code bases number and nest their modules."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from automatch.matching import match
from tests.matching.built import built
from tests.matching.truth import Served, flagged, found, solved, spec, truth

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


def test_the_gate_is_the_first_of_two_where_all_layers_lie_in_one_tensor() -> None:
    """MaxText scans its layers: `layers/mlp/wi_0/kernel` is [in, layers, out]."""
    depth, inner = 6, 24
    checkpoint = [("params/token_embedder/embedding", (50, WIDTH))] + [
        (f"params/decoder/layers/{path}", shape)
        for path, shape in (
            ("norm/scale", (WIDTH, depth)),
            ("mlp/wi_1/kernel", (WIDTH, depth, inner)),
            ("mlp/wi_0/kernel", (WIDTH, depth, inner)),
            ("mlp/wo/kernel", (inner, depth, WIDTH)),
        )
    ]
    theirs = {"norm": (WIDTH,), **{f"mlp.{name}": tuple(part.weight.shape) for name, part in GATED.items()}}
    model = [("embed.weight", (50, WIDTH))] + [
        (f"layers.{i}.{module}.weight", shape) for i in range(depth) for module, shape in theirs.items()
    ]
    answer = match(spec(checkpoint), spec(model))
    served = {key: m.checkpoint_keys[0].split("/")[-2] for m in answer.matches for key in m.model_keys}
    assert {served[f"layers.{i}.mlp.gate_proj.weight"] for i in range(depth)} == {"wi_0"}
    assert {served[f"layers.{i}.mlp.up_proj.weight"] for i in range(depth)} == {"wi_1"}
    assert flagged(answer) == set()


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


GLU = [("fc_1", (24, 8)), ("fc_2", (24, 8)), ("proj", (8, 24))]
SQUARE = [("fc_1", (16, 16)), ("fc_2", (16, 16)), ("proj", (16, 16))]


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [(GLU, ("value", "gate", "out")), (SQUARE, ("squeeze", "gate", "proj")), (SQUARE, ("lin", "gate_up", "out"))],
    ids=["no up-projection", "square layers", "all of one shape"],
)
def test_numbered_layers_are_no_gate_where_nothing_else_says_so(mine: list, theirs: tuple) -> None:
    """A gated linear unit may multiply its value first; the convention is that of a gate and an up-projection."""
    answer = match(
        spec([(f"blocks.{i}.{name}.weight", shape) for i in range(2) for name, shape in mine]),
        spec(
            [
                (f"layers.{i}.{name}.weight", shape)
                for i in range(2)
                for name, (_, shape) in zip(theirs, mine, strict=True)
            ]
        ),
    )
    served = found(answer)
    gate = f"layers.1.{theirs[1]}.weight"
    assert gate in flagged(answer) or served.get((gate,)) != Served(("blocks.1.fc_1.weight",))


def test_the_name_that_puts_the_gate_first_says_nothing_of_a_filter() -> None:
    """WaveNet's filter and gate, in what is called as GraniteMoE's gate and up are."""
    parts = {"filter": nn.Linear(WIDTH, WIDTH), "gate": nn.Linear(WIDTH, WIDTH), "out": nn.Linear(WIDTH, 40)}
    fused = {"input_linear": nn.Linear(WIDTH, 2 * WIDTH), "out": nn.Linear(WIDTH, 40)}
    answer = match(spec(layers("blocks", parts)), spec(layers("layers", fused)))
    assert {f"layers.{i}.input_linear.weight" for i in range(3)} <= flagged(answer)


@pytest.mark.parametrize("name", ["linear_fc1", "input_linear"])
def test_a_name_that_puts_the_gate_first(name: str) -> None:
    """Megatron-Core and GraniteMoE."""
    fused = {name: nn.Linear(WIDTH, 48), "down": nn.Linear(24, WIDTH)}
    split = {"gate_proj": nn.Linear(WIDTH, 24), "up_proj": nn.Linear(WIDTH, 24), "down": nn.Linear(24, WIDTH)}
    answer = match(spec(layers("layers", fused)), spec(layers("layers", split)))
    keys = ("layers.1.gate_proj.weight", "layers.1.up_proj.weight")
    assert found(answer)[keys] == Served((f"layers.1.{name}.weight",), "chunk")
    assert not flagged(answer)


def test_a_norm_behind_a_part_is_not_the_norm_before_it() -> None:
    """Of four norms the two inside stand behind the attention and the mlp."""
    sides: list[list] = [[], []]
    for i in range(3):
        mine = ["norm1", "attn.qkv", "attn.proj", "attn.proj.norm", "norm2", "mlp.fc1", "mlp.fc2", "mlp.fc2.norm"]
        theirs = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "pre_attn_norm", "pre_mlp_norm", "post_attn_norm"]
        for side, own, names in zip(sides, ("blocks", "layers"), (mine, [*theirs, "post_mlp_norm"]), strict=True):
            sizes = {"qkv": (48, 16), "proj": (16, 16), "fc1": (64, 16), "fc2": (16, 64)}
            side += [(f"{own}.{i}.{name}.weight", sizes.get(name.split(".")[-1], (16,))) for name in names]
    answer = match(spec(sides[0]), spec(sides[1]))
    behind = {f"blocks.{i}.{part}.norm.weight" for i in range(3) for part in ("attn.proj", "mlp.fc2")}
    sure = {m.model_keys[0]: m.checkpoint_keys[0] for m in answer.matches if not m.ambiguous}
    assert not [key for key in sure if "pre_" in key and sure[key] in behind]


def test_learnt_numbers_of_other_shapes_stay() -> None:
    """A PReLU's slope may be () here and (1,) there; only the bias of one output is no such number."""
    mine = [("fc1.weight", (8, 4)), ("act.alpha", ()), ("fc2.weight", (4, 8))]
    theirs = [("l1.weight", (8, 4)), ("prelu.weight", (1,)), ("l2.weight", (4, 8))]
    assert found(match(spec(mine), spec(theirs)))["prelu.weight",].checkpoint == ("act.alpha",)


def test_numbers_called_alpha_are_no_parts_of_adapters() -> None:
    """Where no halves stand beside them, layers counted from 1 go to layers counted from 0 with all they hold."""
    mine = [(f"layers.{i}.{name}", shape) for i in (1, 2, 3) for name, shape in (("fc.weight", (8, 8)), ("alpha", ()))]
    theirs = [(f"blocks.{i}.{name}", shape) for i in range(3) for name, shape in (("fc.weight", (8, 8)), ("alpha", ()))]
    solved(mine, theirs, truth((s, t) for (s, _), (t, _) in zip(mine, theirs, strict=True)))


def test_adapters_of_one_code_base_that_calls_their_halves_a_and_b() -> None:
    """kohya's file for a model whose adapters are `adapter.A`, `adapter.B` and a number."""
    mine, theirs = [], []
    for i in range(2):
        theirs += [(f"blocks.{i}.{name}.weight", (16, 24)) for name in ("to_q", "to_v")]
        for name in ("to_q", "to_v"):
            own, other = f"lora_unet_blocks_{i}_{name}", f"blocks.{i}.{name}.adapter"
            mine += [(f"{own}.alpha", ()), (f"{own}.lora_down.weight", (4, 24)), (f"{own}.lora_up.weight", (16, 4))]
            theirs += [(f"{other}.A.weight", (4, 24)), (f"{other}.B.weight", (16, 4)), (f"{other}_alpha", ())]
    served = found(match(spec(mine), spec(theirs)))
    assert len(served) == len(mine)
    assert served["blocks.1.to_v.adapter.B.weight",].checkpoint == ("lora_unet_blocks_1_to_v.lora_up.weight",)
    assert served["blocks.1.to_v.adapter_alpha",].checkpoint == ("lora_unet_blocks_1_to_v.alpha",)


def test_adapters_that_are_no_halves_of_a_rank_are_layers_like_others() -> None:
    """Bottleneck adapters of two tasks, A and B."""
    sizes = {"down": (4, 16), "up": (16, 4)}
    names = [(task, part) for task in "AB" for part in sizes]
    mine = [(f"blocks.{i}.adapter.{task}.{part}.weight", sizes[part]) for i in range(2) for task, part in names]
    theirs = [(f"layers.{i}.tasks.{task}.{part}.weight", sizes[part]) for i in range(2) for task, part in names]
    solved(mine, theirs, truth((s, t) for (s, _), (t, _) in zip(mine, theirs, strict=True)))


def test_keys_and_values_in_what_is_called_kv_though_more_layers_of_one_shape_stand_around() -> None:
    """A copied block of a ControlNet stands between two projections, which q, k and v would resemble apart."""
    mine, theirs = [], []
    for i in range(2):
        own, other = f"net.{i}.block", f"blocks.{i}"
        mine += [(f"net.{i}.before.weight", (16, 16)), (f"net.{i}.after.weight", (16, 16))]
        mine += [(f"{own}.attn.qkv.weight", (48, 16)), (f"{own}.attn.proj.weight", (16, 16))]
        mine += [(f"{own}.cross_attn.q_linear.weight", (16, 16)), (f"{own}.cross_attn.kv_linear.weight", (32, 16))]
        mine += [(f"{own}.cross_attn.proj.weight", (16, 16)), (f"{own}.mlp.weight", (40, 16))]
        theirs += [(f"{other}.attn1.to_{x}.weight", (16, 16)) for x in ("q", "k", "v", "out")]
        theirs += [(f"{other}.attn2.to_{x}.weight", (16, 16)) for x in ("q", "k", "v", "out")]
        theirs += [(f"{other}.ff.weight", (40, 16))]
    theirs += [(f"{name}.{i}.weight", (16, 16)) for name in ("ins", "outs") for i in range(2)]
    served = found(match(spec(mine), spec(theirs)))
    keys = ("blocks.1.attn2.to_k.weight", "blocks.1.attn2.to_v.weight")
    assert served[keys] == Served(("net.1.block.cross_attn.kv_linear.weight",), "chunk")


def test_the_scale_of_a_norm_may_be_a_row() -> None:
    """Moshi keeps `norm1.alpha` as [1, 1, d]; a class token is no such scale."""
    mine = [("emb.weight", (50, 16)), *((f"layers.{i}.norm1.alpha", (1, 1, 16)) for i in range(3))]
    theirs = [("embed.weight", (50, 16)), *((f"blocks.{i}.input_layernorm.weight", (16,)) for i in range(3))]
    mine += [(f"layers.{i}.fc.weight", (40, 16)) for i in range(3)]
    theirs += [(f"blocks.{i}.fc.weight", (40, 16)) for i in range(3)]
    served = found(match(spec(mine), spec(theirs)))
    assert served["blocks.2.input_layernorm.weight",].checkpoint == ("layers.2.norm1.alpha",)


def test_a_norm_that_is_free_and_nearly_as_well_named_is_a_rival() -> None:
    """Beside a block's `norm1` and `norm2`, `attention.norm` may or may not be the `attn_norm`."""
    mine, theirs = [], []
    for i in range(3):
        mine += [(f"enc.{i}.attention.q.weight", (16, 16)), (f"enc.{i}.attention.norm.weight", (16,))]
        mine += [(f"enc.{i}.norm1.weight", (16,)), (f"enc.{i}.fc.weight", (40, 16)), (f"enc.{i}.norm2.weight", (16,))]
        theirs += [(f"layers.{i}.attn.q.weight", (16, 16)), (f"layers.{i}.attn_norm.weight", (16,))]
        theirs += [(f"layers.{i}.fc.weight", (40, 16)), (f"layers.{i}.ff_norm.weight", (16,))]
    assert {f"layers.{i}.attn_norm.weight" for i in range(3)} <= flagged(match(spec(mine), spec(theirs)))


def test_an_embedding_that_a_file_calls_shared_serves_the_table_and_the_head() -> None:
    """Pegasus' file has `shared` alone; the model of its decoder an `embed_tokens` and a tied head."""
    fc = [(f"model.decoder.layers.{i}.fc.weight", (40, 16)) for i in range(2)]
    answer = match(
        spec([("model.shared.weight", (50, 16)), *fc]),
        spec([("model.decoder.embed_tokens.weight", (50, 16)), *fc, ("lm_head.weight", (50, 16))]),
    )
    tables = {"model.decoder.embed_tokens.weight", "lm_head.weight"}
    assert {key: found(answer)[key,].checkpoint for key in tables} == dict.fromkeys(tables, ("model.shared.weight",))
    assert tables <= flagged(answer)


def test_a_head_is_tied_to_the_table_of_its_own_network() -> None:
    """Of an encoder's and a decoder's table in one file, the decoder's head has the decoder's."""
    keys = [(f"{net}.bert.{name}", shape) for net in ("encoder", "decoder") for name, shape in TABLE]
    mine = [(key.replace("bert", "tf.bert"), shape) for key, shape in keys]
    answer = match(spec(mine), spec([*keys, ("decoder.cls.predictions.decoder.weight", (50, 16))]))
    served = found(answer)["decoder.cls.predictions.decoder.weight",]
    assert served.checkpoint == ("decoder.tf.bert.embeddings.word_embeddings.weight",)


TABLE = [
    ("embeddings.word_embeddings.weight", (50, 16)),
    ("layer.0.fc.weight", (40, 16)),
    ("layer.1.fc.weight", (40, 16)),
]


Q, K, V, OUT = (f"{x}.weight" for x in ("q", "k", "v", "o"))


def attentions(cross: bool) -> tuple[list, list, dict]:
    """Layers with q, k and v apart, against layers that join some of them."""
    mine, theirs, expected = [], [], []
    for i in range(3):
        own, other = f"blocks.{i}", f"layers.{i}"
        for name in ("self_attn", "cross_attn")[: 1 + cross]:
            mine += [(f"{own}.{name}.{x}", (16, 16)) for x in (Q, K, V, OUT)]
        mine += [(f"{own}.fc1.weight", (40, 16)), (f"{own}.fc2.weight", (16, 40))]
        if cross:
            theirs += [(f"{other}.attn1.{x}", (16, 16)) for x in (Q, K, V, OUT)]
            theirs += [(f"{other}.attn2.{x}", s) for x, s in ((Q, (16, 16)), ("kv.weight", (32, 16)), (OUT, (16, 16)))]
            expected.append(
                ((f"{other}.attn2.kv.weight",), Served((f"{own}.cross_attn.{K}", f"{own}.cross_attn.{V}"), "concat"))
            )
        else:
            theirs += [(f"{other}.self_attn.qkv.weight", (48, 16)), (f"{other}.self_attn.{OUT}", (16, 16))]
            theirs += [
                (f"{other}.cross_attn.{x}", s) for x, s in ((Q, (16, 16)), ("kv.weight", (32, 16)), (OUT, (16, 16)))
            ]
            keys = tuple(f"{own}.self_attn.{x}" for x in (Q, K, V))
            expected.append(((f"{other}.self_attn.qkv.weight",), Served(keys, "concat")))
        theirs += [(f"{other}.fc1.weight", (40, 16)), (f"{other}.fc2.weight", (16, 40))]
    return mine, theirs, dict(expected)


@pytest.mark.parametrize(
    "cross", [True, False], ids=["kv of the cross-attention", "qkv, and a cross-attention besides"]
)
def test_of_two_attentions_the_one_that_the_other_side_joins_is_joined(cross: bool) -> None:
    mine, theirs, expected = attentions(cross)
    answer = match(spec(mine), spec(theirs))
    assert expected.items() <= found(answer).items()
    assert not {key for keys in expected for key in keys} & flagged(answer)


def test_a_matrix_of_another_tower_is_no_head() -> None:
    """A language model out of BLIP-2, whose head is tied: an mlp of the vision tower has its shape."""
    text = [("decoder.embed_tokens.weight", (50, 16)), ("decoder.embed_positions.weight", (30, 16))]
    text += [(f"decoder.layers.{i}.{x}.weight", s) for i in range(3) for x, s in (("fc1", (40, 16)), ("fc2", (16, 40)))]
    mine = [(f"vision_model.layers.{i}.mlp.fc1.weight", (50, 16)) for i in range(3)]
    mine += [(f"language_model.model.{key}", shape) for key, shape in text]
    theirs = [*((f"model.{key}", shape) for key, shape in text), ("lm_head.weight", (50, 16))]
    answer = match(spec(mine), spec(theirs))
    assert found(answer)["lm_head.weight",].checkpoint == ("language_model.model.decoder.embed_tokens.weight",)
    assert "lm_head.weight" in flagged(answer)
