"""A pin takes the block around its tensor along, and what has no other partner then follows."""

from __future__ import annotations

import pytest
from torch import nn

from automatch.matching import match
from automatch.matching.assignment import Assignment
from automatch.spec import StateDictSpec, TensorSpec
from tests.matching.built import built
from tests.matching.truth import flagged, spec

GENERATOR = ("model.1", "model.4", "model.10.conv_block.1", "model.10.conv_block.5", "model.19")
OTHER = ("stem", "down.0", "blocks.0.conv1", "blocks.0.conv2", "up.0")


def generators(names: tuple[str, ...], parts: tuple[str, ...]) -> StateDictSpec:
    """Equal networks under some names, e.g. the two generators of a CycleGAN."""
    convs = [(3, 8), (8, 16), (16, 16), (16, 16), (16, 8)]
    return spec(built({f"{n}.{p}": nn.Conv2d(*size, 3) for n in names for p, size in zip(parts, convs, strict=True)}))


def serving(answer: Assignment) -> dict[str, str]:
    """Which checkpoint key serves which model key."""
    return {m.model_keys[0]: m.checkpoint_keys[0] for m in answer.matches}


@pytest.mark.parametrize(("mine", "theirs"), [("netG_A", "gen_ba"), ("netG_A", "gen_ab"), ("netG_B", "gen_ab")])
@pytest.mark.parametrize("part", range(5))
def test_one_pin_tells_two_equal_networks_apart(mine: str, theirs: str, part: int) -> None:
    """Nothing says which generator is which; one tensor that a person pins says it for both."""
    checkpoint, model = generators(("netG_A", "netG_B"), GENERATOR), generators(("gen_ab", "gen_ba"), OTHER)
    assert flagged(match(checkpoint, model)) == set(model.keys)
    pin = (f"{mine}.{GENERATOR[part]}.weight", f"{theirs}.{OTHER[part]}.weight")
    answer = match(checkpoint, model, pin=[pin])
    other = {"netG_A": "netG_B", "netG_B": "netG_A"}[mine]
    networks = {theirs: mine, ({"gen_ab", "gen_ba"} - {theirs}).pop(): other}
    assert {key: own.split(".")[0] for key, own in serving(answer).items()} == {
        key: networks[key.split(".")[0]] for key in model.keys
    }
    assert not flagged(answer)


@pytest.mark.parametrize("names", [("G_A2B", "G_B2A"), ("g_xy", "g_yx")])
def test_a_letter_of_a_network_is_no_bias(names: tuple[str, str]) -> None:
    """The `B` of `netG_B` names a network, whatever `b` is called in a layer."""
    answer = match(generators(("netG_A", "netG_B"), GENERATOR), generators(names, OTHER))
    assert not answer.missing_keys


def test_a_pin_says_which_way_two_lists_are_counted() -> None:
    """Levels of one size: a decoder that counts down, and a pin that says that it does not."""
    mine = built({f"encoder.down.{i}.{p}": nn.Conv2d(8, 8, 3) for i in range(4) for p in ("a", "b")})
    theirs = built({f"decoder.up.{i}.{p}": nn.Conv2d(8, 8, 3) for i in range(4) for p in ("a", "b")})
    for i in (0, 1):
        for turned in (False, True):
            other = 3 - i if turned else i
            pin = (f"encoder.down.{i}.a.weight", f"decoder.up.{other}.a.weight")
            answer = match(spec(mine), spec(theirs), pin=[pin])
            wanted = {f"decoder.up.{3 - n if turned else n}.a.weight": f"encoder.down.{n}.a.weight" for n in range(4)}
            assert {key: serving(answer)[key] for key in wanted} == wanted
            assert not flagged(answer)


def test_what_goes_elsewhere_than_its_pinned_sibling_stays_in_doubt() -> None:
    """The first block is the decoder layer, a person says; that the second is the cross-attention nobody says."""
    parts = {"n1": nn.LayerNorm(8), "attn": nn.Linear(8, 8), "n2": nn.LayerNorm(8), "mlp": nn.Linear(8, 16)}
    mine = built({f"blocks.{i}.{name}": part for i in range(2) for name, part in parts.items()})
    theirs = built({f"lang.{own}.{name}": part for own in ("cross", "layer") for name, part in parts.items()})
    answer = match(spec(mine), spec(theirs), pin=[("blocks.0.n1.weight", "lang.layer.n1.weight")])
    assert flagged(answer) == {key for key in theirs.state_dict() if key.startswith("lang.cross.")}


def test_a_pin_of_one_list_of_a_grid_leaves_the_rest_in_doubt() -> None:
    """Two lists of two: `compress` may hold both of the first encoder, or the first of both."""
    parts = {"q": nn.Linear(8, 8), "k": nn.Linear(8, 16), "norm": nn.LayerNorm(8)}
    mine = built({f"enc.{i}.mab{j}.{name}": part for i in (0, 1) for j in (0, 1) for name, part in parts.items()})
    theirs = built(
        {f"{own}.{i}.{name}": part for own in ("compress", "expand") for i in (0, 1) for name, part in parts.items()}
    )
    answer = match(spec(mine), spec(theirs), pin=[("enc.0.mab0.q.weight", "compress.0.q.weight")])
    assert {key for key in theirs.state_dict() if not key.startswith("compress.0.")} <= flagged(answer)


def test_two_rows_of_a_table_are_no_norms_of_two_layers() -> None:
    """The types of BERT's tokens, without a word that says so: [2, d], as two layers' norms on each other."""
    layers = {f"layer.{i}.{name}": nn.LayerNorm(8) for i in range(2) for name in ("norm1", "norm2")}
    linear = {f"layer.{i}.linear": nn.Linear(8, 16) for i in range(2)}
    saved = built({"segment": nn.Embedding(2, 8), **layers, **linear})
    model = built({name.replace("layer", "stack"): part for name, part in {**layers, **linear}.items()})
    model.add_module("adapter", nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 8)))
    served = serving(match(spec(saved), spec(model)))
    wanted = {f"{name.replace('layer', 'stack')}.weight": f"{name}.weight" for name in (*layers, *linear)}
    assert {key: served.get(key) for key in wanted} == wanted


def blocks(name: str, numbers: range, parts: tuple[str, str] = ("fc1", "fc2")) -> StateDictSpec:
    """A list of equal blocks between a table and a head, e.g. `block1, block2`."""
    layers = {f"{name}{i}.{part}": nn.Linear(8, 8 + 8 * n) for i in numbers for n, part in enumerate(parts)}
    return spec(built({"embed": nn.Embedding(20, 8), **layers, "head": nn.Linear(8, 5)}))


@pytest.mark.parametrize(("few", "many"), [(2, 4), (2, 3), (6, 9), (3, 12)])
@pytest.mark.parametrize("names", [("block", "layers."), ("m.", "res.")])
@pytest.mark.parametrize("first", [1, 4])
def test_lists_of_other_lengths_that_count_from_other_numbers(
    few: int, many: int, first: int, names: tuple[str, str]
) -> None:
    """`block1` may be `layers.0`, as one side counts from 1, or what stood before it is lost; so may `m.4`: flagged."""
    short, long = blocks(names[0], range(first, first + few)), blocks(names[1], range(many), ("linear1", "linear2"))
    for checkpoint, model in ((short, long), (long, short)):
        answer = match(checkpoint, model)
        served = {key: own for key, own in serving(answer).items() if key.endswith("1.weight")}
        own = {f"{names[0]}{first + i}.fc1.weight": f"{names[1]}{i}.linear1.weight" for i in range(few)}
        assert served == (own if checkpoint is long else {b: a for a, b in own.items()})
        inside = {key for m in answer.matches for key in m.model_keys if "embed" not in key and "head" not in key}
        assert flagged(answer) == inside


@pytest.mark.parametrize(("few", "many"), [(2, 4), (6, 9)])
def test_a_longer_list_that_counts_from_one(few: int, many: int) -> None:
    """`layers.0` is no block that is lost of `block1, block2, block3`, which count from 1."""
    short, long = blocks("layers.", range(few)), blocks("block", range(1, many + 1), ("linear1", "linear2"))
    for checkpoint, model in ((short, long), (long, short)):
        answer = match(checkpoint, model)
        pairs = {f"layers.{i}.fc1.weight": f"block{i + 1}.linear1.weight" for i in range(few)}
        served = {key: own for key, own in serving(answer).items() if key.endswith("1.weight")}
        assert served == (pairs if checkpoint is long else {b: a for a, b in pairs.items()})
        assert not flagged(answer)


def test_a_pin_of_lists_of_other_lengths_says_how_far_they_are_apart() -> None:
    """Two critics of which the first is the second of three: nothing but the pinned one is sure."""
    mine, theirs = blocks("q", range(1, 3)), blocks("critics.", range(3), ("l1", "l2"))
    answer = match(mine, theirs, pin=[("q1.fc1.weight", "critics.1.l1.weight")])
    served = serving(answer)
    assert served["critics.2.l1.weight"] == "q2.fc1.weight"
    assert {key for key in flagged(answer) if key.startswith("critics.2.")} == {
        f"critics.2.{part}.{role}" for part in ("l1", "l2") for role in ("weight", "bias")
    }


@pytest.mark.parametrize(("pinned", "other"), [(2, 1), (3, 0), (1, 2)])
def test_what_a_pin_contradicts_is_not_sure_of_the_rest(pinned: int, other: int) -> None:
    """Every second layer was kept, or the last: one pin does not say which, and the other layers stay in doubt."""
    mine, theirs = blocks("layer.", range(6)), blocks("blocks.", range(3), ("a", "b"))
    answer = match(mine, theirs, pin=[(f"layer.{pinned}.fc1.weight", f"blocks.{other}.a.weight")])
    sure = {key for m in answer.matches if not m.ambiguous for key in m.model_keys if key.startswith("blocks.")}
    assert {key.split(".")[1] for key in sure} == {str(other)}


def test_equal_networks_in_wrappers_are_not_told_apart_by_their_numbers() -> None:
    """`teacher` and `student` against `net1.model` and `net2.model`: either may be either."""
    parts = {"0": nn.Linear(8, 16), "2": nn.Linear(16, 16), "4": nn.Linear(16, 4)}
    mine = built({f"{name}.{part}": module for name in ("teacher", "student") for part, module in parts.items()})
    inner = dict(zip(("0", "2.0", "3"), parts.values(), strict=True))
    theirs = built({f"net{n}.model.{part}": module for n in (1, 2) for part, module in inner.items()})
    assert flagged(match(spec(mine), spec(theirs))) == set(theirs.state_dict())


def test_what_a_doubted_block_might_have_been_is_doubted_too() -> None:
    """`skip` and `body.conv3` of one shape against `downsample` and `conv3`: if one is in doubt, so is the other."""
    mine: dict[str, nn.Module] = {"stem": nn.Conv2d(3, 8, 3)}
    theirs: dict[str, nn.Module] = {"conv": nn.Conv2d(3, 8, 3)}
    for i in range(2):
        for n, (before, width) in enumerate(((8, 4), (4, 4), (4, 8)), 1):
            mine |= {f"units.{i}.body.c{n}.conv": nn.Conv2d(before, width, 1 + 2 * (n == 2))}
            mine |= {f"units.{i}.body.c{n}.bn": nn.BatchNorm2d(width)}
            theirs |= {f"layers.{i}.conv{n}": nn.Conv2d(before, width, 1 + 2 * (n == 2))}
            theirs |= {f"layers.{i}.bn{n}": nn.BatchNorm2d(width)}
        mine |= {f"units.{i}.pass.conv": nn.Conv2d(4, 8, 1), f"units.{i}.pass.bn": nn.BatchNorm2d(8)}
        theirs |= {f"layers.{i}.side.0": nn.Conv2d(4, 8, 1), f"layers.{i}.side.1": nn.BatchNorm2d(8)}
    wanted = {
        f"layers.{i}.{part}": f"units.{i}.{own}"
        for i in (0, 1)
        for part, own in (("conv3.weight", "body.c3.conv.weight"), ("side.0.weight", "pass.conv.weight"))
    }
    answer = match(spec(built(mine)), spec(built(theirs)))
    sure = {key: own for key, own in serving(answer).items() if key not in flagged(answer)}
    assert all(sure.get(key, own) == own for key, own in wanted.items())


def test_matrices_of_a_shape_of_their_own_go_by_their_numbers() -> None:
    """`convt_I1, convt_I2` of LapSRN against `levels.0.image_up, levels.1.image_up`: nothing else is of this shape."""
    mine: dict[str, nn.Module] = {"conv_input": nn.Conv2d(1, 64, 3, bias=False)}
    theirs: dict[str, nn.Module] = {"head": nn.Conv2d(1, 64, 3, bias=False)}
    for i in (1, 2):
        features = [nn.Conv2d(64, 64, 3, bias=False) for _ in range(10)]
        mine |= {f"convt_I{i}": nn.ConvTranspose2d(1, 1, 4, bias=False), f"convt_R{i}": nn.Conv2d(64, 1, 3, bias=False)}
        mine |= {f"convt_F{i}.0.cov_block.{2 * n}": conv for n, conv in enumerate(features)}
        mine |= {f"convt_F{i}.0.cov_block.20": nn.ConvTranspose2d(64, 64, 4, bias=False)}
        theirs |= {f"levels.{i - 1}.features.{n}": conv for n, conv in enumerate(features)}
        theirs |= {f"levels.{i - 1}.feature_up": nn.ConvTranspose2d(64, 64, 4, bias=False)}
        theirs |= {f"levels.{i - 1}.residual": nn.Conv2d(64, 1, 3, bias=False)}
        theirs |= {f"levels.{i - 1}.image_up": nn.ConvTranspose2d(1, 1, 4, bias=False)}
    saved = spec(built({f"model.{name}": part for name, part in mine.items()}))
    saved = StateDictSpec("file", (TensorSpec("epoch", (), "int64"), *saved.tensors))
    answer = match(saved, spec(built(theirs)))
    wanted = {f"levels.{i - 1}.image_up.weight": f"model.convt_I{i}.weight" for i in (1, 2)}
    assert wanted.items() <= serving(answer).items()
    assert wanted.keys().isdisjoint(flagged(answer))  # the epoch is no tensor that might have been meant


def test_a_pin_of_one_part_loses_no_bias() -> None:
    """`linears.0` is the first of what is joined, a person says: the biases of all three are still joined."""
    mine = built({f"layers.{i}.attn.linears.{n}": nn.Linear(16, 16) for i in range(2) for n in range(4)})
    theirs = built({f"layers.{i}.self_attn": nn.MultiheadAttention(16, 2) for i in range(2)})
    answer = match(
        spec(mine), spec(theirs), pin=[("layers.0.attn.linears.0.weight", "layers.0.self_attn.in_proj_weight")]
    )
    assert not answer.missing_keys
    assert not answer.unexpected_keys
    joined = {m.model_keys[0]: m.checkpoint_keys for m in answer.matches if m.op == "concat"}
    assert joined == {
        f"layers.{i}.self_attn.in_proj_{part}": tuple(f"layers.{i}.attn.linears.{n}.{part}" for n in range(3))
        for i in range(2)
        for part in ("weight", "bias")
    }
