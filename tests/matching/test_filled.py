"""What is left over, and of which the rest of the network says what it is: its list, its layout, its other half."""

from __future__ import annotations

import pytest

from automatch.matching import match
from tests.matching.truth import Served, flagged, found, honest, solved, spec, truth

Keys = list[tuple[str, tuple[int, ...]]]


def test_the_item_that_is_left_over_goes_where_the_others_of_its_list_went() -> None:
    """DPT's `layer1_rn` has the shape of half its network; `layer2_rn` to `layer4_rn` have shapes of their own."""
    widths = (8, 16, 24, 32)
    given: Keys = [(f"scratch.layer{i + 1}_rn.weight", (8, width, 3, 3)) for i, width in enumerate(widths)]
    wanted: Keys = [(f"head.blocks.{i}.project.weight", (8, width, 3, 3)) for i, width in enumerate(widths)]
    pairs = [(s, t) for (s, _), (t, _) in zip(given, wanted, strict=True)]
    for i in range(4):
        for conv in ("conv1", "conv2"):
            pairs.append(
                (f"scratch.refinenet{4 - i}.unit.{conv}.weight", f"head.fusion_blocks.{i}.residual.{conv}.weight")
            )
            given.append((pairs[-1][0], (8, 8, 3, 3)))
            wanted.append((pairs[-1][1], (8, 8, 3, 3)))
    answer = match(spec(sorted(given)), spec(wanted))
    assert found(answer) == truth(pairs)
    assert flagged(answer) == {key for key, _ in wanted if "fusion" in key}  # numbered from the last on


def test_what_only_items_in_doubt_say_is_not_said() -> None:
    """Nothing is filled in by pairs that are flagged themselves."""
    given: Keys = [(f"a.{i}.weight", (4, 4)) for i in range(3)] + [("x.weight", (4, 4))]
    wanted: Keys = [(f"b.{i}.other.weight", (4, 4)) for i in range(3)]
    assert {key for key, _ in wanted} <= flagged(match(spec(given), spec(wanted))) | {"b.2.other.weight"}


@pytest.mark.parametrize("depth", [2, 5])
def test_norms_in_lists_of_their_own_beside_norms_in_every_layer(depth: int) -> None:
    """`layer_norms_2.0` is the second norm of layer 0, and not the first of layer 1, whatever norm stands beside it."""
    given: Keys = [(f"layer_norms_{n}.{i}.weight", (8,)) for n in (1, 2) for i in range(depth)]
    pairs = [(f"layer_norms_{n}.{i}.weight", f"blocks.{i}.norm{n}.weight") for n in (1, 2) for i in range(depth)]
    for i in range(depth):
        for s, t, shape in (("ffns.{}.0", "ffn.up", (16, 8)), ("ffns.{}.2", "ffn.down", (8, 16))):
            given.append((f"{s.format(i)}.weight", shape))
            pairs.append((f"{s.format(i)}.weight", f"blocks.{i}.{t}.weight"))
        given.append((f"mixers.{i}.group_norm.weight", (8,)))
        pairs.append((f"mixers.{i}.group_norm.weight", f"blocks.{i}.mixer.norm.weight"))
    shapes = dict(given)
    there = {t: shapes[s] for s, t in pairs}
    wanted: Keys = [(t, there[t]) for t in sorted(there, key=lambda key: int(key.split(".")[1]))]
    honest(spec(sorted(given)), spec(wanted), truth(pairs))
    assert found(match(spec(sorted(given)), spec(wanted))) == truth(pairs)


@pytest.mark.parametrize("names", [("A", "B"), ("a.weight", "b.weight")])
def test_halves_that_are_called_by_letters_alone(names: tuple[str, str]) -> None:
    """LoRA from scratch, as many a tutorial has it, and the same under PEFT's names."""
    given: Keys = []
    wanted: Keys = []
    pairs = []
    for i in range(2):
        for part in ("query", "value"):
            mine = [(f"layers.{i}.{part}.{names[0]}", (2, 8)), (f"layers.{i}.{part}.{names[1]}", (8, 2))]
            stem = f"base_model.model.layers.{i}.{part}"
            theirs = [(f"{stem}.lora_A.default.weight", (2, 8)), (f"{stem}.lora_B.default.weight", (8, 2))]
            mine.append((f"layers.{i}.{part}.linear.weight", (8, 8)))
            theirs.append((f"{stem}.base_layer.weight", (8, 8)))
            given, wanted = given + mine, wanted + theirs
            pairs += [(s, t) for (s, _), (t, _) in zip(mine, theirs, strict=True)]
    solved(given, wanted, truth(pairs))


def test_heads_that_are_kept_apart_of_what_is_fused() -> None:
    """TransformerLens keeps every head in a dimension of its own, and query, key and value apart; NeoX fuses them."""
    given: Keys = []
    wanted: Keys = []
    expected = {}
    for i in range(2):
        layer, block = f"layers.{i}", f"blocks.{i}"
        given += [(f"{layer}.attention.qkv.weight", (96, 32)), (f"{layer}.attention.dense.weight", (32, 32))]
        parts = [f"{block}.attn.W_{part}" for part in "QKV"]
        wanted += [(key, (4, 32, 8)) for key in parts]
        wanted += [(f"{block}.attn.W_O", (4, 8, 32)), (f"{block}.attn.mask", (32, 32))]
        given += [(f"{layer}.mlp.up.weight", (80, 32)), (f"{layer}.mlp.down.weight", (32, 80))]
        wanted += [(f"{block}.mlp.W_in", (32, 80)), (f"{block}.mlp.W_out", (80, 32))]
        expected[tuple(parts)] = (f"{layer}.attention.qkv.weight",)
        expected[f"{block}.attn.W_O",] = (f"{layer}.attention.dense.weight",)
    answer = match(spec(given), spec(wanted))
    served = {keys: one.checkpoint for keys, one in found(answer).items()}
    assert {keys: served.get(keys) for keys in expected} == expected
    assert not any("mask" in key for keys in served for key in keys)


def test_a_kernel_of_three_channels_out_is_turned_as_its_like() -> None:
    """MLX's [3, 3, 3, 8] is torch's [3, 8, 3, 3], and nothing of TensorFlow's."""
    given: Keys = [("conv_in.weight", (8, 4, 3, 3)), ("conv_out.weight", (3, 8, 3, 3))]
    given += [(f"blocks.{i}.conv.weight", (8, 8, 3, 3)) for i in range(3)]
    wanted = [(key, (shape[0], *shape[2:], shape[1])) for key, shape in given]
    expected = {(key,): Served((key,), "transpose") for key, _ in given}
    solved(given, wanted, expected)


def test_a_norm_below_its_own_name_is_no_other_head() -> None:
    """`norm_out.norm` is what `norm_out` was before it was wrapped, though all else has kept its name."""
    rest: Keys = [(f"blocks.{i}.{part}.weight", (8, 8)) for i in range(4) for part in ("a", "b")]
    given = [*rest, ("norm_out.weight", (8,)), ("norm_out.bias", (8,))]
    wanted = [*rest, ("norm_out.norm.weight", (8,)), ("norm_out.norm.bias", (8,))]
    solved(given, wanted, truth((s, t) for (s, _), (t, _) in zip(given, wanted, strict=True)))


def test_a_table_of_relative_positions_is_no_bias() -> None:
    """CTranslate2 keeps T5's `relative_attention_bias` as a parameter of every layer, transformers in the first."""
    parts = {"q": (16, 16), "o": (16, 16)}
    given: Keys = [(f"encoder/layer_{i}/attention/{part}/weight", s) for i in range(2) for part, s in parts.items()]
    given += [(f"encoder/layer_{i}/attention/relative_attention_bias", (32, 4)) for i in range(2)]
    wanted: Keys = [(f"encoder.block.{i}.attention.{part}.weight", s) for i in range(2) for part, s in parts.items()]
    wanted += [("encoder.block.0.attention.relative_attention_bias.weight", (32, 4))]
    served = found(match(spec(given), spec(wanted)))
    key = "encoder.block.0.attention.relative_attention_bias.weight"
    assert served[key,].checkpoint == ("encoder/layer_0/attention/relative_attention_bias",)


def test_what_stands_under_its_name_is_not_joined() -> None:
    """Its joined shape is that of another tensor of the model, by chance."""
    keys: Keys = [(f"x_attn.{part}_proj.weight", (8, 8)) for part in "qkv"]
    rest: Keys = [("layers.0.fc.weight", (16, 8)), ("layers.1.fc.weight", (16, 8))]
    given = [*keys, ("layers.0.fc.weight", (16, 8)), ("old.weight", (5, 5))]
    wanted = [*keys, *rest]
    answer = found(match(spec(given), spec(wanted)))
    assert {(key,): Served((key,)) for key, _ in keys}.items() <= answer.items()
