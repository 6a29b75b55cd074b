"""What a person decides holds, and the rest follows: pins, forbidden pairs, the choice of evidence."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

import automatch
from automatch.errors import InputError
from automatch.matching import match
from tests.matching.built import built
from tests.matching.networks import Encoder, HfEncoder, ResNet, to_hf
from tests.matching.test_sharing import EMBEDDING, HEAD, LanguageModel, without
from tests.matching.test_undecided import COLOURS, SHAPES, exchanged, layers
from tests.matching.transformers import apart, fused, joined, stacked
from tests.matching.truth import Served, by_rename, complete, found, honest, renamed, solved, spec, truth

SAME = truth((key, key) for key in spec(Encoder()).keys)

PINS = [
    ("layers.0.red.weight", "layers.0.two.weight"),
    pytest.param(
        ("layers.2.red.weight", "layers.2.two.weight"),
        marks=pytest.mark.xfail(
            strict=True, reason="what is left in layers that were solved before the pinned one stays flagged"
        ),
    ),
    ("layers.0.red", "layers.0.two"),
    (r"layers\.(\d+)\.red", r"layers\.(\d+)\.two"),
    (r"layers\.(\d+)\.red", r"layers.\1.two"),
    (r"layers\.(\d+)\.red\.(weight|bias)", r"layers.\1.two.\2"),
    (r"layers\.(?P<number>\d+)\.red", r"layers.\g<number>.two"),
    (r".*\.(\d)\.red\.weight", r".*\.(\d)\.two\.weight"),
]


@pytest.mark.parametrize("pin", PINS)
def test_the_rest_follows_from_a_pin(pin: tuple[str, str]) -> None:
    """Nothing but the order tells, and it would say that red is one. A person says it once, in any form."""
    checkpoint, model = layers(["red", "green"]), layers(["one", "two"])
    assignment = solved(checkpoint, model, exchanged(checkpoint, {"red": "two", "green": "one"}), pin=[pin])
    reasons = {m.model_keys[0]: m.reason for m in assignment.matches}
    assert reasons[pin[1] if pin[1] in reasons else "layers.0.two.weight"].startswith("pinned by you")


@pytest.mark.parametrize(
    "layer",
    [
        "0",
        pytest.param(
            "1", marks=pytest.mark.xfail(strict=True, reason="what two pins of two layers leave stays flagged")
        ),
    ],
)
def test_several_pins(layer: str) -> None:
    checkpoint, model = layers(["red", "green", "blue"]), layers(["one", "two", "three"])
    expected = exchanged(checkpoint, {"red": "three", "green": "one", "blue": "two"})
    pins = [("layers.0.red", "layers.0.three"), (f"layers.{layer}.blue", f"layers.{layer}.two")]
    solved(checkpoint, model, expected, pin=pins)


def test_a_pin_against_names_and_order() -> None:
    checkpoint, model = Encoder(), Encoder()
    pins = [("layers.0.self_attn.q_proj", "layers.0.self_attn.k_proj")]
    assignment = match(spec(checkpoint), spec(model), pin=pins)
    complete(assignment, spec(checkpoint), spec(model))
    answer = found(assignment)
    for role in ("weight", "bias"):
        assert answer[f"layers.0.self_attn.k_proj.{role}",] == Served((f"layers.0.self_attn.q_proj.{role}",))


def test_a_pin_is_never_flagged() -> None:
    """Two networks that hardly fit: all is flagged but what a person pinned."""
    checkpoint, model = spec(ResNet()), spec(Encoder())
    pin = ("layer2.0.bn1.weight", "layers.2.fc2.bias")
    pinned = [m for m in match(checkpoint, model, pin=[pin]).matches if m.reason.startswith("pinned")]
    assert [(m.checkpoint_keys, m.model_keys, m.confidence, m.ambiguous) for m in pinned] == [
        ((pin[0],), (pin[1],), 1.0, False)
    ]


def test_a_pin_confirms_a_tie() -> None:
    """A file cannot show that the head is tied; a person says so, and one key serves two."""
    expected = {**truth((key, key) for key in without(HEAD)), (HEAD,): Served((EMBEDDING,))}
    solved(without(HEAD), LanguageModel(False), expected, pin=[(EMBEDDING, EMBEDDING), (EMBEDDING, HEAD)])
    assignment = solved(
        without(HEAD),
        LanguageModel(False),
        truth((key, key) for key in without(HEAD)),
        forbid=[(EMBEDDING, HEAD)],
    )
    assert assignment.missing_keys == (HEAD,)


def test_a_pin_takes_all_parts_of_a_fused_tensor() -> None:
    mine, whole = stacked(apart), stacked(fused)
    pin = ("layers.0.attn.q_proj.weight", "layers.0.attn.qkv_proj.weight")
    solved(mine, whole, joined(whole, ("q_proj", "k_proj", "v_proj"), "qkv_proj"), pin=[pin])


def test_pins_of_another_tower() -> None:
    """Which copy is meant is decided by one pin of the whole module."""
    checkpoint = {**renamed(Encoder(), "a.{}".format), **renamed(Encoder(), "b.{}".format)}
    model = {**renamed(Encoder(), "x.{}".format), **renamed(Encoder(), "y.{}".format)}
    expected = truth((key, {"a": "y", "b": "x"}[key[0]] + key[1:]) for key in checkpoint)
    solved(checkpoint, model, expected, pin=[("a", "y")])


@pytest.mark.xfail(strict=True, reason="a pin inside a list does not move the whole list")
@pytest.mark.parametrize("pin", [("layers.1", "layers.0"), ("layers.1.fc1.weight", "layers.0.fc1.weight")])
def test_a_pin_moves_a_list(pin: tuple[str, str]) -> None:
    """The checkpoint has a layer more, and a person knows that it is the first."""
    shift = {"0": None, "1": "0", "2": "1", "3": "2"}

    def rename(key: str) -> str | None:
        if not key.startswith("layers."):
            return key
        _, number, rest = key.split(".", 2)
        return None if shift[number] is None else f"layers.{shift[number]}.{rest}"

    solved(Encoder(4), Encoder(3), by_rename(Encoder(4), rename), pin=[pin])


@pytest.mark.parametrize(
    ("pair", "touched"),
    [
        (("embed_tokens.weight", "embed_tokens.weight"), r"embed_tokens\.weight"),
        (("layers.1.fc1.weight", "layers.1.fc1.weight"), r"layers\.1\.fc1\.weight"),
        (("layers.1.fc1", "layers.1.fc1"), r"layers\.1\.fc1\..*"),
        ((r"layers\.(\d)\.fc1", r"layers.\1.fc1"), r"layers\.\d\.fc1\..*"),
    ],
)
@pytest.mark.parametrize("by", ["all", "name", "topology"])
def test_a_forbidden_pair_is_not_made(pair: tuple[str, str], touched: str, by: str) -> None:
    """In the layers that are named, and only there."""
    checkpoint = model = spec(Encoder())
    assignment = match(checkpoint, model, by=by, forbid=[pair])
    complete(assignment, checkpoint, model)
    answer = found(assignment)
    refused = {key for key in model.keys if re.fullmatch(touched, key)}
    assert refused and all(answer.get((key,)) != Served((key,)) for key in refused)
    modules = {key.rsplit(".", 1)[0] for key in refused}
    rest = [key for key in model.keys if key.rsplit(".", 1)[0] not in modules]
    assert all(answer[key,] == Served((key,)) for key in rest)


def test_nothing_is_both_pinned_and_forbidden() -> None:
    pair = ("layers.0.fc1.weight", "layers.0.fc1.weight")
    with pytest.raises(InputError, match=r"layers\.0\.fc1\.weight=layers\.0\.fc1\.weight is both pinned and forbidden"):
        match(spec(Encoder()), spec(Encoder()), pin=[("layers.0.fc1", "layers.0.fc1")], forbid=[pair])


BAD = [
    ([("nope", "embed_tokens.weight")], "pin nope=embed_tokens.weight: no checkpoint key matches 'nope'"),
    ([("embed_tokens.weight", "nope")], "no model key matches 'nope'; take a key from the match table"),
    ([("embed_tokens.(", "embed_tokens.weight")], "'embed_tokens.(' is no regular expression"),
    ([("embed_tokens.weight", "embed_tokens.[")], "'embed_tokens.[' is no regular expression"),
    ([("embed_tokens.weight", "embed_positions.weight")], "the shapes [60, 16] and [24, 16] do not fit each other"),
    ([(r"layers\.(\d)\.fc1", r"layers.\2.fc1")], "refers to a group"),
    ([(r"layers\.(?P<n>\d)\.fc1", r"layers.\g<m>.fc1")], "refers to a group"),
    ([(r"layers\.(\d)\.fc1", r"layers.1\1.fc1")], "no model key matches"),
    (
        [(r"layers\.\d\.fc1\.weight", "layers.2.fc1.weight")],
        "layers.2.fc1.weight is pinned to layers.0.fc1.weight and to",
    ),
    (
        [("layers.0.fc1.bias", "layers.2.fc1.bias"), ("layers.1.fc1.bias", "layers.2.fc1.bias")],
        "layers.2.fc1.bias is pinned to layers.0.fc1.bias and to layers.1.fc1.bias",
    ),
]


@pytest.mark.parametrize(("pins", "sentence"), BAD, ids=[pins[0][0] + "=" + pins[0][1] for pins, _ in BAD])
@pytest.mark.parametrize("by", ["all", "name"])
def test_a_bad_pin_is_refused_in_one_sentence(pins: list[tuple[str, str]], sentence: str, by: str) -> None:
    with pytest.raises(InputError) as error:
        match(spec(Encoder()), spec(Encoder()), by=by, pin=pins)
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_a_bad_forbidden_pair_says_forbid() -> None:
    with pytest.raises(InputError, match="forbid nope=embed_tokens: no checkpoint key"):
        match(spec(Encoder()), spec(Encoder()), forbid=[("nope", "embed_tokens")])


def test_a_slot_cannot_be_pinned() -> None:
    checkpoint = {**Encoder().state_dict(), **renamed(Encoder(), "{}.exp_avg".format)}
    with pytest.raises(InputError, match="left out of the matching"):
        match(spec(checkpoint), spec(Encoder()), pin=[("layers.0.fc1.weight.exp_avg", "layers.0.fc1.weight")])


def test_an_unknown_kind_of_evidence() -> None:
    with pytest.raises(InputError, match="'names' is not known; use 'all', 'name' or 'topology'"):
        match(spec(Encoder()), spec(Encoder()), by="names")


def test_by_name_is_what_torch_does_without_strict() -> None:
    """Equal names and shapes, whatever else the two share; torch itself says the same of the rest."""
    model = HfEncoder()
    checkpoint = renamed(HfEncoder(), lambda key: key.replace("query", "q_proj"))
    torchs = model.load_state_dict(checkpoint, strict=False)
    assignment = solved(checkpoint, model, truth((key, key) for key in checkpoint if "q_proj" not in key), by="name")
    assert list(assignment.missing_keys) == torchs.missing_keys
    assert list(assignment.unexpected_keys) == torchs.unexpected_keys


def test_by_name_believes_names_where_indices_shift() -> None:
    """That is what it is for, and why it is not the default."""
    checkpoint, model = nn.Sequential(*[nn.Linear(8, 8) for _ in range(4)]), nn.Sequential(*[nn.Linear(8, 8)] * 3)
    solved(checkpoint, model, truth((key, key) for key in spec(model).keys), by="name")


def test_by_name_reports_equal_keys_of_other_shapes() -> None:
    """As torch does: a size mismatch is no missing key."""
    assignment = match(spec(nn.Linear(8, 4)), spec(nn.Linear(8, 3)), by="name")
    assert [(m.key, m.checkpoint_key, m.checkpoint_shape, m.model_shape) for m in assignment.mismatched] == [
        ("weight", "weight", (4, 8), (3, 8)),
        ("bias", "bias", (4,), (3,)),
    ]


def test_by_topology_needs_no_names() -> None:
    """Keras loads by the order of its layers; the same order under other names is the same network."""
    numbers: dict[str, int] = {}
    checkpoint = {
        f"layer_{numbers.setdefault(path, len(numbers))}.{role}": tensor
        for key, tensor in Encoder().state_dict().items()
        for path, role in [key.rsplit(".", 1)]
    }
    solved(checkpoint, Encoder(), truth(zip(checkpoint, spec(Encoder()).keys, strict=True)), by="topology")


def test_by_topology_pays_no_heed_to_misleading_names() -> None:
    """Every layer bears the name of another one."""
    words = {"red": "three", "blue": "one", "green": "two"}
    checkpoint = renamed(layers(COLOURS, SHAPES), lambda key: ".".join(words.get(t, t) for t in key.split(".")))
    model = layers(["one", "two", "three", "grey", "pink"], SHAPES)
    solved(checkpoint, model, truth(zip(checkpoint, spec(model).keys, strict=True)), by="topology")
    solved(checkpoint, model, truth((key, key) for key in checkpoint))


def test_decisions_reach_the_front() -> None:
    """`automatch.diagnose` and `load` take the same words."""
    model = nn.ModuleDict({"one": nn.Linear(4, 4), "two": nn.Linear(4, 4)})
    checkpoint = {
        f"{name}.{role}": torch.rand(shape)
        for name in ("red", "green")
        for role, shape in (("weight", (4, 4)), ("bias", (4,)))
    }
    automatch.load(model, checkpoint, pin=[("red", "two")])
    assert torch.equal(model["two"].weight, checkpoint["red.weight"])
    assert torch.equal(model["one"].bias, checkpoint["green.bias"])


def test_the_rest_of_a_transformer_stays_as_it_was() -> None:
    """A pin that says what was found anyway changes nothing."""
    expected = by_rename(Encoder(), to_hf)
    plain = solved(Encoder(), HfEncoder(), expected)
    pinned = solved(Encoder(), HfEncoder(), expected, pin=[("layers.1.fc1", "encoder.layer.1.intermediate.dense")])
    assert [m.checkpoint_keys for m in plain.matches] == [m.checkpoint_keys for m in pinned.matches]
    honest(Encoder(), Encoder(), SAME, pin=[(".*norm.*", r"\g<0>")])


def critics(names: list[str]) -> nn.Module:
    """Equal networks of two layers under these names."""
    return built({f"{name}.{i}": nn.Linear(16, 16) for name in names for i in (0, 2)})


def test_a_pinned_tensor_takes_the_rest_of_its_network_along() -> None:
    """What two containers hold alike follows the pin; the other networks stay in doubt."""
    mine, model = (
        critics(["q1", "q2", "q1_targ", "q2_targ"]),
        critics([f"{t}.{i}" for t in ("target", "net") for i in "01"]),
    )
    assignment = match(spec(mine), spec(model), pin=[("q1.0.weight", "net.0.0.weight")])
    served = {m.model_keys[0]: m for m in assignment.matches if m.model_keys[0].startswith("net.0.")}
    assert {key: m.checkpoint_keys[0] for key, m in served.items()} == {
        f"net.0.{i}.{role}": f"q1.{i}.{role}" for i in (0, 2) for role in ("weight", "bias")
    }
    assert not any(m.ambiguous for m in served.values())


def test_a_pin_in_one_module_says_nothing_of_its_neighbours() -> None:
    """Query and key exchanged in one layer by a person: value and out stay with their names."""
    parts = {f"attn.{name}": nn.Linear(16, 16) for name in ("q", "k", "v", "o")}
    assignment = match(spec(built(parts)), spec(built(parts | {"extra": nn.Linear(3, 3)})), pin=[("attn.q", "attn.k")])
    served = {m.model_keys[0]: m.checkpoint_keys[0] for m in assignment.matches}
    assert served["attn.k.bias"] == "attn.q.bias" and served["attn.v.weight"] == "attn.v.weight"


def test_a_pin_chooses_between_two_copies() -> None:
    """Generator and discriminator of one shape in one file: nothing tells which, until a person says."""
    mine, model = (
        critics([f"{n}.{i}" for n in ("generator", "discriminator") for i in "012"]),
        critics([f"b.{i}" for i in "012"]),
    )
    assert all(m.ambiguous for m in match(spec(mine), spec(model)).matches)
    assignment = match(spec(mine), spec(model), pin=[("discriminator.0.0.weight", "b.0.0.weight")])
    assert {m.checkpoint_keys[0].partition(".")[0] for m in assignment.matches} == {"discriminator"}
    assert not assignment.missing_keys


def test_of_two_copies_the_one_that_was_not_refused_is_taken() -> None:
    model = built(
        {"conv1": nn.Conv2d(8, 8, 3), "bn1": nn.BatchNorm2d(8), "conv2": nn.Conv2d(8, 8, 3), "fc": nn.Linear(8, 3)}
    )
    state = model.state_dict()
    checkpoint = {f"{who}.{key}": tensor.clone() for who in ("student", "teacher") for key, tensor in state.items()}
    forbid = [(f"teacher.{key}", key) for key in state]
    answer = match(spec(checkpoint), spec(model), forbid=forbid)
    assert found(answer) == truth((f"student.{key}", key) for key in state)


def test_what_was_pinned_is_no_alternative_for_the_rest() -> None:
    given = spec([(f"x{letter}.weight", (8, 8)) for letter in "abcd"])
    wanted = spec([(f"y.{letter}.weight", (8, 8)) for letter in "pqrs"])
    assignment = match(given, wanted, pin=[("xa.weight", "y.q.weight")])
    offered = {key for one in assignment.matches for key in one.alternatives}
    assert offered == {"xb.weight", "xc.weight", "xd.weight"}
