"""Weights that are parameters of their own, for `x @ w`: `W_in` beside `b_in`, `w1` and `w2`, stacks of experts."""

from __future__ import annotations

import pytest
import torch

from automatch import diagnose
from automatch.matching import match
from tests.matching.test_layouts import both_ways
from tests.matching.truth import Served, flagged, found, spec

Keys = list[tuple[str, tuple[int, ...]]]
WIDTH, EXPERTS = 16, 4
INNER = [24, 16]
NAMES = [("W_in", "W_out", "b_in", "b_out"), ("w1", "w2", "b1", "b2"), ("up_w", "down_w", "up_b", "down_b")]
NAMES += [("ffn_W1", "ffn_W2", "ffn_b1", "ffn_b2"), ("Wu", "Wd", "bu", "bd")]


def linear(prefix: str, inner: int, *, bias: bool, names: tuple[str, str] = ("fc1", "fc2")) -> Keys:
    up, down = names
    keys: Keys = [(f"{prefix}.{up}.weight", (inner, WIDTH)), (f"{prefix}.{down}.weight", (WIDTH, inner))]
    return keys + ([(f"{prefix}.{up}.bias", (inner,)), (f"{prefix}.{down}.bias", (WIDTH,))] if bias else [])


@pytest.mark.parametrize("names", NAMES, ids=[names[0] for names in NAMES])
def test_biases_show_how_bare_weights_are_stored(names: tuple[str, str, str, str]) -> None:
    """Two matrices of the shapes of each other's transpose: crossed they would fit without an operation."""
    checkpoint: Keys = []
    model: Keys = []
    expected: dict[tuple[str, ...], Served] = {}
    for i in range(3):
        shapes = [(WIDTH, 24), (24, WIDTH), (24,), (WIDTH,)]
        mine: Keys = [(f"blocks.{i}.mlp.{name}", shape) for name, shape in zip(names, shapes, strict=True)]
        theirs = linear(f"h.{i}.mlp", 24, bias=True)
        ops = ("transpose", "transpose", "rename", "rename")
        expected.update({(t,): Served((s,), op) for (s, _), (t, _), op in zip(mine, theirs, ops, strict=True)})
        checkpoint += mine
        model += theirs
    both_ways(checkpoint, model, expected)


def test_heads_of_bare_parameters() -> None:
    """TransformerLens keeps `W_Q` [heads, in, size] beside `b_Q` [heads, size], and `W_O` [heads, size, out]."""
    heads, size = 4, 6
    inner = heads * size
    checkpoint: Keys = []
    model: Keys = []
    expected: dict[tuple[str, ...], Served] = {}
    for i in range(2):
        a, b = f"blocks.{i}.attn", f"h.{i}.attn"
        for letter in "QKV":
            checkpoint += [(f"{a}.W_{letter}", (heads, WIDTH, size)), (f"{a}.b_{letter}", (heads, size))]
            model += [(f"{b}.{letter.lower()}_proj.weight", (inner, WIDTH))]
            model += [(f"{b}.{letter.lower()}_proj.bias", (inner,))]
        checkpoint += [(f"{a}.W_O", (heads, size, WIDTH)), (f"{a}.b_O", (WIDTH,))]
        model += [(f"{b}.o_proj.weight", (WIDTH, inner)), (f"{b}.o_proj.bias", (WIDTH,))]
    for (source, shape), (target, wanted) in zip(checkpoint, model, strict=True):
        op = "rename" if shape == wanted else "reshape" if len(shape) == 2 else "transpose+reshape"
        expected[(target,)] = Served((source,), "reshape+transpose" if source.endswith("W_O") else op)
    assert {keys: served.checkpoint for keys, served in found(match(spec(checkpoint), spec(model))).items()} == {
        keys: served.checkpoint for keys, served in expected.items()
    }
    assert flagged(match(spec(checkpoint), spec(model))) == set()


def test_heads_cut_out_of_what_is_fused_and_stored_transposed() -> None:
    """GPT-2's c_attn, [in, 3 * heads * size], is TransformerLens' W_Q, W_K, W_V, [heads, in, size]; and back."""
    heads, size, layers = 4, 4, 2
    fused: dict[str, torch.Tensor] = {"wte.weight": torch.randn(30, WIDTH)}
    apart: dict[str, torch.Tensor] = {"embed.W_E": fused["wte.weight"]}
    for i in range(layers):
        own = {"c_attn.weight": (WIDTH, 3 * WIDTH), "c_attn.bias": (3 * WIDTH,), "c_proj.weight": (WIDTH, WIDTH)}
        fused |= {f"h.{i}.attn.{name}": torch.randn(shape) for name, shape in own.items()}
        weight, bias, out = (fused[f"h.{i}.attn.{name}"] for name in own)
        for n, letter in enumerate("QKV"):
            part = slice(n * WIDTH, (n + 1) * WIDTH)
            apart[f"blocks.{i}.attn.W_{letter}"] = weight[:, part].reshape(WIDTH, heads, size).transpose(0, 1)
            apart[f"blocks.{i}.attn.b_{letter}"] = bias[part].reshape(heads, size)
        apart[f"blocks.{i}.attn.W_O"] = out.reshape(heads, size, WIDTH)
    diagnosis = diagnose(fused, apart)
    assert not diagnosis.missing_keys and not diagnosis.unexpected_keys
    converted = diagnosis.rules.apply(fused)
    assert converted.keys() == apart.keys()
    assert all(torch.equal(tensor, converted[key]) for key, tensor in apart.items())


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("names", [("W_in", "W_out"), ("w1", "w2"), ("wi", "wo")], ids="/".join)
def test_without_biases_the_layout_of_bare_weights_is_a_guess(names: tuple[str, str], inner: int) -> None:
    """[in, out] or [out, in]: the first fits crossed, and square ones fit in any way; both are said."""
    for depth in (1, 3):
        checkpoint: Keys = []
        model: Keys = []
        for i in range(depth):
            checkpoint += [(f"layers.{i}.{names[0]}", (WIDTH, inner)), (f"layers.{i}.{names[1]}", (inner, WIDTH))]
            model += linear(f"layers.{i}", inner, bias=False)
        for mine, theirs in ((checkpoint, model), (model, checkpoint)):
            assert flagged(match(spec(mine), spec(theirs))) == {key for key, _ in theirs}


def test_equal_names_show_how_bare_weights_are_stored() -> None:
    checkpoint: Keys = []
    model: Keys = []
    for i in range(2):
        checkpoint += [(f"layers.{i}.w1", (WIDTH, 24)), (f"layers.{i}.w2", (24, WIDTH))]
        model += linear(f"layers.{i}", 24, bias=False, names=("w1", "w2"))
    both_ways(checkpoint, model, {(f"{key}.weight",): Served((key,), "transpose") for key, _ in checkpoint})


@pytest.mark.parametrize("bias", [True, False], ids=["with biases", "equal names"])
def test_stacked_experts_of_another_layout(bias: bool) -> None:
    """Experts lead up and down, so that their stacks fit crossed as well."""
    up, down = ("fc1", "fc2") if bias else ("w1", "w2")
    checkpoint: Keys = [("router.weight", (EXPERTS, WIDTH))]
    model: Keys = [("router.weight", (EXPERTS, WIDTH))]
    checkpoint += [("experts.w1", (EXPERTS, WIDTH, 24)), ("experts.w2", (EXPERTS, 24, WIDTH))]
    checkpoint += [("experts.b1", (EXPERTS, 24)), ("experts.b2", (EXPERTS, WIDTH))] if bias else []
    for e in range(EXPERTS):
        model += linear(f"experts.{e}", 24, bias=bias, names=(up, down))
    expected = {("router.weight",): Served(("router.weight",))}
    for key, name, role in (("w1", up, "weight"), ("w2", down, "weight"), ("b1", up, "bias"), ("b2", down, "bias")):
        if role == "weight" or bias:
            parts = tuple(f"experts.{e}.{name}.{role}" for e in range(EXPERTS))
            expected[parts] = Served((f"experts.{key}",), "unstack+transpose" if role == "weight" else "unstack")
    assert found(match(spec(checkpoint), spec(model))) == expected
    back = found(match(spec(model), spec(checkpoint)))
    assert {served.checkpoint for served in back.values()} == set(expected)
    assert flagged(match(spec(checkpoint), spec(model))) == set()


def test_square_stacks_go_with_those_that_show_their_layout() -> None:
    """gpt-oss: gate and up in one [experts, in, 2 * out], whose input is as wide as what is between them."""
    checkpoint: Keys = []
    model: Keys = []
    for i in range(2):
        for name in ("gate", "up", "down"):
            checkpoint += [(f"blk.{i}.ffn_{name}_exps.weight", (EXPERTS, WIDTH, WIDTH))]
            checkpoint += [(f"blk.{i}.ffn_{name}_exps.bias", (EXPERTS, WIDTH))]
        model += [(f"layers.{i}.experts.gate_up_proj", (EXPERTS, WIDTH, 2 * WIDTH))]
        model += [(f"layers.{i}.experts.gate_up_proj_bias", (EXPERTS, 2 * WIDTH))]
        model += [(f"layers.{i}.experts.down_proj", (EXPERTS, WIDTH, WIDTH))]
        model += [(f"layers.{i}.experts.down_proj_bias", (EXPERTS, WIDTH))]
    assignment = match(spec(checkpoint), spec(model))
    answer = found(assignment)
    for i in range(2):
        assert answer[(f"layers.{i}.experts.down_proj",)] == Served((f"blk.{i}.ffn_down_exps.weight",), "transpose")
    # in halves or by turns: no shape shows it
    assert flagged(assignment) == {key for key, _ in model if "gate_up" in key}


@pytest.mark.parametrize("inner", [WIDTH, 24])
def test_square_weights_beside_biases_are_a_guess_unless_others_show_it(inner: int) -> None:
    """`w1 (16, 16), b1` alone show nothing; with one that is not square they go with it."""
    checkpoint: Keys = [("w1", (WIDTH, WIDTH)), ("b1", (WIDTH,)), ("w2", (WIDTH, inner)), ("b2", (inner,))]
    model: Keys = [("fc1.weight", (WIDTH, WIDTH)), ("fc1.bias", (WIDTH,))]
    model += [("fc2.weight", (inner, WIDTH)), ("fc2.bias", (inner,))]
    assignment = match(spec([(f"net.{k}", s) for k, s in checkpoint]), spec([(f"net.{k}", s) for k, s in model]))
    doubted = {"net.fc1.weight", "net.fc2.weight"} if inner == WIDTH else set()
    assert flagged(assignment) == doubted


def test_square_experts_of_bare_stacks_are_a_guess() -> None:
    checkpoint: Keys = [("router.weight", (EXPERTS, WIDTH))]
    model: Keys = [
        ("router.weight", (EXPERTS, WIDTH)),
        *((f"experts.{w}", (EXPERTS, WIDTH, WIDTH)) for w in ("w1", "w2")),
    ]
    checkpoint += [(f"experts.{e}.{w}.weight", (WIDTH, WIDTH)) for e in range(EXPERTS) for w in ("w1", "w2")]
    assert flagged(match(spec(checkpoint), spec(model))) == {"experts.w1", "experts.w2"}


@pytest.mark.parametrize("wrapper", ["", "model."])
def test_fewer_experts_are_those_of_their_own_layer(wrapper: str) -> None:
    """Every key of the model stands in the checkpoint: the fifth expert of one layer is not the first of the next."""

    def keys(experts: int) -> Keys:
        out: Keys = []
        for i in range(2):
            out += [(f"layers.{i}.gate.weight", (experts, WIDTH))]
            out += [(f"layers.{i}.experts.{e}.w1.weight", (24, WIDTH)) for e in range(experts)]
            out += [(f"layers.{i}.experts.{e}.w2.weight", (WIDTH, 24)) for e in range(experts)]
        return out

    assignment = match(spec([(wrapper + key, shape) for key, shape in keys(8)]), spec(keys(4)))
    sure = [one for one in assignment.matches if not one.ambiguous]
    assert all(one.checkpoint_keys == (wrapper + one.model_keys[0],) for one in sure)
    assert len(assignment.matches) == 16


def test_gates_keep_their_letters() -> None:
    """A GRU by hand has `W_z`, `b_z` and `W_r`, `b_r`, all of one shape: what names a gate stands behind the letter."""
    given: Keys = []
    wanted: Keys = []
    expected: dict[tuple[str, ...], Served] = {}
    for cell in range(2):
        for gate in "zrh":
            mine, theirs = f"cell.{cell}", f"rnn.{cell}.w{gate}"
            given += [(f"{mine}.W_{gate}", (8, WIDTH)), (f"{mine}.b_{gate}", (WIDTH,))]
            wanted += [(f"{theirs}.weight", (WIDTH, 8)), (f"{theirs}.bias", (WIDTH,))]
            expected[(f"{theirs}.weight",)] = Served((f"{mine}.W_{gate}",), "transpose")
            expected[(f"{theirs}.bias",)] = Served((f"{mine}.b_{gate}",))
    assignment = match(spec(given), spec(wanted))
    assert found(assignment) == expected and not flagged(assignment)
