"""Of several families that could be fused, joined or turned, those are that must be, and in the right order."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import automatch
from automatch.matching import match
from tests.matching.built import Bare, built, either, layered
from tests.matching.transformers import WIDTH, turned
from tests.matching.truth import Served, Truth, by_rename, flagged, found, renamed, solved, spec, truth

BOTH = pytest.mark.parametrize("swap", [False, True], ids=["apart into fused", "fused into apart"])
APART = ["q_proj", "k_proj", "v_proj", "out_proj"]
MEMBERS = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "kv_proj": ("k_proj", "v_proj"),
    "in_proj": ("to_q", "to_k", "to_v"),
}


def fused_truth(whole: object) -> Truth:
    """Every fused tensor is served by its members under the same path."""
    out: dict[tuple[str, ...], Served] = {}
    for key in spec(whole).keys:
        path, _, name = key.rpartition(".")[0].rpartition(".")
        role = key.rpartition(".")[2]
        parts = MEMBERS.get(name, (name,))
        members = tuple(f"{path}.{part}.{role}".removeprefix(".") for part in parts)
        out[key,] = Served(members, "concat" if len(parts) > 1 else "rename")
    return out


def attentions(own: list[str], other: list[str], before: int = WIDTH) -> nn.Module:
    """Layers of a decoder: attention over itself, attention over something else of another width, mlp."""
    times = {"qkv_proj": 3, "kv_proj": 2}
    linears = {f"self_attn.{name}": (WIDTH, WIDTH * times.get(name, 1)) for name in own}
    for name in other:
        linears[f"cross_attn.{name}"] = (before if name[0] in "kv" else WIDTH, WIDTH * times.get(name, 1))
    return layered({**linears, "fc1": (WIDTH, 64), "fc2": (64, WIDTH)})


@BOTH
def test_fused_queries_in_one_attention_and_apart_in_the_other(swap: bool) -> None:
    """Self-attention is joined to qkv, cross-attention of the same width keeps its queries apart from its kv."""
    whole = attentions(["qkv_proj", "out_proj"], ["q_proj", "kv_proj", "out_proj"])
    either(swap, attentions(APART, APART), whole, fused_truth(whole))


@BOTH
def test_biases_of_an_attention_that_is_apart_on_both_sides(swap: bool) -> None:
    """Its weights cannot be joined; its biases would be as long as those of the other attention's qkv."""
    whole = attentions(["qkv_proj", "out_proj"], APART, before=24)
    either(swap, attentions(APART, APART, before=24), whole, fused_truth(whole))


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("up_gate_proj", ("up_proj", "gate_proj")),
        ("gate_up_proj", ("gate_proj", "up_proj")),
        ("w12", ("gate_proj", "up_proj")),
    ],
)
def test_gate_and_up_in_the_order_that_the_name_says(name: str, order: tuple[str, ...]) -> None:
    apart = layered({"mlp.gate_proj": (16, 40), "mlp.up_proj": (16, 40), "mlp.down_proj": (40, 16)})
    assert loaded(apart, layered({f"mlp.{name}": (16, 80), "mlp.down_proj": (40, 16)}), f"mlp.{name}") == order


@BOTH
@pytest.mark.parametrize("name", ["fc_in", "ff_proj", "Wi", "dense_h_to_4h"])
def test_gate_and_up_under_a_name_that_tells_no_order(name: str, swap: bool) -> None:
    """Most libraries put the gate first, OLMo and ModernBERT last: a guess, and flagged."""
    apart = layered({"mlp.gate_proj": (16, 40), "mlp.up_proj": (16, 40), "mlp.down_proj": (40, 16)})
    pair = [spec(apart), spec(layered({f"mlp.{name}": (16, 80), "mlp.down_proj": (40, 16)}))]
    assignment = match(*(pair[::-1] if swap else pair))
    halves = [m for m in assignment.matches if m.op != "rename"]
    assert len(halves) >= 3 and all(m.ambiguous and "which half" in m.reason for m in halves)
    assert not any(m.ambiguous for m in assignment.matches if m.op == "rename")


@pytest.mark.parametrize(
    ("name", "order"),
    [("kqv", "kqv"), ("kqv_proj", "kqv"), ("qkv", "qkv"), ("in_proj", "qkv"), ("queries_keys_values", "qkv")],
)
def test_query_key_and_value_in_the_order_that_the_name_says(name: str, order: str) -> None:
    apart = layered({f"attn.{part}": (16, 16) for part in ("q", "k", "v", "out")})
    assert loaded(apart, layered({f"attn.{name}": (16, 48), "attn.out": (16, 16)}), f"attn.{name}") == tuple(order)


def loaded(apart: nn.Module, whole: nn.Module, path: str) -> tuple[str, ...]:
    """The names of the modules that a fused matrix holds, from above, after the load; in all layers the same."""
    automatch.load(whole, apart.state_dict())
    given, held = apart.state_dict(), whole.state_dict()
    orders = set()
    for i in range(3):
        around = f"layers.{i}.{path}".rpartition(".")[0]
        parts = {key: part for key, part in given.items() if key.startswith(around) and key.endswith(".weight")}
        rows = 40 if "mlp" in path else 16
        pieces = held[f"layers.{i}.{path}.weight"].split(rows)
        orders.add(
            tuple(key.split(".")[3] for piece in pieces for key, part in parts.items() if torch.equal(piece, part))
        )
    assert len(orders) == 1
    return orders.pop()


def unet(whole: bool) -> nn.Module:
    """Attentions on the way down and, wider, on the way up."""
    modules: dict[str, nn.Module] = {}
    for side, width in (("down_blocks", 16), ("up_blocks", 24)):
        for i in range(2):
            path = f"{side}.{i}"
            modules[f"{path}.norm"] = nn.LayerNorm(width)
            if whole:
                modules[f"{path}.in_proj"] = nn.Linear(width, 3 * width)
            else:
                modules.update({f"{path}.{name}": nn.Linear(width, width) for name in MEMBERS["in_proj"]})
            modules[f"{path}.out_proj"] = nn.Linear(width, width)
            modules[f"{path}.fc"] = nn.Linear(width, 4 * width)
    return built(modules)


@BOTH
def test_up_blocks_are_no_up_projection(swap: bool) -> None:
    """What is in them is fused as it is in down_blocks."""
    either(swap, unet(False), unet(True), fused_truth(unet(True)))


def mixer(lying: bool) -> nn.Module:
    """Layers of bare parameters: two matrices, stored [in, out] or not, and a bank of three, which nobody turns."""
    modules: dict[str, nn.Module] = {"embed": nn.Embedding(50, 16)}
    for i in range(3):
        modules[f"layers.{i}.mix"] = Bare(3, 8, 16)
        for name, (before, width) in {"up": (16, 64), "down": (64, 16)}.items():
            modules[f"layers.{i}.{name}"] = Bare(before, width) if lying else Bare(width, before)
    return built(modules)


@BOTH
def test_what_has_one_shape_on_both_sides_is_not_turned_with_the_others(swap: bool) -> None:
    keys = spec(mixer(False)).keys
    expected: Truth = {
        (key,): Served((key,), "transpose" if key.endswith(("up.w", "down.w")) else "rename") for key in keys
    }
    solved(mixer(not swap), mixer(swap), expected)


META = {"q_proj": "wq", "k_proj": "wk", "v_proj": "wv", "o_proj": "wo", "gate_proj": "w1", "up_proj": "w3"} | {
    "down_proj": "w2",
    "self_attn": "attention",
    "mlp": "feed_forward",
}


@BOTH
def test_a_lost_matrix_turns_no_others(swap: bool) -> None:
    """One side has no o_proj, the other no positions: as many matrices lie then as stand, and still none is turned."""
    sizes = {f"self_attn.{name}": (16, 40) for name in ("q_proj", "k_proj", "v_proj")}
    sizes |= {"mlp.gate_proj": (16, 40), "mlp.up_proj": (16, 40), "mlp.down_proj": (40, 16)}
    placed = layered(sizes, 2, bias=False)
    placed.position = nn.Embedding(40, 16)
    whole = layered({**sizes, "self_attn.o_proj": (40, 16)}, 2, bias=False)
    meta = renamed(whole, in_meta)
    expected = by_rename(renamed(placed, lambda key: None if "position" in key else key), in_meta)
    either(swap, placed, meta, expected)


def in_meta(key: str) -> str:
    """The name that Meta's own code has for it."""
    return ".".join(META.get(token, token) for token in key.split("."))


def test_the_cut_of_a_fused_tensor_whose_name_says_another_order() -> None:
    """Taken apart, up comes from the upper half of `up_gate_proj`."""
    apart = layered({"mlp.gate_proj": (16, 40), "mlp.up_proj": (16, 40), "mlp.down_proj": (40, 16)})
    whole = layered({"mlp.up_gate_proj": (16, 80), "mlp.down_proj": (40, 16)})
    assignment = match(spec(whole), spec(apart))
    assert flagged(assignment) == set()
    cuts = [keys for keys, served in found(assignment).items() if served.op == "chunk"]
    assert [[key.split(".")[3] for key in keys] for keys in cuts] == [["up_proj", "gate_proj"]] * 6


@BOTH
def test_the_numbered_layers_of_an_attention(swap: bool) -> None:
    """The Annotated Transformer keeps query, key, value and output as `linears.0 .. 3`: taken so, and flagged."""
    apart = layered({**{f"self_attn.linears.{i}": (16, 16) for i in range(4)}, "mlp.up": (16, 40)})
    whole = layered({"self_attn.in_proj": (16, 48), "self_attn.out_proj": (16, 16), "mlp.up": (16, 40)})
    pair = [spec(apart), spec(whole)]
    assignment = match(*(pair[::-1] if swap else pair))
    fused = [m for m in assignment.matches if m.op != "rename"]
    assert len(fused) == 6 and all(m.ambiguous and "no name says so" in m.reason for m in fused)
    for one in fused:
        parts = one.model_keys if swap else one.checkpoint_keys
        assert [key.split(".")[4] for key in parts] == ["0", "1", "2"]
    out = {
        m.model_keys + m.checkpoint_keys
        for m in assignment.matches
        if "out_proj" in "".join(m.model_keys + m.checkpoint_keys)
    }
    assert len(out) == 6 and all("linears.3" in "".join(keys) for keys in out)


@BOTH
def test_numbered_layers_of_an_attention_that_is_called_like_a_part(swap: bool) -> None:
    apart = layered({f"q_attn.linears.{i}": (16, 16) for i in range(4)})
    whole = layered({"attn.qkv": (16, 48), "attn.out": (16, 16)})
    pair = [spec(apart), spec(whole)]
    fused = [m for m in match(*(pair[::-1] if swap else pair)).matches if m.op != "rename"]
    assert all(m.ambiguous for m in fused)


def test_gate_and_up_are_in_doubt_in_every_layer() -> None:
    """Not the layers 12 and 13 alone are spelt out by their numbers."""
    gates = {f"layers.{i}.{p}_proj.weight": (40, 16) for i in range(16) for p in ("gate", "up")}
    downs = {f"layers.{i}.down_proj.weight": (16, 40) for i in range(16)}
    fused = {f"layers.{i}.fc1.weight": (80, 16) for i in range(16)}
    assignment = match(spec([*gates.items(), *downs.items()]), spec([*fused.items(), *downs.items()]))
    joined = [m for m in assignment.matches if m.op != "rename"]
    assert len(joined) == 16 and all(m.ambiguous for m in joined)


@BOTH
def test_fused_tensors_that_are_fewer_than_the_groups(swap: bool) -> None:
    """Of two attentions of one width one lost its fused matrix: names say which is there."""
    parts = {f"attn.to_{p}": (16, 16) for p in "qkv"} | {f"attn.add_{p}_proj": (16, 16) for p in "qkv"}
    apart, whole = layered(parts, bias=False), layered({"img_attn.qkv": (16, 48), "txt_attn.qkv": (16, 48)}, bias=False)
    kept = renamed(whole, lambda key: None if "img_attn" in key else key)
    given, wanted = (apart, kept) if swap else (kept, apart)
    joined = [m for m in match(spec(given), spec(wanted)).matches if m.op != "rename"]
    assert len(joined) == 3
    assert all("add_" in key for m in joined for key in (m.checkpoint_keys if swap else m.model_keys))


@BOTH
def test_a_linear_layer_over_patches_is_flagged(swap: bool) -> None:
    """Channel by channel or pixel by pixel: no shape says how a patch is laid out in a row."""
    conv = built({"patch_embed.proj": nn.Conv2d(3, 16, 4), "blocks.0.fc": nn.Linear(16, 24)})
    linear = built({"patch_embed.proj": nn.Linear(48, 16), "blocks.0.fc": nn.Linear(16, 24)})
    pair = [spec(conv), spec(linear)]
    assignment = match(*(pair[::-1] if swap else pair))
    assert flagged(assignment) == {"patch_embed.proj.weight"}


@BOTH
def test_what_is_fused_is_no_sign_of_a_transposed_layout(swap: bool) -> None:
    """Down lost its partner, and gate and up are fused: a shape too many here, its transpose there, turn nothing."""
    fused = {"attn_out": (16, 16), "ff_proj": (16, 80), "ff_out": (40, 16)}
    apart = {"self_attn.o_proj": (16, 16), "mlp.gate_proj": (16, 40), "mlp.up_proj": (16, 40)}
    pair = [spec(layered(fused, bias=False)), spec(layered(apart, bias=False))]
    squares = [
        m
        for m in match(*(pair[::-1] if swap else pair)).matches
        if "o_proj" in "".join(m.model_keys + m.checkpoint_keys)
    ]
    assert len(squares) == 3 and {m.op for m in squares} == {"rename"}


@pytest.mark.parametrize("called", ["eps", "scale"])
def test_numbers_of_a_list_are_a_vector_of_their_name(called: str) -> None:
    """GIN keeps the eps of all convolutions in one parameter or in each; what is called otherwise is another."""
    rest = {f"convs.{i}.lin": nn.Linear(6 + i, 5) for i in range(3)} | {"out": nn.Linear(5, 2)}
    model = built(rest)
    for i in range(3):
        model.get_submodule(f"convs.{i}").register_parameter(called, nn.Parameter(torch.zeros(())))
    checkpoint = {key: torch.rand(t.shape) for key, t in built(rest).state_dict().items()} | {"eps": torch.rand(3)}
    keys = tuple(f"convs.{i}.{called}" for i in range(3))
    if called != "eps":
        assert keys not in found(match(spec(checkpoint), spec(model)))
        return
    assert found(match(spec(checkpoint), spec(model)))[keys] == Served(("eps",), "unstack")
    automatch.load(model, checkpoint)
    assert torch.equal(torch.stack([model.get_parameter(key) for key in keys]), checkpoint["eps"])


def test_rows_of_an_embedding_are_no_norms_of_layers() -> None:
    """BERT's two token types are as many as a small model has layers."""
    layers = {f"layers.{i}.{name}": nn.Linear(16, 16) for i in range(2) for name in ("q", "k", "v", "o")}
    model = built({"tok": nn.Embedding(30, 16)} | layers | {f"layers.{i}.sa_norm": nn.LayerNorm(16) for i in range(2)})
    checkpoint = built({"tok": nn.Embedding(30, 16), "token_type_embeddings": nn.Embedding(2, 16)} | layers)
    assert all("unstack" not in m.op for m in match(spec(checkpoint), spec(model)).matches)


@pytest.mark.parametrize("names", [("Q1", "Q2"), ("critic_0", "critic_1", "critic_2")])
def test_critics_that_a_number_in_their_name_counts(names: tuple[str, ...]) -> None:
    """As a vectorised ensemble holds them; a pair of norms is no table of two rows."""
    sizes = {"trunk.0.weight": (6, 7), "trunk.0.bias": (6,), "trunk.2.weight": (1, 6), "trunk.2.bias": (1,)}
    norms = [(f"actor.norm{i}.{role}", (9,)) for i in range(len(names)) for role in ("weight", "bias")]
    body = [("actor.fc.weight", (9, 5)), *norms]
    given = [*body, *((f"{name}.{leaf}", shape) for name in names for leaf, shape in sizes.items())]
    bodies = [(key.replace("actor", "policy"), shape) for key, shape in body]
    table = [("policy.kinds", (len(names), 9))]
    wanted = [*bodies, *((f"critics.{leaf[6:]}", (len(names), *shape)) for leaf, shape in sizes.items())]
    expected = truth((key, key.replace("actor", "policy")) for key, _ in body) | {
        (f"critics.{leaf[6:]}",): Served(tuple(f"{name}.{leaf}" for name in names), "stack") for leaf in sizes
    }
    solved(given, wanted, expected)
    solved(wanted, given, turned(expected))
    assert ("policy.kinds",) not in found(match(spec(given), spec([*wanted, *table])))


def test_what_has_its_own_name_is_no_member_of_a_stack() -> None:
    """Two layers, and a table of relations [2, 8, 8] beside the first of them."""
    given = [("rel", (2, 8, 8)), ("fc1.weight", (8, 8)), ("fc1.bias", (8,)), ("out.weight", (3, 8))]
    wanted = [
        ("fc1.weight", (8, 8)),
        ("fc1.bias", (8,)),
        ("fc2.weight", (8, 8)),
        ("fc2.bias", (8,)),
        ("out.weight", (3, 8)),
    ]
    answer = found(match(spec(given), spec(wanted)))
    assert answer["fc1.weight",] == Served(("fc1.weight",)) and ("fc2.weight",) not in answer


def test_numbered_norms_are_no_table() -> None:
    """Two norms of one vector each, and a table of two kinds of tokens that the checkpoint lacks."""
    given = [("fc.weight", (8, 8)), ("norm1.weight", (8,)), ("norm2.weight", (8,)), ("out.weight", (3, 8))]
    wanted = [("kinds", (2, 8)), ("fc.weight", (8, 8)), ("out.weight", (3, 8))]
    answer = match(spec(given), spec(wanted))
    assert found(answer) == truth((key, key) for key in ("fc.weight", "out.weight"))
    assert answer.missing_keys == ("kinds",) and answer.unexpected_keys == ("norm1.weight", "norm2.weight")
