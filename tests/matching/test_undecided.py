"""What the evidence cannot decide is flagged, with the alternatives; what it can is not."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from torch import nn

from automatch.matching import match
from automatch.matching.assignment import Assignment
from tests.matching.built import built
from tests.matching.networks import Encoder, Vgg
from tests.matching.truth import Served, flagged, found, honest, renamed, solved, spec, truth

Shapes = list[tuple[int, int]]


def layers(names: list[str], shapes: Shapes | None = None, depth: int = 3) -> nn.Module:
    """Layers of linear modules under the given names, of one shape if nothing else is said."""
    model = nn.Module()
    model.embed = nn.Embedding(50, 16)
    model.layers = nn.ModuleList()
    for _ in range(depth):
        pairs = zip(names, shapes or [(16, 16)] * len(names), strict=True)
        model.layers.append(nn.ModuleDict({name: nn.Linear(*shape) for name, shape in pairs}))
    model.head = nn.Linear(16, 5)
    return model


def exchanged(checkpoint: object, names: dict[str, str]) -> dict[tuple[str, ...], Served]:
    """The truth where modules in the layers are called otherwise."""
    return truth((k, ".".join(names.get(token, token) for token in k.split("."))) for k in spec(checkpoint).keys)


def in_layers(model: object) -> set[str]:
    return {key for key in spec(model).keys if key.startswith("layers.")}


SHAPES: Shapes = [(16, 16), (16, 24), (16, 16), (24, 16), (16, 16)]
COLOURS = ["red", "green", "blue", "grey", "pink"]
NUMERALS = ["one", "two", "three", "four", "five"]


def test_siblings_in_the_same_sequence_go_by_their_place() -> None:
    """Names say nothing, but every shape stands in the same place: answered, with less than full confidence."""
    checkpoint, model = layers(COLOURS, SHAPES), layers(NUMERALS, SHAPES)
    assignment = solved(checkpoint, model, exchanged(checkpoint, dict(zip(COLOURS, NUMERALS, strict=True))))
    square = {f"layers.{i}.{name}.weight" for i in range(3) for name in ("one", "three", "five")}
    for one in assignment.matches:
        if one.model_keys[0] in square:
            assert one.confidence < 0.95 and "names do not tell" in one.reason


def test_siblings_of_one_shape_are_no_sequence() -> None:
    """Where all are alike there is nothing that their order could be held against."""
    checkpoint, model = layers(["red", "green", "blue"]), layers(["one", "two", "three"])
    assignment = match(spec(checkpoint), spec(model))
    assert flagged(assignment) == in_layers(model)


@pytest.fixture
def sorted_siblings() -> tuple[Assignment, dict[tuple[str, ...], Served]]:
    """The answer and the truth of a file whose siblings are sorted by names that say nothing."""
    checkpoint, model = layers(["red", "green", "blue"]).state_dict(), layers(["one", "two", "three"])
    expected = exchanged(checkpoint, {"red": "one", "green": "two", "blue": "three"})
    return honest({key: checkpoint[key] for key in sorted(checkpoint)}, model, expected), expected


def test_siblings_of_a_sorted_file(sorted_siblings: tuple[Assignment, dict[tuple[str, ...], Served]]) -> None:
    """A file sorted by name says nothing about order: siblings are flagged, each with others."""
    assignment, _ = sorted_siblings
    assert flagged(assignment) == in_layers(layers(["one", "two", "three"]))
    assert all(one.alternatives for one in assignment.matches if one.ambiguous)


@pytest.mark.xfail(strict=True, reason="alternatives are the nearest keys of the file, not the siblings in the layer")
def test_the_right_one_is_among_the_alternatives(
    sorted_siblings: tuple[Assignment, dict[tuple[str, ...], Served]],
) -> None:
    assignment, expected = sorted_siblings
    for one in assignment.matches:
        if one.ambiguous:
            assert expected[one.model_keys].checkpoint[0] in (*one.checkpoint_keys, *one.alternatives)


def test_siblings_of_a_sorted_file_whose_names_are_known() -> None:
    checkpoint, model = layers(["q_proj", "k_proj", "v_proj"]).state_dict(), layers(["query", "key", "value"])
    expected = exchanged(checkpoint, {"q_proj": "query", "k_proj": "key", "v_proj": "value"})
    solved({key: checkpoint[key] for key in sorted(checkpoint)}, model, expected)


def test_names_decide_against_the_order() -> None:
    checkpoint, model = layers(["k_proj", "v_proj", "q_proj"]), layers(["query", "key", "value"])
    solved(checkpoint, model, exchanged(checkpoint, {"q_proj": "query", "k_proj": "key", "v_proj": "value"}))


def test_equal_names_in_another_order() -> None:
    solved(layers(["q", "k", "v"]), layers(["v", "q", "k"]), exchanged(layers(["q", "k", "v"]), {}))


@pytest.mark.parametrize("names", [["mlp", "ffn"], ["q_proj", "query"], ["norm", "ln"]])
def test_equal_names_that_mean_the_same_in_another_order(names: list[str]) -> None:
    """`mlp` is `mlp`, though `ffn` is another word for it."""
    solved(layers(names), layers(names[::-1]), exchanged(layers(names), {}))


@pytest.mark.parametrize("order", [[1, 0, 3, 2, 4], [3, 4, 0, 1, 2], [4, 3, 2, 1, 0]])
def test_siblings_of_one_shape_where_the_order_differs(order: list[int]) -> None:
    """The places of other shapes show that the order changed: then it decides nothing among equal shapes."""
    checkpoint = layers(COLOURS, SHAPES)
    model = layers([NUMERALS[i] for i in order], [SHAPES[i] for i in order])
    expected = exchanged(checkpoint, dict(zip(COLOURS, NUMERALS, strict=True)))
    honest(checkpoint, model, expected)


@pytest.mark.parametrize("swap", [False, True], ids=["file has more", "model has more"])
def test_one_sibling_too_many(swap: bool) -> None:
    """Which one is left over cannot be known."""
    pair = layers(["red", "green", "blue"]), layers(["one", "two"])
    assignment = match(*map(spec, pair[::-1] if swap else pair))
    assert {key for m in assignment.matches if not m.ambiguous for key in m.model_keys} == {
        "embed.weight",
        "head.weight",
        "head.bias",
    }


def opaque(seed: int | None) -> tuple[dict[str, object], dict[tuple[str, ...], Served]]:
    """An encoder's tensors as param_0, param_1 .., in their order or shuffled, and the truth."""
    items = list(Encoder().state_dict().items())
    if seed is not None:
        random.Random(seed).shuffle(items)
    numbered = {f"param_{i}": tensor for i, (_, tensor) in enumerate(items)}
    return numbered, truth((f"param_{i}", key) for i, (key, _) in enumerate(items))


def test_numbered_parameters_in_order() -> None:
    """No name at all: the sequence of shapes is the same from first to last."""
    checkpoint, expected = opaque(None)
    solved(checkpoint, Encoder(), expected)


@pytest.mark.xfail(strict=True, reason="ranks of numbers count as names although the words are unlike: silent")
def test_numbered_parameters_shuffled() -> None:
    """Only shapes that occur once can be known."""
    checkpoint, expected = opaque(0)
    honest(checkpoint, Encoder(), expected)


def right(assignment: Assignment, expected: dict[tuple[str, ...], Served]) -> int:
    return sum(found(assignment).get(keys) == served for keys, served in expected.items())


@pytest.mark.parametrize("lost", range(1, 6))
def test_equal_names_are_no_proof_where_indices_shift(lost: int) -> None:
    """A convolution was taken out of the middle; every later one has the name of its neighbour on the other side."""
    model = Vgg([3, 8, 8, 8, 8, 8, 8])
    convolutions = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    checkpoint = {}
    for key, tensor in model.state_dict().items():
        path, role = key.rsplit(".", 1)
        if path == convolutions[lost]:
            continue
        if path in convolutions[lost + 1 :]:
            path = convolutions[convolutions.index(path) - 1]
        checkpoint[f"{path}.{role}"] = tensor
    certain = truth((key, key) for key in checkpoint if key.startswith(("features.0.", "classifier.")))
    assert right(match(spec(checkpoint), spec(model)), certain) == len(certain)


def test_every_ambiguous_match_offers_what_fits() -> None:
    """Alternatives are checkpoint keys of the same shape, never the chosen one."""
    checkpoint, _ = opaque(3)
    given = spec(checkpoint)
    for one in match(given, spec(Encoder())).matches:
        if one.ambiguous and one.op == "rename":
            assert one.checkpoint_keys[0] not in one.alternatives
            shapes = {given.by_key[key].shape for key in (*one.checkpoint_keys, *one.alternatives)}
            assert len(shapes) == 1 and one.alternatives


def test_a_renaming_that_keeps_the_order_of_everything() -> None:
    """All names replaced by numbers of their own, module by module: shapes and order are enough."""
    numbers: dict[str, str] = {}

    def rename(key: str) -> str:
        path, role = key.rsplit(".", 1)
        return f"m{numbers.setdefault(path, str(len(numbers)))}.{role}"

    checkpoint = renamed(Encoder(), rename)
    solved(checkpoint, Encoder(), truth((rename(key), key) for key in spec(Encoder()).keys))


def test_order_is_not_believed_where_others_of_the_shape_changed_places() -> None:
    """Names move two of four norms; that the others kept their places is then no more than a guess."""
    shapes: Shapes = [(16, 16)] * 4 + [(16, 24), (24, 16), (16, 40)]
    mine = layers(["query_norm", "first_thing", "key_norm", "other_thing", "wide", "tall", "big"], shapes)
    model = layers(["key_norm", "some_part", "query_norm", "last_part", "wide", "tall", "big"], shapes)
    expected = exchanged(mine, {"first_thing": "some_part", "other_thing": "last_part"})
    assignment = honest(mine, model, expected)
    assert {key.split(".")[2] for key in flagged(assignment)} == {"some_part", "last_part"}


@pytest.mark.parametrize(("fused", "flags"), [("query_key_value", True), ("linear_qkv", True), ("qkv_proj", False)])
def test_rows_that_may_lie_head_by_head_are_not_cut_without_a_flag(fused: str, flags: bool) -> None:
    """GPT-NeoX stores q, k, v of the first head, then of the second; others under the same name do not."""
    mine = layers([fused, "dense"], [(16, 48), (16, 16)])
    model = layers(["q_proj", "k_proj", "v_proj", "dense"])
    assignment = match(spec(mine), spec(model))
    parts = {key for m in assignment.matches if m.op == "chunk" for key in m.model_keys}
    assert len(parts) == 3 * 3 * 2
    assert flagged(assignment) == (parts if flags else set())
    back = match(spec(model), spec(mine))
    joined = {key for key in spec(mine).keys if f".{fused}." in key}
    assert flagged(back) == (joined if flags else set())


def test_numbered_norms_that_are_named_in_another_order_than_they_stand() -> None:
    """Side by side, behind all else, nothing but the order of the declarations says which is which."""

    def layer(norms: Sequence[str]) -> dict[str, nn.Module]:
        linears = {
            "attn": nn.Linear(16, 48),
            "cross": nn.Linear(16, 32),
            "up": nn.Linear(16, 64),
            "down": nn.Linear(64, 16),
        }
        return {**linears, **{norm: nn.LayerNorm(16) for norm in norms}}

    def network(norms: Sequence[str]) -> nn.Module:
        return built({f"layers.{i}.{name}": m for i in range(3) for name, m in layer(norms).items()})

    order = ("out_norm", "in_norm", "mid_norm")
    assignment = match(spec(network(("norm1", "norm2", "norm3"))), spec(network(order)))
    assert {key for key in flagged(assignment) if "norm" in key} == {
        f"layers.{i}.{norm}.{role}" for i in range(3) for norm in order for role in ("weight", "bias")
    }


def test_one_name_is_one_norm_wherever_it_stands() -> None:
    """The same model in another order of its norms: equal names without numbers are not doubted."""
    norms = ["input_norm", "post_attention_norm", "pre_mlp_norm", "post_mlp_norm"]

    def layers(order: list[str]) -> nn.Module:
        modules: dict[str, nn.Module] = {"embed": nn.Embedding(20, 16)}
        for i in range(3):
            parts: dict[str, nn.Module] = {"attn": nn.Linear(16, 16), "mlp": nn.Linear(16, 24)}
            parts |= {name: nn.LayerNorm(16) for name in norms}
            modules |= {f"layers.{i}.{name}": parts[name] for name in order}
        return built(modules)

    first = ["input_norm", "attn", "post_attention_norm", "pre_mlp_norm", "mlp", "post_mlp_norm"]
    mine, theirs = layers(first), layers([norms[3], "attn", norms[0], "mlp", *norms[1:3]])
    keys = dict(theirs.state_dict()) | {"extra.weight": nn.Linear(2, 3).weight}
    solved(mine, keys, truth((key, key) for key in mine.state_dict()))


@pytest.mark.parametrize("names", [("linear", "linear_v", "linear_out"), ("a", "b", "c"), ("one", "other", "back")])
def test_which_of_two_is_the_gate_under_names_that_say_nothing(names: tuple[str, str, str]) -> None:
    """Norms around them show that all else is in order; some libraries declare the gate first, others last."""

    def mlp(home: str, gate: str, up: str, down: str, *norms: str) -> list[tuple[str, tuple[int, ...]]]:
        shapes = {f"{home}.{gate}": (48, 32), f"{home}.{up}": (48, 32), f"{home}.{down}": (32, 48)}
        return [(f"{name}.weight", shape) for name, shape in (shapes | dict.fromkeys(norms, (32,))).items()]

    mine = [e for i in range(3) for e in mlp(f"h.{i}.ff", *names, f"h.{i}.n1", f"h.{i}.n2")]
    ends = ("gate_proj", "up_proj", "down_proj")
    theirs = [e for i in range(3) for e in mlp(f"layers.{i}.mlp", *ends, f"layers.{i}.n1", f"layers.{i}.n2")]
    asked = {f"layers.{i}.mlp.{name}.weight" for i in range(3) for name in ends[:2]}
    assert flagged(match(spec(mine), spec(theirs))) == asked
    assert flagged(match(spec(theirs), spec(mine))) == {
        f"h.{i}.ff.{name}.weight" for i in range(3) for name in names[:2]
    }


ROLES = ("weight", "bias")


@pytest.mark.parametrize("second", ["logvar", "log_std"])
def test_numbered_heads_against_a_variance_that_stands_before_its_mean(second: str) -> None:
    """`fc21` is the mean in PyTorch's example of a VAE; where the model registers the mean last, nobody can tell."""
    sizes = {"fc1": (7, 9), "fc21": (3, 7), "fc22": (3, 7), "fc3": (9, 3)}
    mine = [(f"{name}.{role}", shape[: 2 - (role == "bias")]) for name, shape in sizes.items() for role in ROLES]

    def model(*names: str) -> list[tuple[str, tuple[int, ...]]]:
        return [
            (f"{name}.{key.split('.')[1]}", shape)
            for name, old in zip(names, sizes, strict=True)
            for key, shape in mine
            if key.split(".")[0] == old
        ]

    doubted = flagged(match(spec(mine), spec(model("enc", second, "mu", "dec"))))
    assert doubted == {f"{name}.{role}" for name in (second, "mu") for role in ROLES}
    answer = match(spec(mine), spec(model("enc", "mu", second, "dec")))
    assert not flagged(answer) and found(answer)["mu.weight",].checkpoint == ("fc21.weight",)
