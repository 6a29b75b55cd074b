"""Modules that are one on one side and several on the other, whatever they are called; one that serves all blocks."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from torch import nn

from automatch.errors import InputError
from automatch.matching import match
from automatch.matching.assignment import Assignment
from tests.matching.built import built
from tests.matching.truth import Served, complete, flagged, found, spec

WIDTH = 16


def network(name: str, linears: Mapping[str, tuple[int, int]], depth: int = 3) -> nn.Module:
    """Layers with an mlp and these linear modules, under an embedding."""
    modules: dict[str, nn.Module] = {"embed": nn.Embedding(50, WIDTH)}
    for i in range(depth):
        for path, (before, after) in linears.items():
            modules[f"{name}.{i}.{path}"] = nn.Linear(before, after)
        modules[f"{name}.{i}.mlp.up"] = nn.Linear(WIDTH, 4 * WIDTH)
        modules[f"{name}.{i}.mlp.down"] = nn.Linear(4 * WIDTH, WIDTH)
    return built(modules)


def answer(checkpoint: object, model: object) -> Assignment:
    given, wanted = spec(checkpoint), spec(model)
    assignment = match(given, wanted)
    complete(assignment, given, wanted)
    return assignment


FUSED = network("layers", {"dilated": (WIDTH, 2 * WIDTH)})
SPLIT = network("blocks", {"tanh": (WIDTH, WIDTH), "sigm": (WIDTH, WIDTH)})
PARTS = ("blocks.1.tanh.bias", "blocks.1.sigm.bias")


def test_one_module_becomes_two_that_are_together_as_large() -> None:
    assignment = answer(FUSED, SPLIT)
    assert found(assignment)[PARTS] == Served(("layers.1.dilated.bias",), "chunk")
    assert not assignment.missing_keys and not assignment.unexpected_keys
    asked = {key for key in spec(SPLIT).keys if "tanh" in key or "sigm" in key}
    assert flagged(assignment) == asked  # nothing says in which order they lie


def test_two_modules_become_one() -> None:
    assignment = answer(SPLIT, FUSED)
    assert found(assignment)["layers.1.dilated.bias",] == Served(PARTS, "concat")
    assert not assignment.missing_keys and not assignment.unexpected_keys


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a parameter"])
def test_modules_that_are_alone_in_their_sequentials_become_one(beside: bool) -> None:
    """PReNet has a `Sequential` for each gate of its recurrent convolution."""
    gates = [("conv_i.0", 4), ("conv_f.0", 4), ("conv_g.0", 4), ("conv_o.0", 4)]
    parts = [(f"{m}.{p}", s) for m, n in gates for p, s in (("weight", (n, 8, 3, 3)), ("bias", (n,)))]
    parts += [("conv_i.scale", (5, 2))] if beside else []  # then it is no Sequential, and nothing is lost of either
    rest = [("inner.weight", (8, 3, 3, 3)), ("outer.weight", (3, 8, 3, 3))]
    whole = [("gates.weight", (16, 8, 3, 3)), ("gates.bias", (16,))]
    assignment = answer(rest + parts, rest + whole)
    if beside:
        assert "conv_i.scale" in assignment.unexpected_keys
        return
    assert found(assignment)["gates.weight",] == Served(tuple(f"{m}.weight" for m, _ in gates), "concat")
    assert flagged(assignment) == {"gates.weight", "gates.bias"}  # nothing says in which order they lie


def test_what_the_name_of_the_fused_module_spells_is_its_order() -> None:
    fused = network("layers", {"attn.gqkv_proj": (WIDTH, 4 * WIDTH)})
    parts = ("q_proj", "k_proj", "v_proj", "gate_proj")
    split = network("layers", {f"attn.{part}": (WIDTH, WIDTH) for part in parts})
    assignment = answer(fused, split)
    keys = tuple(f"layers.2.attn.{part}.weight" for part in ("gate_proj", *parts[:3]))
    assert found(assignment)[keys] == Served(("layers.2.attn.gqkv_proj.weight",), "chunk")
    assert not flagged(assignment)


@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        ({"mix": (WIDTH, 2 * WIDTH)}, {"mix": (WIDTH, WIDTH), "more": (WIDTH, WIDTH)}),
        ({"qkv": (WIDTH, 3 * WIDTH)}, {"q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "out": (WIDTH, WIDTH)}),
        ({"mix": (WIDTH, 3 * WIDTH)}, {"a": (WIDTH, WIDTH), "b": (WIDTH, WIDTH)}),
        (
            {"one": (WIDTH, 2 * WIDTH), "two": (WIDTH, 2 * WIDTH)},
            {"a": (WIDTH, WIDTH), "b": (WIDTH, WIDTH)},
        ),
        ({"gate_up": (WIDTH, 48)}, {"adapter": (WIDTH, 24), "cross": (WIDTH, 24)}),
    ],
    ids=["another size", "a qkv without v", "too small", "two that would do", "a gate_up and strangers"],
)
def test_no_sum_where_something_speaks_against_it(whole: dict, parts: dict) -> None:
    assignment = answer(network("layers", whole), network("layers", parts))
    assert not [m for m in assignment.matches if m.op != "rename"]


def test_gate_and_up_under_names_that_say_nothing() -> None:
    """What one side joins as gate_up_proj and the other calls lin_1 and lin_2: as declared, and flagged."""
    fused, split = {"gate_up_proj": (WIDTH, 48)}, {"lin_1": (WIDTH, 24), "lin_2": (WIDTH, 24)}
    assignment = answer(network("layers", fused), network("layers", split))
    keys = ("layers.1.lin_1.weight", "layers.1.lin_2.weight")
    assert found(assignment)[keys] == Served(("layers.1.gate_up_proj.weight",), "chunk")
    assert set(keys) <= flagged(assignment)


def test_one_module_outside_the_blocks_serves_every_block() -> None:
    """As DiT's timestep embedding in diffusers; it may as well be missing in the other blocks, which is said."""
    inside = network("blocks", {"mod": (WIDTH, 6)}).named_children()
    once = built({"time.0": nn.Linear(7, WIDTH), "time.2": nn.Linear(WIDTH, WIDTH), **dict(inside)})
    every = network("layers", {"time.linear_1": (7, WIDTH), "time.linear_2": (WIDTH, WIDTH), "mod": (WIDTH, 6)})
    assignment = answer(once, every)
    served = {key: found(assignment)[key,] for key in spec(every).keys if "linear_1.weight" in key}
    assert len(served) == 3 and set(served.values()) == {Served(("time.0.weight",))}
    assert len(set(served) & flagged(assignment)) >= 2


def test_a_lost_block_is_not_served_by_another() -> None:
    shallow = network("layers", {"mod": (WIDTH, 6)}, depth=1)
    deep = network("layers", {"mod": (WIDTH, 6)}, depth=2)
    assert {key for key in spec(deep).keys if key.startswith("layers.1")} == set(answer(shallow, deep).missing_keys)


@pytest.mark.parametrize("first", ["tanh", "sigm"])
@pytest.mark.parametrize("back", [False, True], ids=["cut", "joined"])
def test_a_pin_of_one_part_decides_the_order_in_all_layers(first: str, back: bool) -> None:
    second = "sigm" if first == "tanh" else "tanh"
    pin = ("layers.1.dilated.weight", f"blocks.1.{first}.weight")
    checkpoint, model = (SPLIT, FUSED) if back else (FUSED, SPLIT)
    assignment = match(spec(checkpoint), spec(model), pin=[pin[::-1] if back else pin])
    assert not flagged(assignment)
    for layer in range(3):
        for role in ("weight", "bias"):
            parts = (f"blocks.{layer}.{first}.{role}", f"blocks.{layer}.{second}.{role}")
            fused = (f"layers.{layer}.dilated.{role}",)
            expected = (fused, Served(parts, "concat")) if back else (parts, Served(fused, "chunk"))
            assert found(assignment)[expected[0]] == expected[1]


def test_a_pin_of_what_is_no_part_is_refused() -> None:
    with pytest.raises(InputError, match=r"layers\.0\.mlp\.up\.weight=blocks\.0\.tanh\.weight: the shapes"):
        match(spec(FUSED), spec(SPLIT), pin=[("layers.0.mlp.up.weight", "blocks.0.tanh.weight")])


def test_second_halves_of_adapters_that_were_learnt_apart_are_doubtful_without_the_first() -> None:
    """One fused adapter has one first half; three that were learnt apart have three."""
    given = [("embed.weight", (50, WIDTH))]
    wanted = [("embed.weight", (50, WIDTH))]
    for i in range(3):
        for part in ("q", "k", "v"):
            given.append((f"layers.{i}.attn.{part}_proj.lora_A.weight", (4, WIDTH)))
            given.append((f"layers.{i}.attn.{part}_proj.lora_B.weight", (WIDTH, 4)))
        wanted.append((f"blocks.{i}.attn.qkv_proj.lora_A.weight", (4, WIDTH)))
        wanted.append((f"blocks.{i}.attn.qkv_proj.lora_B.weight", (3 * WIDTH, 4)))
    assignment = answer(given, wanted)
    assert not [m for m in assignment.matches if m.op == "concat" and not m.ambiguous]


@pytest.mark.parametrize(
    ("name", "parts"), [("fc", ("cond", "feat")), ("gate_qkv", ("gate", "q", "k", "v")), ("in_proj", ("image", "node"))]
)
def test_letters_of_ordinary_words_spell_no_order(name: str, parts: tuple[str, ...]) -> None:
    fused = network("layers", {f"attn.{name}": (WIDTH, len(parts) * WIDTH)})
    split = network("layers", {f"attn.{part}_proj": (WIDTH, WIDTH) for part in parts})
    assignment = answer(fused, split)
    assert {key for key in spec(split).keys if "_proj" in key} <= flagged(assignment) | {*assignment.missing_keys}


@pytest.mark.parametrize(("name", "sure"), [("linear1", True), ("in_proj", False), ("to_qkv_mlp_proj", True)])
def test_whether_an_mlp_lies_before_the_attention_is_said_by_the_name_or_not_at_all(name: str, sure: bool) -> None:
    """Flux has q, k, v and the mlp, timm's parallel blocks the mlp first."""
    fused = network("layers", {name: (WIDTH, 5 * WIDTH)})
    parts = {"attn.to_q": (WIDTH, WIDTH), "attn.to_k": (WIDTH, WIDTH), "attn.to_v": (WIDTH, WIDTH)}
    split = network("layers", {**parts, "proj_mlp": (WIDTH, 2 * WIDTH)})
    assignment = answer(fused, split)
    cut = [m for m in assignment.matches if m.op == "chunk"]
    assert len(cut) == 6 and all(m.ambiguous != sure for m in cut)


def test_pins_of_numbered_parts() -> None:
    """An attention's list: one pin leaves the order of the other two open, two pins decide it."""
    linears = {f"self_attn.linears.{k}": (WIDTH, WIDTH) for k in range(4)}
    split = network("layers", linears)
    fused = network("layers", {"self_attn.in_proj": (WIDTH, 3 * WIDTH), "self_attn.out": (WIDTH, WIDTH)})
    whole, part = "layers.1.self_attn.in_proj.weight", "layers.1.self_attn.linears.{}.weight"
    pins = [(whole, part.format(k)) for k in (1, 2)]
    for given, sure in ((pins[:1], False), (pins, True)):
        cut = [m for m in match(spec(fused), spec(split), pin=given).matches if m.op == "chunk"]
        assert len(cut) == 6 and all(m.ambiguous != sure for m in cut)
        assert all("linears.1" in m.model_keys[0] for m in cut)
        assert all("linears.2" in m.model_keys[1] for m in cut) or not sure


@pytest.mark.parametrize("up", ["proj", "up_layer"])
@pytest.mark.parametrize("fused", ["gate_up", "up_gate"])
def test_what_is_not_the_gate_is_the_other_half(up: str, fused: str) -> None:
    """Qwen-Image's `gate_layer` and `proj`, fused: one half is called what the whole says, so the order is known."""
    whole = network("layers", {f"img_mlp.{fused}": (WIDTH, 6 * WIDTH), "img_mlp.out": (3 * WIDTH, WIDTH)})
    halves = {f"img_mlp.{up}": (WIDTH, 3 * WIDTH), "img_mlp.gate_layer": (WIDTH, 3 * WIDTH)}
    split = network("layers", {**halves, "img_mlp.out": (3 * WIDTH, WIDTH)})
    cut = [m for m in answer(whole, split).matches if m.op == "chunk"]
    first = "gate_layer" if fused == "gate_up" else up
    assert len(cut) == 6
    assert all(first in m.model_keys[0] for m in cut)


@pytest.mark.parametrize("parts", [("up_a", "up_b"), ("gate_1", "gate_2")])
def test_two_halves_of_one_name_are_not_put_in_order(parts: tuple[str, str]) -> None:
    whole = network("layers", {"mlp2.gate_up": (WIDTH, 6 * WIDTH), "mlp2.out": (3 * WIDTH, WIDTH)})
    halves = {f"mlp2.{part}": (WIDTH, 3 * WIDTH) for part in parts}
    split = network("layers", {**halves, "mlp2.out": (3 * WIDTH, WIDTH)})
    assignment = answer(whole, split)
    assert {key for key in spec(split).keys if parts[0] in key or parts[1] in key} <= {
        *flagged(assignment),
        *assignment.missing_keys,
    }


@pytest.mark.parametrize("more", ["q_rope", "k_pos", "query_rel"])
def test_a_second_query_is_not_taken_for_the_first(more: str) -> None:
    """All three of q, k and v are named, and one of them twice: in the order in which they are declared, flagged."""
    whole = network("layers", {"attn.qkvx": (WIDTH, 4 * WIDTH)})
    parts = ["to_q", "to_k", "to_v", more]
    split = network("layers", {f"attn.{part}": (WIDTH, WIDTH) for part in parts})
    cut = [m for m in answer(whole, split).matches if m.op == "chunk"]
    assert len(cut) == 6
    assert all(m.ambiguous and [key.split(".")[3] for key in m.model_keys] == parts for m in cut)


def without(network: nn.Module, *lost: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(t.key, t.shape) for t in spec(network).tensors if not t.key.endswith(lost)]


@pytest.mark.parametrize("lost", [("dilated.weight",), ("dilated.bias",), ("tanh.bias",), ("sigm.weight",)])
def test_what_is_left_of_modules_that_lost_tensors(lost: tuple[str, ...]) -> None:
    """A bias without its weight is still the sum of two biases; flagged, as nothing says in which order they lie."""
    role = "weight" if lost[0].endswith("bias") else "bias"
    assignment = answer(without(FUSED, *lost), without(SPLIT, *lost))
    cut = [m for m in assignment.matches if m.op == "chunk"]
    assert [m.checkpoint_keys for m in cut] == [(f"layers.{i}.dilated.{role}",) for i in range(3)]
    assert all(m.ambiguous for m in cut)


@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        ({"keyword.bias": (12,)}, {"stem.weight": (8, 3, 3), "stem.bias": (8,), "fc.weight": (4, 9), "fc.bias": (4,)}),
        (
            {"table.weight": (12, 6)},
            {f"head.{n}.{k}": v for n in "ab" for k, v in (("weight", (6, 6)), ("bias", (6,)))},
        ),
        ({"gate_up.weight": (48, WIDTH)}, {f"{name}.weight": (24, WIDTH) for name in ("up_proj", "router")}),
        ({"gate_up.weight": (48, WIDTH)}, {f"{name}.weight": (24, WIDTH) for name in ("up_proj", "down_proj")}),
        (
            {"qkv_proj.weight": (48, WIDTH)},
            {f"{name}_proj.weight": (WIDTH, WIDTH) for name in ("q", "k", "output")},
        ),
    ],
)
def test_what_adds_up_by_chance(whole: dict[str, tuple[int, ...]], parts: dict[str, tuple[int, ...]]) -> None:
    """Biases of layers that take other inputs, a table, and a fused attention of which the value is missing."""
    body = [(f"layers.{i}.mlp.up.weight", (40 + i, WIDTH)) for i in range(4)]
    mine = [
        *((key.replace("layers", "body"), shape) for key, shape in body),
        *((f"net.{k}", v) for k, v in parts.items()),
    ]
    theirs = [*body, *((f"out.{k}", v) for k, v in whole.items())]
    assert {m.op for m in answer(mine, theirs).matches} == {"rename"}
