"""The norms of a block, whatever they are called: what they stand before, and in which order."""

from __future__ import annotations

import pytest

from automatch.matching import match
from tests.matching.truth import honest, solved, spec, truth

Keys = list[tuple[str, tuple[int, ...]]]
Pairs = list[tuple[str, str]]
WIDTH = 32
SHAPES = {"q": (WIDTH, WIDTH), "kv": (2 * WIDTH, WIDTH), "up": (96, WIDTH), "down": (WIDTH, 96), "norm": (WIDTH,)}


def blocks(pairs: Pairs, mine: str, theirs: str, layers: int = 3, order: list[int] | None = None) -> tuple[Keys, Keys]:
    """The keys of some layers on both sides; a name ends with the kind of its shape behind a bar."""
    given: Keys = []
    wanted: Keys = []
    for i in range(layers):
        here: Keys = []
        there: Keys = []
        for s, t in pairs:
            (name, _, kind), (other, _, _) = s.partition("|"), t.partition("|")
            here.append((f"{mine.format(i)}.{name}", SHAPES[kind]))
            there.append((f"{theirs.format(i)}.{other}", SHAPES[kind]))
        given += here
        wanted += there if order is None else [there[n] for n in order]
    return given, wanted


def served(pairs: Pairs, mine: str, theirs: str, layers: int = 3) -> Pairs:
    names = [(s.partition("|")[0], t.partition("|")[0]) for s, t in pairs]
    return [(f"{mine.format(i)}.{s}", f"{theirs.format(i)}.{t}") for i in range(layers) for s, t in names]


@pytest.mark.parametrize("norm", ["norm.scale", "norm.weight"])
def test_a_norm_in_the_attention_stands_before_it(norm: str) -> None:
    """gpt-oss keeps `attn.norm` and `mlp.norm` where transformers has them beside the parts; both files are sorted."""
    pairs = [
        (f"attn.{norm}|norm", "input_layernorm.weight"),
        ("attn.out.weight|q", "self_attn.o_proj.weight"),
        ("attn.qkv.weight|kv", "self_attn.qkv_proj.weight"),
        ("mlp.down.weight|down", "mlp.down_proj.weight"),
        (f"mlp.{norm}|norm", "post_attention_layernorm.weight"),
        ("mlp.up.weight|up", "mlp.up_proj.weight"),
    ]
    given, wanted = blocks(pairs, "block.{}", "model.layers.{}", order=[2, 1, 5, 3, 0, 4])
    solved(sorted(given), wanted, truth(served(pairs, "block.{}", "model.layers.{}")))


def test_norms_of_their_own_beside_those_of_the_parts() -> None:
    """EVA scales within the attention and within the mlp; these norms stand before neither."""
    pairs = [
        ("norm1.weight|norm", "input_layernorm.weight"),
        ("attn.norm.weight|norm", "attn.inner.weight"),
        ("attn.proj.weight|q", "attn.out.weight"),
        ("norm2.weight|norm", "post_attention_layernorm.weight"),
        ("mlp.norm.weight|norm", "mlp.inner.weight"),
        ("mlp.fc1.weight|up", "mlp.up.weight"),
    ]
    given, wanted = blocks(pairs, "blocks.{}", "layers.{}")
    honest(given, wanted, truth(served(pairs, "blocks.{}", "layers.{}")))


THREE = [
    ("self_attn.q.weight|q", "self_attn.q_proj.weight"),
    ("cross_attn.kv.weight|kv", "encoder_attn.kv_proj.weight"),
    ("linear1.weight|up", "fc1.weight"),
    ("linear2.weight|down", "fc2.weight"),
    ("norm1.weight|norm", "self_attn_layer_norm.weight"),
    ("norm2.weight|norm", "encoder_attn_layer_norm.weight"),
    ("norm3.weight|norm", "final_layer_norm.weight"),
]


@pytest.mark.parametrize("back", [False, True])
def test_three_numbered_norms_of_a_decoder(back: bool) -> None:
    """BART's norms are called after their parts and stand beside them, those of nn.Transformer stand at the end."""
    given, wanted = blocks(THREE, "decoder.layers.{}", "decoder.blocks.{}", order=[0, 4, 1, 5, 2, 3, 6])
    pairs = served(THREE, "decoder.layers.{}", "decoder.blocks.{}")
    if back:
        solved(wanted, given, truth((t, s) for s, t in pairs))
    else:
        solved(given, wanted, truth(pairs))


def test_a_decoder_that_attends_to_the_other_sequence_first() -> None:
    """Deformable DETR's first norm stands behind its cross-attention: its number says nothing of the self-attention."""
    changed = {
        "norm1.weight|norm": "encoder_attn_layer_norm.weight",
        "norm2.weight|norm": "self_attn_layer_norm.weight",
    }
    named = dict(THREE) | changed
    order = ["cross_attn.kv.weight|kv", "norm1.weight|norm", "self_attn.q.weight|q", "norm2.weight|norm"]
    pairs = [(s, named[s]) for s in [*order, "linear1.weight|up", "linear2.weight|down", "norm3.weight|norm"]]
    encoder = [pair for pair in THREE if "cross" not in pair[0] and "norm3" not in pair[0] and "norm2" not in pair[0]]
    encoder += [("norm2.weight|norm", "final_layer_norm.weight")]
    given, wanted = blocks(encoder, "encoder.layers.{}", "encoder.blocks.{}")
    more, others = blocks(pairs, "decoder.layers.{}", "decoder.blocks.{}", order=[2, 3, 0, 1, 4, 5, 6])
    expected = served(encoder, "encoder.layers.{}", "encoder.blocks.{}")
    expected += served(pairs, "decoder.layers.{}", "decoder.blocks.{}")
    solved([*given, *more], [*wanted, *others], truth(expected))


@pytest.mark.parametrize(
    ("first", "second"),
    [("before_norm", "after_norm"), ("sa_layer_norm", "output_layer_norm"), ("attn_norm", "final_layer_norm")],
)
def test_norms_that_are_numbered_on_one_side(first: str, second: str) -> None:
    """PoolFormer, DistilBERT, and Whisper in a GGUF file whose blocks begin with their mlp."""
    pairs = [
        ("fc1.weight|up", "ffn_up.weight"),
        ("fc2.weight|down", "ffn_down.weight"),
        (f"{second}.weight|norm", "ln2.weight"),
        ("attn.q.weight|q", "attn_q.weight"),
        (f"{first}.weight|norm", "ln1.weight"),
    ]
    given, wanted = blocks(pairs, "layers.{}", "blk.{}", order=[3, 4, 0, 1, 2])
    solved(given, wanted, truth(served(pairs, "layers.{}", "blk.{}")))


def test_what_is_left_of_a_projection_is_no_norm() -> None:
    """Where k has no bias, those of q and v are left over: neither is the bias of a norm that is not matched yet."""
    given: Keys = []
    wanted: Keys = []
    for i in range(2):
        a, b = f"encoder/layer_{i}/self_attention", f"encoder.layers.{i}"
        given += [(f"{a}/layer_norm/beta", (16,)), (f"{a}/layer_norm/gamma", (16,))]
        given += [(f"{a}/linear_0/bias", (48,)), (f"{a}/linear_0/weight", (48, 16))]
        wanted += [(f"{b}.self_attn.{n}_proj.weight", (16, 16)) for n in "kvq"]
        wanted += [(f"{b}.self_attn.{n}_proj.bias", (16,)) for n in "vq"]
        wanted += [(f"{b}.self_attn_layer_norm.weight", (16,)), (f"{b}.self_attn_layer_norm.bias", (16,))]
    for m in match(spec(given), spec(wanted)).matches:
        assert not any("_proj.bias" in key for key in m.model_keys) or "linear_0/bias" in m.checkpoint_keys[0]
