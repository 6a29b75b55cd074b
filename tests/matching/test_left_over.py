"""What has no counterpart stays without one: other classes, other networks, adapters, lost families."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

import automatch
from automatch.matching import match
from automatch.matching.basis.identity import Identity
from automatch.matching.basis.leaves import leaves_of
from automatch.matching.left_overs.named import namesakes
from tests.matching.built import built
from tests.matching.networks import Decoder, Encoder, ResNet, Vgg, to_hf
from tests.matching.truth import Served, by_rename, flagged, found, honest, renamed, silent, solved, spec, truth

ROLES = ("weight", "bias")


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.net."])
def test_another_number_of_classes(prefix: str) -> None:
    """The head is a pair of two shapes: reported with both, never loaded."""
    mine, model = renamed(ResNet(classes=10), lambda key: prefix + key), ResNet(classes=7)
    assignment = solved(mine, model, truth((prefix + k, k) for k in spec(model).keys if not k.startswith("fc.")))
    assert [tuple(pair.__getattribute__(n) for n in pair.__slots__) for pair in assignment.mismatched] == [
        ("fc.weight", f"{prefix}fc.weight", (10, 64), (7, 64)),
        ("fc.bias", f"{prefix}fc.bias", (10,), (7,)),
    ]
    assert assignment.missing_keys == ("fc.weight", "fc.bias")
    assert assignment.unexpected_keys == (f"{prefix}fc.weight", f"{prefix}fc.bias")


def test_another_number_of_classes_where_indices_shift() -> None:
    mine, model = Vgg([3, 8, 16], dropout=True), Vgg([3, 8, 16], classes=7)
    pairs = [("features.0", "features.0"), ("features.3", "features.2")]
    pairs += [("classifier.0", "classifier.0"), ("classifier.3", "classifier.2")]
    expected = truth((f"{a}.{role}", f"{b}.{role}") for a, b in pairs for role in ("weight", "bias"))
    assignment = solved(mine, model, expected)
    assert [(p.checkpoint_key, p.key) for p in assignment.mismatched] == [
        ("classifier.6.weight", "classifier.4.weight"),
        ("classifier.6.bias", "classifier.4.bias"),
    ]


def test_a_longer_table_of_positions() -> None:
    assignment = solved(
        Encoder(places=24), Encoder(places=48), truth((k, k) for k in spec(Encoder()).keys if "positions" not in k)
    )
    assert [p.key for p in assignment.mismatched] == ["embed_positions.weight"]


@pytest.fixture
def without_memory() -> Iterator[None]:
    """Networks of real sizes, without their values."""
    with torch.device("meta"):
        yield


def multilayer() -> nn.Module:
    return nn.Sequential(*[nn.Linear(33, 33) for _ in range(6)])


@pytest.mark.usefixtures("without_memory")
@pytest.mark.parametrize(
    ("mine", "model"),
    [
        (multilayer, Encoder),
        (multilayer, ResNet),
        (lambda: Encoder(12, 768, 3072, 30522, 512), lambda: ResNet((64, 128, 256, 512))),
        (lambda: ResNet((64, 128, 256, 512)), lambda: Encoder(12, 768, 3072, 30522, 512)),
        (lambda: Encoder(6, 512, 2048, 32000, 512), lambda: Decoder((128, 256, 512, 512))),
    ],
)
def test_unrelated_networks_have_nothing_in_common(mine: object, model: object) -> None:
    """Norms and biases of one width are everywhere; they are no sign of kinship."""
    assert solved(mine(), model(), {}).matches == ()


@pytest.mark.usefixtures("without_memory")
def test_unrelated_networks_that_fit_here_and_there() -> None:
    """Three convolutions of VGG fit a ResNet's; whatever is said about them is flagged."""
    honest(Vgg([3, 64, 128, 256, 512]), ResNet((64, 128, 256, 512)), {})


@pytest.mark.usefixtures("without_memory")
@pytest.mark.parametrize(
    "swap",
    [
        False,
        pytest.param(True, marks=pytest.mark.xfail(strict=True, reason="3x3 convolutions of one width are in both")),
    ],
)
def test_unrelated_networks_of_convolutions(swap: bool) -> None:
    """An image decoder is no classifier, though half of their tensors are of one shape."""
    pair = ResNet((64, 128, 256, 512)), Decoder((128, 256, 512, 512))
    honest(*(pair[::-1] if swap else pair), {})


def adapter(rank: int) -> dict[str, torch.Tensor]:
    """What peft saves of an adapter on the attention of every layer."""
    out = {}
    for key, tensor in Encoder().state_dict().items():
        if key.endswith("_proj.weight"):
            stem = "base_model.model." + key.removesuffix(".weight")
            out[f"{stem}.lora_A.weight"] = torch.empty(rank, tensor.shape[1])
            out[f"{stem}.lora_B.weight"] = torch.empty(tensor.shape[0], rank)
    return out


def in_peft(key: str) -> str:
    """Where peft's model keeps a key of its base."""
    path, role = key.rsplit(".", 1)
    return f"base_model.model.{path}.base_layer.{role}" if path.endswith("_proj") else f"base_model.model.{key}"


def peft(rank: int) -> dict[str, torch.Tensor]:
    """The state_dict of peft's model: the base under `base_layer`, the adapter called `default`."""
    out = renamed(Encoder(), in_peft)
    for key, tensor in adapter(rank).items():
        out[key.removesuffix("weight") + "default.weight"] = tensor
    return out


@pytest.mark.parametrize("rank", [2, 4])
def test_an_adapter_holds_nothing_of_its_base(rank: int) -> None:
    assert solved(adapter(rank), Encoder(), {}).matches == ()
    assert solved(Encoder(), adapter(rank), {}).matches == ()


@pytest.mark.parametrize("rank", [1, 8, 16])
def test_an_adapter_whose_shapes_fit_by_chance(rank: int) -> None:
    """A rank of 1 looks like vectors, one of the width like square matrices; nothing of that is believed."""
    honest(adapter(rank), Encoder(), {})


@pytest.mark.parametrize("rank", [1, 4])
def test_an_adapter_and_its_base_in_the_model_of_peft(rank: int) -> None:
    """The adapter fills the adapter, the base fills the base."""
    default = {key: key.removesuffix("weight") + "default.weight" for key in adapter(rank)}
    solved(adapter(rank), peft(rank), truth(default.items()))
    solved(Encoder(), peft(rank), by_rename(Encoder(), in_peft))
    solved(peft(rank), Encoder(), truth((in_peft(key), key) for key in spec(Encoder()).keys))


def test_an_adapter_as_large_as_its_base() -> None:
    honest(Encoder(), peft(16), by_rename(Encoder(), in_peft))


FAMILIES = [
    "q_proj",
    "k_proj",
    "v_proj",
    "out_proj",
    "fc1",
    "fc2",
    "self_attn_layer_norm",
    "final_layer_norm",
    "embed_tokens",
    "embed_positions",
]


def knocked_out(mine: str, other: str, hf: bool) -> tuple[dict, dict, dict]:
    """Both sides after one family was taken out of each, and what is still true. Words are those of `Encoder`."""
    rename = to_hf if hf else str
    checkpoint = renamed(Encoder(), lambda key: None if mine and mine in key else key)
    model = renamed(Encoder(), lambda key: None if other and other in key else rename(key))
    return checkpoint, model, truth((key, rename(key)) for key in checkpoint if rename(key) in model)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["file", "model"])
def test_a_family_missing_on_one_side_of_the_same_code(family: str, side: str) -> None:
    """Everything else is certain, nothing takes the place of the family."""
    solved(*knocked_out(family if side == "file" else "", family if side == "model" else "", False))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["file", "model"])
def test_a_family_missing_on_one_side_of_other_code(family: str, side: str) -> None:
    """What is missing is not made up. What is left may be flagged, but most of it is found."""
    checkpoint, model, expected = knocked_out(family if side == "file" else "", family if side == "model" else "", True)
    answer = found(honest(checkpoint, model, expected))
    assert sum(answer.get(keys) == served for keys, served in expected.items()) >= 0.8 * len(expected)


LOST_ON_BOTH = [
    ("q_proj", "k_proj"),
    ("k_proj", "v_proj"),
    ("q_proj", "out_proj"),
    ("out_proj", "v_proj"),
    ("embed_tokens", "embed_positions"),
    (".bias", ".weight"),
]


@pytest.mark.parametrize(("mine", "other"), LOST_ON_BOTH)
@pytest.mark.parametrize("hf", [False, True], ids=["same code", "other code"])
def test_what_is_missing_is_not_filled_with_what_is_left_over(mine: str, other: str, hf: bool) -> None:
    """The file lost its queries, the model has no keys: queries stay missing, keys stay unexpected."""
    checkpoint, model, expected = knocked_out(mine, other, hf)
    assert set(found(honest(checkpoint, model, expected))) <= set(expected)


@pytest.mark.parametrize("hf", [False, True], ids=["same code", "other code"])
def test_a_left_over_is_no_sign_of_a_transposed_layout(hf: bool) -> None:
    honest(*knocked_out("fc1", "fc2", hf))


@pytest.mark.xfail(
    strict=True,
    reason="the only norm left fits the only norm missing: .98 whatever the names, as nothing else is left",
)
@pytest.mark.parametrize(
    ("mine", "other", "hf"),
    [
        ("self_attn_layer_norm", "final_layer_norm", False),
        ("final_layer_norm", "self_attn_layer_norm", False),
        ("final_layer_norm", "self_attn_layer_norm", True),
    ],
)
def test_a_left_over_norm_is_not_the_missing_one(mine: str, other: str, hf: bool) -> None:
    honest(*knocked_out(mine, other, hf))


@pytest.mark.parametrize(
    "hf",
    [
        pytest.param(
            False,
            marks=pytest.mark.xfail(
                strict=True,
                reason="fc1 left over has the shape of the missing q, k and v together: cut into them, silently",
            ),
        ),
        True,
    ],
    ids=["same code", "other code"],
)
def test_a_left_over_is_not_cut_into_what_is_missing(hf: bool) -> None:
    honest(*knocked_out("self_attn.", "fc", hf))


def vit() -> nn.Module:
    """torchvision's ViT: layers whose number is a part of their name."""
    layers = nn.ModuleDict()
    for i in range(2):
        mlp = nn.Sequential(nn.Linear(16, 40), nn.GELU(), nn.Linear(40, 16))
        attention = nn.MultiheadAttention(16, 2)
        parts = {"ln_1": nn.LayerNorm(16), "self_attention": attention, "ln_2": nn.LayerNorm(16), "mlp": mlp}
        layers[f"encoder_layer_{i}"] = nn.ModuleDict(parts)
    encoder = nn.ModuleDict({"layers": layers, "ln": nn.LayerNorm(16)})
    return nn.ModuleDict({"conv_proj": nn.Conv2d(3, 16, 4), "encoder": encoder, "heads": nn.Linear(16, 5)})


def test_what_lost_a_neighbour_keeps_its_name() -> None:
    """Containers that lack a tensor on each side are no half-matched heads where all other names are equal."""
    mine = renamed(vit(), lambda key: None if key.endswith("in_proj_weight") else key)
    model = renamed(vit(), lambda key: None if key == "encoder.ln.weight" else key)
    solved(mine, model, truth((key, key) for key in model if key in mine))


class Positions(nn.Module):
    """An embedding with the table of its positions and the frequencies of a rotary one, as buffers."""

    def __init__(self, saved: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.norm = nn.LayerNorm(16)
        self.register_buffer("position_ids", torch.arange(24)[None], persistent=saved)
        self.register_buffer("rotary_inv_freq", torch.rand(8), persistent=saved)


@pytest.mark.parametrize("saved", [False, True])
def test_what_the_model_computes_itself_may_be_missing_or_left_over(saved: bool) -> None:
    mine, model = Positions(not saved), Positions(saved)
    given = {key: tensor.clone() for key, tensor in mine.state_dict().items()}
    found = automatch.diagnose(given, model)
    left = found.missing_keys if saved else found.unexpected_keys
    assert set(left) == set(found.assignment.harmless) == {"position_ids", "rotary_inv_freq"}
    assert found.complete and found.exit_code == 0
    kept = model.rotary_inv_freq.clone()
    automatch.load(model, given)
    assert torch.equal(model.rotary_inv_freq, kept)


def test_a_parameter_of_such_a_name_is_missed() -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(50, 16), "norm": nn.LayerNorm(16)})
    model.register_parameter("inv_freq", nn.Parameter(torch.rand(8)))
    found = automatch.diagnose({k: v for k, v in model.state_dict().items() if k != "inv_freq"}, model)
    assert found.missing_keys == ("inv_freq",) and not found.complete


@pytest.mark.parametrize("twice", [False, True])
def test_a_name_that_stands_with_and_without_its_wrapper_says_nothing(twice: bool) -> None:
    """Which of `net.fc` and `fc` the model's `fc` is, no name tells; the last one is not taken silently."""
    body = [(f"layers.{i}.w", (8, 8)) for i in range(9)]
    mine = [(f"net.{key}", shape) for key, shape in (*body, ("fc.weight", (3, 3)))]
    sides = [
        leaves_of(spec(keys), frozenset())
        for keys in (mine + [("fc.weight", (3, 3))] * twice, [*body, ("fc.weight", (3, 3))])
    ]
    pairs = [(s.keys, t.keys) for s, t, _ in namesakes([], *sides, Identity(*sides)) if t.keys == ("fc.weight",)]
    assert pairs == ([] if twice else [(("net.fc.weight",), ("fc.weight",))])


def tower(depth: int, odd: int = 0) -> nn.Module:
    """Layers of which the first has so many matrices more than the others."""
    net = nn.ModuleDict({"embed": nn.Embedding(30, 16), "blocks": nn.ModuleList()})
    for i in range(depth):
        attention = nn.ModuleDict({f"{name}_proj": nn.Linear(16, 16, bias=False) for name in "qkvo"})
        if not i:
            attention.update({f"extra{n}": nn.Linear(16, 33, bias=False) for n in range(odd)})
        mlp = nn.ModuleDict({"up": nn.Linear(16, 40, bias=False), "down": nn.Linear(40, 16, bias=False)})
        net["blocks"].append(nn.ModuleDict({"attn": attention, "norm": nn.RMSNorm(16), "mlp": mlp}))
    net["final_norm"] = nn.RMSNorm(16)
    return net


def to_layers(key: str) -> str:
    return key.replace("blocks", "layers").replace("final_norm", "norm_out")


def test_layers_that_the_model_does_not_have_lend_it_no_norm() -> None:
    """The checkpoint is deeper, and its last norm is lost: the norm of the fourth layer has the same shape."""
    mine = renamed(tower(6), lambda key: None if key == "final_norm.weight" else key)
    model = renamed(tower(3), to_layers)
    assignment = solved(mine, model, truth((key, to_layers(key)) for key in mine if to_layers(key) in model))
    assert assignment.missing_keys == ("norm_out.weight",)


@pytest.mark.parametrize("depth", [2, 3, 5])
@pytest.mark.parametrize("odd", [1, 2, 3])
def test_an_odd_first_layer_does_not_shift_or_turn_the_others(depth: int, odd: int) -> None:
    """A shallower model has the first layers; that one of them lacks tensors is no reason to take others silently."""
    mine, model = tower(6, odd), renamed(tower(depth), to_layers)
    honest(mine, model, truth((key, to_layers(key)) for key in spec(mine).keys if to_layers(key) in model))


def test_a_clear_name_counts_in_another_container() -> None:
    """T5X keeps the head in the decoder; the model has four tables of its shape, but one head."""
    layers = [(f"{c}.block.{i}.wi.weight", (40, 16)) for c in ("encoder", "decoder") for i in range(2)]
    given = [*layers, ("token_embedder.embedding", (50, 16)), ("decoder.logits_dense.weight", (50, 16))]
    wanted = [
        *layers,
        ("shared.weight", (50, 16)),
        ("encoder.embed_tokens.weight", (50, 16)),
        ("lm_head.weight", (50, 16)),
    ]
    served = {m.model_keys[0]: m.checkpoint_keys[0] for m in match(spec(given), spec(wanted)).matches}
    assert served["lm_head.weight"] == "decoder.logits_dense.weight"
    assert "token_embedder.embedding" in served.values()


@pytest.mark.parametrize("token", [(1, 16), (1, 1, 16)])
def test_a_token_is_no_weight_of_a_norm(token: tuple[int, ...]) -> None:
    """The last norm's weight is missing, the mask token is left over, and both are of one size."""
    layers = [(f"layers.{i}.{n}.{r}", (16, 16)[: 2 - (r == "bias")]) for i in range(3) for n in "qkvo" for r in ROLES]
    checkpoint = [("mask_token", token), *layers, ("norm.bias", (16,)), ("head.weight", (5, 16))]
    model = [*layers, ("norm.weight", (16,)), ("norm.bias", (16,)), ("head.weight", (5, 16))]
    assert honest(checkpoint, model, truth((key, key) for key, _ in checkpoint[1:])).missing_keys == ("norm.weight",)


def test_common_names_do_not_make_two_networks_kin() -> None:
    """A few norms of a size that both have, `norm1` here and there, beside all that they do not share."""
    checkpoint = [(f"features.block{i}.norm1.{r}", (32 * i,)) for i in range(1, 9) for r in ROLES]
    checkpoint += [(f"features.block{i}.conv.weight", (32, 32 * i, 3, 3)) for i in range(1, 9)]
    model = [(f"features.{i}.norm1.{r}", (96,)) for i in range(2) for r in ROLES]
    model += [(f"features.{i}.mlp.{n}.weight", (384 - n, 96)) for i in range(2) for n in range(4)]
    assert not match(spec(checkpoint), spec(model)).matches


def test_the_norm_behind_the_layers_is_that_norm() -> None:
    """Whatever the whole is called, and whatever its layers lost."""

    def decoder(top: str, lost: str) -> dict[str, object]:
        modules: dict[str, nn.Module] = {f"{top}.embed": nn.Embedding(30, 16)}
        for i in range(3):
            modules |= {f"{top}.layers.{i}.{n}": nn.LayerNorm(16) for n in ("q_norm", "k_norm") if n != lost}
            modules |= {f"{top}.layers.{i}.{n}": nn.Linear(16, 16) for n in "qkv"}
        return dict(built({**modules, f"{top}.norm": nn.LayerNorm(16)}).state_dict())

    checkpoint, model = decoder("wrapped.llama", "q_norm"), decoder("model", "k_norm")
    pairs = by_rename(checkpoint, lambda k: None if "k_norm" in k else k.replace("wrapped.llama", "model"))
    served = found(honest(checkpoint, model, pairs))
    assert served[("model.norm.weight",)].checkpoint == ("wrapped.llama.norm.weight",)


def test_the_last_stage_of_one_network_is_not_another_network() -> None:
    """A Swin's last stage has blocks that a ViT of its width might have: a part of both, and no reason to load it."""
    swin = [(f"stages.{i}.{b}.{name}", shape) for i in range(4) for b in range(2) for name, shape in layer(16 << i)]
    vit = [(f"encoder.layer_{b}.{name}", shape) for b in range(12) for name, shape in layer(128)]
    assert silent(match(spec(swin), spec(vit)), {}) == []


def layer(width: int) -> list[tuple[str, tuple[int, ...]]]:
    parts = {"attn.qkv": (3 * width, width), "attn.proj": (width, width), "norm1": (width,), "norm2": (width,)}
    parts |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    weights = [(f"{name}.weight", shape) for name, shape in parts.items()]
    return weights + [(f"{name}.bias", shape[:1]) for name, shape in parts.items()]


def test_what_fits_in_one_place_only_is_flagged_and_not_missing() -> None:
    """DeepLab's projection of low features stands before the pyramid in one, behind it in another; the head is new."""
    given = [("a.0.weight", (24, 8, 1, 1)), ("low.project.weight", (12, 40, 1, 1)), ("a.1.weight", (8, 24, 3, 3))]
    given += [("a.2.weight", (9, 8, 1, 1)), ("cls.weight", (21, 9, 1, 1))]
    wanted = [("x.weight", (24, 8, 1, 1)), ("y.weight", (8, 24, 3, 3)), ("z.weight", (9, 8, 1, 1))]
    wanted += [("fine.weight", (12, 40, 1, 1)), ("pred.weight", (19, 9, 1, 1))]
    assignment = match(spec(given), spec(wanted))
    assert found(assignment)[("fine.weight",)] == Served(("low.project.weight",))
    assert "fine.weight" in flagged(assignment)


@pytest.mark.parametrize(("name", "doubtful"), [("rotation_head", True), ("head", False), ("classifier", False)])
def test_the_head_of_another_task_is_as_large(name: str, doubtful: bool) -> None:
    """Where all else is one model, another name for the head may be another head; a synonym is none."""
    layers = [(f"layers.{i}.conv.weight", (8, 8, 3, 3)) for i in range(12)]
    given = [(f"backbone.{key}", shape) for key, shape in layers]
    given += [(f"{name}.weight", (10, 8)), (f"{name}.bias", (10,))]
    wanted = [*layers, ("fc.weight", (10, 8)), ("fc.bias", (10,))]
    assert flagged(match(spec(given), spec(wanted))) == ({"fc.weight", "fc.bias"} if doubtful else set())


def test_what_is_alone_of_its_shape_is_no_leftover_of_both_sides() -> None:
    """A sparse autoencoder: `pre_bias` is `b_dec`, the only vector of that width; that names differ is flagged."""
    given = [("pre_bias", (64,)), ("latent_bias", (512,)), ("stats_last_nonzero", (512,))]
    given += [("encoder.weight", (512, 64)), ("decoder.weight", (64, 512))]
    wanted = [("W_dec", (512, 64)), ("W_enc", (64, 512)), ("b_enc", (512,)), ("b_dec", (64,))]
    assignment = match(spec(given), spec(wanted))
    assert found(assignment)[("b_dec",)] == Served(("pre_bias",)) and "b_dec" in flagged(assignment)


def test_a_deeper_models_layer_is_served_by_no_head() -> None:
    """Its modules are called as those of the head for masked words, which the model does not have."""
    layer = {"attention.output.dense.weight": (8, 8), "attention.output.LayerNorm.weight": (8,), "mlp.weight": (20, 8)}
    layer |= {"attention.query.weight": (8, 8), "attention.key.weight": (8, 8), "back.weight": (8, 20)}
    keys = [[(f"layer.{i}.{name}", shape) for i in range(depth) for name, shape in layer.items()] for depth in (6, 12)]
    head = [("cls.transform.dense.weight", (8, 8)), ("cls.transform.LayerNorm.weight", (8,))]
    solved(
        [*keys[0], *head],
        [(f"bert.{key}", shape) for key, shape in keys[1]],
        truth((k, f"bert.{k}") for k, _ in keys[0]),
    )


def test_statistics_are_no_parameter() -> None:
    """A norm without weight and bias, left over, and a centre that the model has besides (Deep SVDD)."""
    body = [("conv.weight", (8, 3, 3, 3)), ("fc.weight", (6, 32))]
    norm = [("bn.running_mean", (6,)), ("bn.running_var", (6,)), ("bn.num_batches_tracked", ())]
    wanted = [("center", (6,)), ("net.0.weight", (8, 3, 3, 3)), ("out.weight", (6, 32))]
    assert ("center",) not in found(match(spec([*body, *norm]), spec(wanted)))
