"""What is left over, and of which the rest of the network says what it is: its list, its layout, its other half."""

from __future__ import annotations

import pytest

from automatch.matching import match
from automatch.matching.basis.evidence import Evidence
from automatch.matching.basis.leaves import Leaf
from automatch.matching.left_overs.filled import as_in_other_items
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


def leaf(key: str, shape: tuple[int, ...] = (4, 4), integer: bool = False) -> Leaf:
    return Leaf(tuple(key.split(".")), shape, (key,), 0, integer=integer)


def filled(pairs: list[tuple[str, str, str]], mine: list[Leaf], theirs: list[Leaf], refused: bool = False) -> list[str]:
    """What is filled in beside pairs of a level: the model keys."""
    found = [(leaf(s), leaf(t), Evidence(level=level)) for s, t, level in pairs]
    sides = ([s for s, _, _ in found] + mine, [t for _, t, _ in found] + theirs)
    return [t.keys[0] for _, t, _ in as_in_other_items(found, *sides, lambda s, t: refused)]


NAMED = [(f"a{i}.w", f"b.{i}.w", "name") for i in (1, 2, 4)]


def test_two_items_say_where_the_third_goes() -> None:
    assert filled(NAMED, [leaf("a3.w")], [leaf("b.3.w")]) == ["b.3.w"]


@pytest.mark.parametrize(
    ("pairs", "mine", "theirs"),
    [
        (NAMED[:1], leaf("a3.w"), leaf("b.3.w")),  # one item says nothing of the distance
        ([(f"x.9.a{i}.w", f"b.{i}.w", "name") for i in (1, 2)], leaf("x.9.a3.w"), leaf("b.3.w")),  # a grid, perhaps
        ([(*NAMED[0][:2], "blocks"), (*NAMED[1][:2], "blocks")], leaf("a3.w"), leaf("b.3.w")),  # both are in doubt
        ([NAMED[0], ("a3.w", "b.2.w", "name")], leaf("a5.w"), leaf("b.4.w")),  # the distances differ
        (NAMED, leaf("a3.w", (4, 5)), leaf("b.3.w")),  # another shape
        (NAMED, leaf("a3.w"), leaf("b.3.w", integer=True)),  # a counter goes with its module
        (NAMED, leaf("a4.w"), leaf("b.3.w")),  # another item
    ],
)
def test_nothing_is_filled_in(pairs: list[tuple[str, str, str]], mine: Leaf, theirs: Leaf) -> None:
    assert filled(pairs, [mine], [theirs]) == []


def test_nothing_is_filled_in_that_a_person_refused_or_that_lists_dispute() -> None:
    assert filled(NAMED, [leaf("a3.w")], [leaf("b.3.w")], refused=True) == []
    other = [(f"c{i}.w", f"b.{i}.w", "name") for i in (4, 5)]
    assert filled(NAMED + other, [leaf("a3.w")], [leaf("b.3.w")]) == []


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
    """Kosmos-2's `x_attn`: by chance its k and v, joined, have the shape of a layer that the file lost elsewhere."""
    keys: Keys = [
        (f"x_attn.{part}_proj.{role}", (8,) * n) for part in "qkv" for role, n in (("weight", 2), ("bias", 1))
    ]
    layers: Keys = [
        (f"layers.{i}.fc.{role}", (16, 8)[: n + 1]) for i in range(3) for role, n in (("weight", 1), ("bias", 0))
    ]
    lost = [entry for entry in layers if "1.fc" not in entry[0]]
    answer = found(match(spec([*keys, *lost, ("old.weight", (5, 5))]), spec([*keys, *layers])))
    assert {(key,): Served((key,)) for key, _ in keys}.items() <= answer.items()


def test_a_matrix_called_a_beside_another_adapter_is_no_half() -> None:
    """A bottleneck's `a` and `b` are not what PEFT put beside the query."""
    stem = "layers.{}.attn.q"
    given: Keys = [(f"layers.{i}.mlp.{part}.weight", s) for i in range(2) for part, s in (("a", (4, 8)), ("b", (8, 4)))]
    given += [(f"{stem.format(i)}.weight", (8, 8)) for i in range(2)]
    wanted = [(key.replace("q.weight", "q.base_layer.weight"), shape) for key, shape in given]
    wanted += [
        (f"{stem.format(i)}.lora_{half}.default.weight", s)
        for i in range(2)
        for half, s in (("A", (2, 8)), ("B", (8, 2)))
    ]
    answer = match(spec(given), spec(wanted))
    assert not flagged(answer)
    assert found(answer) == truth((s, t) for (s, _), (t, _) in zip(given, wanted[: len(given)], strict=True))


def test_a_mask_is_one_by_its_shape() -> None:
    """GPT-2 calls its mask `bias`; a learnt `mask` is a token."""
    rest: Keys = [(f"h.{i}.fc.weight", (9, 8)) for i in range(2)]
    given: Keys = [*rest, *((f"h.{i}.attn.bias", (1, 1, 16, 16)) for i in range(2)), ("mask", (1, 1, 8))]
    wanted: Keys = [*rest, *((f"h.{i}.attn.mask", (1, 1, 16, 16)) for i in range(2)), ("mask_token", (1, 1, 8))]
    solved(given, wanted, truth((s, t) for (s, _), (t, _) in zip(given, wanted, strict=True)))
