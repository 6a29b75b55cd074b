"""Layers that share little, and yet are the only ones; what a vocabulary, or a file's order, makes look otherwise."""

from __future__ import annotations

from itertools import pairwise

import pytest

from automatch.matching import match
from tests.matching.truth import Served, complete, flagged, found, honest, solved, spec

Keys = list[tuple[str, tuple[int, ...]]]

WIDTH = 32


def gated(depth: int) -> tuple[Keys, Keys, dict[tuple[str, ...], Served]]:
    """A Phi-3 that keeps gate and up apart under names that tell nothing, and one that joins them."""
    mine: Keys = [("lm_head.weight", (64, WIDTH)), ("transformer.wte.weight", (64, WIDTH))]
    theirs: Keys = [("model.embed_tokens.weight", (64, WIDTH))]
    expected: dict[tuple[str, ...], Served] = {
        ("lm_head.weight",): Served(("lm_head.weight",)),
        ("model.embed_tokens.weight",): Served(("transformer.wte.weight",)),
        ("model.norm.weight",): Served(("transformer.ln_f.weight",)),
    }
    for i in range(depth):
        own, other = f"transformer.h.{i}", f"model.layers.{i}"
        mine += [(f"{own}.norm_1.weight", (WIDTH,)), (f"{own}.attn.qkv.weight", (3 * WIDTH, WIDTH))]
        mine += [(f"{own}.attn.proj.weight", (WIDTH, WIDTH)), (f"{own}.norm_2.weight", (WIDTH,))]
        mine += [(f"{own}.mlp.lin_{k}.weight", (48, WIDTH)) for k in (1, 2)]
        mine.append((f"{own}.mlp.proj.weight", (WIDTH, 48)))
        theirs += [(f"{other}.self_attn.o_proj.weight", (WIDTH, WIDTH))]
        theirs += [(f"{other}.self_attn.qkv_proj.weight", (3 * WIDTH, WIDTH))]
        theirs += [(f"{other}.mlp.gate_up_proj.weight", (96, WIDTH)), (f"{other}.mlp.down_proj.weight", (WIDTH, 48))]
        theirs += [(f"{other}.{name}.weight", (WIDTH,)) for name in ("input_layernorm", "post_attention_layernorm")]
        for there, here in (
            ("self_attn.o_proj", "attn.proj"),
            ("self_attn.qkv_proj", "attn.qkv"),
            ("mlp.down_proj", "mlp.proj"),
            ("input_layernorm", "norm_1"),
            ("post_attention_layernorm", "norm_2"),
        ):
            expected[(f"{other}.{there}.weight",)] = Served((f"{own}.{here}.weight",))
    return (
        [*mine, ("transformer.ln_f.weight", (WIDTH,))],
        [
            *theirs,
            ("model.norm.weight", (WIDTH,)),
            ("lm_head.weight", (64, WIDTH)),
        ],
        expected,
    )


@pytest.mark.parametrize("depth", [2, 3, 6])
def test_layers_go_by_their_numbers_though_much_of_each_is_cut_otherwise(depth: int) -> None:
    mine, theirs, expected = gated(depth)
    answer = match(spec(mine), spec(theirs))
    told = found(answer)
    assert {keys: told.get(keys) for keys in expected} == expected
    fused = {f"model.layers.{i}.mlp.gate_up_proj.weight" for i in range(depth)}
    assert flagged(answer) == fused
    complete(answer, spec(mine), spec(theirs))


def test_a_deeper_network_of_such_layers_gives_none_of_its_own_away() -> None:
    """Where one side has more layers the numbers alone do not say which are missing."""
    mine, _, _ = gated(5)
    _, theirs, expected = gated(3)
    answer = match(spec(mine), spec(theirs))
    wrong = [m for m in answer.matches if not m.ambiguous and expected.get(m.model_keys, None) is not None]
    assert all(expected[m.model_keys].checkpoint == m.checkpoint_keys for m in wrong)


def test_experts_are_no_heads_though_together_they_are_as_many_as_words() -> None:
    """Four experts of 16 rows, and a vocabulary of 64."""
    mine: Keys = [("model.embed_tokens.weight", (64, WIDTH))]
    theirs: Keys = [("model.embed_tokens.weight", (64, WIDTH))]
    expected: dict[tuple[str, ...], Served] = {("model.embed_tokens.weight",): Served(("model.embed_tokens.weight",))}
    for i in range(3):
        path = f"model.layers.{i}.mlp"
        for name, shape in (("gate_proj", (16, WIDTH)), ("up_proj", (16, WIDTH)), ("down_proj", (WIDTH, 16))):
            key = f"{path}.switch_mlp.{name}.weight"
            mine.append((key, (4, *shape)))
            own = [f"{path}.experts.{k}.{name}.weight" for k in range(4)]
            theirs += [(expert, shape) for expert in own]
            expected[tuple(own)] = Served((key,), "unstack")
        for side in (mine, theirs):
            side.append((f"{path}.gate.weight", (4, WIDTH)))
        expected[(f"{path}.gate.weight",)] = Served((f"{path}.gate.weight",))
    theirs.append(("lm_head.weight", (64, WIDTH)))
    told = found(match(spec(mine), spec(theirs)))
    assert {keys: told.get(keys) for keys in expected} == expected


NORMS = ("layer_norm1", "layer_norm2", "layer_norm3")
PARTS = ("self_attn", "cross_attn", "mlp")


def hdf5(depth: int) -> tuple[Keys, Keys, dict[tuple[str, ...], Served]]:
    """TensorFlow's file, sorted by name, and torch's model, which registers each norm behind its part."""
    mine: Keys = []
    theirs: Keys = []
    expected: dict[tuple[str, ...], Served] = {}
    for i in range(depth):
        for part, norm in zip(PARTS, NORMS, strict=True):
            size = WIDTH if part != "mlp" else 48
            theirs.append((f"mask_decoder.layers.{i}.{part}.weight", (size, WIDTH)))
            theirs += [(f"mask_decoder.layers.{i}.{norm}.{role}", (WIDTH,)) for role in ("weight", "bias")]
            mine.append((f"mask_decoder/tf_model/mask_decoder/layers_._{i}/{part}/kernel:0", (WIDTH, size)))
            mine += [
                (f"mask_decoder/tf_model/mask_decoder/layers_._{i}/{norm}/{r}:0", (WIDTH,)) for r in ("gamma", "beta")
            ]
            expected[theirs[-3][0],] = Served((mine[-3][0],), "transpose")
            expected[theirs[-2][0],] = Served((mine[-2][0],))
            expected[theirs[-1][0],] = Served((mine[-1][0],))
    for i in range(depth):
        for name, size in (("proj_in", WIDTH), ("proj_out", 8)):
            theirs.append((f"mask_decoder.mlps.{i}.{name}.weight", (size, WIDTH)))
            mine.append((f"mask_decoder/tf_model/mask_decoder/mlps_._{i}/{name}/kernel:0", (WIDTH, size)))
            expected[theirs[-1][0],] = Served((mine[-1][0],), "transpose")
    return sorted(mine), theirs, expected


@pytest.mark.parametrize("depth", [2, 4])
def test_numbers_hold_in_a_file_whose_order_is_that_of_the_alphabet(depth: int) -> None:
    """What stands behind a norm in such a file is no part of the network that runs behind it."""
    mine, theirs, expected = hdf5(depth)
    solved(spec(mine), spec(theirs), expected)


def test_a_bias_whose_module_is_called_the_same_is_no_stranger_in_half_a_head() -> None:
    """TensorFlow's heads that are tied hold the embedding under the head's name, and the bias."""
    mine: Keys = [
        ("pred_layer_._proj/tf_model/pred_layer_._proj/bias:0", (50,)),
        ("pred_layer_._proj/tf_model/transformer/embeddings/weight:0", (50, WIDTH)),
        ("transformer/tf_model/transformer/embeddings/weight:0", (50, WIDTH)),
    ]
    theirs: Keys = [("transformer.positions.weight", (24, WIDTH)), ("transformer.embeddings.weight", (50, WIDTH))]
    for i in range(3):
        for name in ("lin1", "lin2"):
            mine.append((f"transformer/tf_model/transformer/ffns_._{i}/{name}/kernel:0", (WIDTH, 48)))
            mine.append((f"transformer/tf_model/transformer/ffns_._{i}/{name}/bias:0", (48,)))
            theirs.append((f"transformer.ffns.{i}.{name}.weight", (48, WIDTH)))
            theirs.append((f"transformer.ffns.{i}.{name}.bias", (48,)))
    mine.append(("transformer/tf_model/transformer/positions/embeddings:0", (24, WIDTH)))
    theirs += [("pred_layer.proj.weight", (50, WIDTH)), ("pred_layer.proj.bias", (50,))]
    assert found(match(spec(sorted(mine)), spec(theirs)))["pred_layer.proj.bias",] == Served((mine[0][0],))


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_an_attention_that_is_missing_is_not_taken_from_another_layer(depth: int) -> None:
    """The decoder was trained without an encoder: no cross-attention, of whatever layer, or with a flag."""
    mine: Keys = []
    theirs: Keys = []
    expected: dict[tuple[str, ...], Served] = {}
    for i in range(depth):
        own = [(f"{part}_proj", (16, 16)) for part in "qkvo"]
        mine += [(f"decoder.{i}.self_attn.{part}.weight", shape) for part, shape in own]
        theirs += [(f"dec.{i}.attn{n}.{part[0]}.weight", shape) for n in (1, 2) for part, shape in own]
        expected |= {
            (f"dec.{i}.attn1.{part[0]}.weight",): Served((f"decoder.{i}.self_attn.{part}.weight",)) for part, _ in own
        }
        for n, shape in enumerate(((32, 16), (16, 32))):
            mine.append((f"decoder.{i}.fc{n}.weight", shape))
            theirs.append((f"dec.{i}.ff.{n}.weight", shape))
            expected[theirs[-1][0],] = Served((mine[-1][0],))
    honest(spec(mine), spec(theirs), expected)


def network(name: str, *widths: int) -> Keys:
    sizes = pairwise(widths)
    return [
        pair
        for at, (before, width) in enumerate(sizes)
        for pair in ((f"{name}.{2 * at}.weight", (width, before)), (f"{name}.{2 * at}.bias", (width,)))
    ]


def test_which_of_two_numbered_critics_the_only_one_is_no_shape_says() -> None:
    mine = [*network("pi", 8, 16, 16, 4), *network("q2", 10, 16, 16, 1)]
    theirs = network("actor", 8, 16, 16, 4)
    for i in (1, 2):
        theirs += network(f"critic.net{i}", 10, 16, 16, 1)
    answer = match(spec(mine), spec(theirs))
    assert {key for m in answer.matches for key in m.model_keys if "critic" in key} == flagged(answer)


def test_the_first_of_several_layers_is_still_the_first() -> None:
    """What is numbered itself goes by its number, however many there are on the other side."""
    mine = [pair for i in range(2) for pair in network(f"blocks.{i}", 16, 24, 16)]
    theirs = [pair for i in range(4) for pair in network(f"layers.{i}", 16, 24, 16)]
    answer = match(spec(mine), spec(theirs))
    assert {m.model_keys[0]: m.checkpoint_keys[0] for m in answer.matches} == {
        key.replace("blocks", "layers"): key for key, _ in mine
    }


def test_layers_of_other_widths_put_none_in_doubt_whose_numbers_agree() -> None:
    """A pruned model's layers: some are narrower here, others there."""
    widths = (24, 32, 32, 32, 32, 32), (32, 28, 28, 32, 32, 32)
    sides = [
        [
            (f"layers.{i}.{name}.weight", shape)
            for i, w in enumerate(own)
            for name, shape in (("up", (w, 16)), ("down", (16, w)))
        ]
        for own in widths
    ]
    answer = match(spec([("emb.weight", (50, 16)), *sides[0]]), spec([("emb.weight", (50, 16)), *sides[1]]))
    same = {f"layers.{i}.{name}.weight" for i in (3, 4, 5) for name in ("up", "down")}
    assert {m.model_keys[0] for m in answer.matches if m.model_keys == m.checkpoint_keys and not m.ambiguous} >= same
