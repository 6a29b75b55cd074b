"""What a file holds beside the model: slots of an optimizer, modules before they were trained, a second network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automatch.matching import match
from tests.matching.built import built, layered
from tests.matching.truth import Served, flagged, found, honest, solved, spec, truth


def net(channels: int = 3) -> nn.Module:
    """A small image network."""
    modules: dict[str, nn.Module] = {"conv1": nn.Conv2d(channels, 16, 3), "bn1": nn.BatchNorm2d(16)}
    for i in range(4):
        modules[f"layer{i}.conv"] = nn.Conv2d(16, 16, 3)
        modules[f"layer{i}.bn"] = nn.BatchNorm2d(16)
    return built(modules)


State = dict[str, torch.Tensor]


@pytest.mark.parametrize("state", ["optimizer.state.", "optimizer.", "optim.state."])
def test_slots_that_stand_under_a_prefix_of_their_own(state: str) -> None:
    """torch.distributed.checkpoint writes `model.fc.weight` and `optimizer.state.fc.weight.exp_avg` side by side."""
    model = net()
    given: State = {f"model.{key}": tensor for key, tensor in model.state_dict().items()}
    for key, tensor in model.named_parameters():
        given |= {f"{state}{key}.{slot}": torch.zeros_like(tensor) for slot in ("exp_avg", "exp_avg_sq")}
    solved_keys = truth((f"model.{key}", key) for key in model.state_dict())
    assignment = solved(given, model, solved_keys)
    assert all("optimizer" in assignment.harmless[key] for key in assignment.unexpected_keys)


def test_what_peft_trained_whole_counts_and_not_what_it_was_before() -> None:
    model = built({"embed": nn.Embedding(50, 16), "fc": nn.Linear(16, 16), "head": nn.Linear(16, 50, bias=False)})
    given: State = {}
    for key, tensor in model.state_dict().items():
        if key == "head.weight":
            given["base_model.model.head.original_module.weight"] = tensor
            given["base_model.model.head.modules_to_save.default.weight"] = tensor
        else:
            given[f"base_model.model.{key}"] = tensor
    served = {key: f"base_model.model.{key}" for key in model.state_dict()}
    served["head.weight"] = "base_model.model.head.modules_to_save.default.weight"
    solved(given, model, truth((one, key) for key, one in served.items()))


def test_of_two_networks_the_one_that_sees_as_many_channels() -> None:
    """Monodepth keeps a network for depth (one image) and one for motion (two): the first kernel tells them apart."""
    given = built({"pose_net": net(6), "depth_net": net(3)})
    wanted = built({"backbone": net(3)})
    names = [key.removeprefix("backbone.") for key in wanted.state_dict()]
    solved(given, wanted, truth((f"depth_net.{key}", f"backbone.{key}") for key in names))


def test_of_two_networks_alike_none_is_taken_without_a_word() -> None:
    given, wanted = built({"blue": net(), "red": net()}), built({"backbone": net()})
    assert all(one.ambiguous for one in match(spec(given), spec(wanted)).matches)


def test_an_encoder_alone_takes_the_shared_embedding() -> None:
    """T5's file holds a head of the embedding's shape; the encoder's own embedding is the shared one."""
    tables = ["shared", "encoder.embed_tokens"]
    blocks = {f"encoder.block.{i}.{part}": nn.Linear(16, 16, bias=False) for i in range(3) for part in "qkvo"}
    model = built({**{name: nn.Embedding(50, 16) for name in tables}, **blocks})
    given = model.state_dict()
    given["lm_head.weight"] = given.pop("encoder.embed_tokens.weight").clone()
    expected = truth((key, key) for key in given if key != "lm_head.weight")
    expected |= truth([("shared.weight", "encoder.embed_tokens.weight")])
    assignment = honest(given, model, expected)
    assert {m.model_keys for m in assignment.matches} == set(expected)
    assert [m.model_keys for m in assignment.matches if m.ambiguous] == [("encoder.embed_tokens.weight",)]


def mlp(name: str, more: dict[str, tuple[int, ...]] | None = None) -> list[tuple[str, tuple[int, ...]]]:
    layers = [(f"{name}.{i}.{w}", size) for i in range(5) for w, size in (("weight", (16, 16)), ("bias", (16,)))]
    return [*layers, *((f"{name}.{key}", size) for key, size in (more or {}).items())]


def test_what_only_one_copy_has_does_not_choose_between_them() -> None:
    """A policy's `log_std` is no sign that the critic is meant."""
    given = [*mlp("blue", {"log_std": (6,)}), *mlp("red")]
    assert all(one.ambiguous for one in match(spec(given), spec(mlp("net"))).matches)


def test_a_quantised_tower_beside_a_plain_one_is_no_optimizer() -> None:
    plain = [(f"visual.transformer.resblocks.{i}.attn.qkv.weight", (48, 16)) for i in range(6)]
    packed = [(f"transformer.resblocks.{i}.attn.qkv.weight._data", (48, 16)) for i in range(6)]
    wanted = [(key.replace("._data", "").replace("transformer.resblocks", "text.layers"), s) for key, s in packed]
    assignment = match(spec([*plain, *packed]), spec([*plain, *wanted]))
    assert not [key for key, why in assignment.harmless.items() if "optimizer" in why]


@pytest.mark.parametrize("state", [True, False], ids=["with the state", "parameters alone"])
def test_what_flax_optim_calls_its_target_are_the_parameters(state: bool) -> None:
    model = net()
    file = {f"optimizer/target/{key.replace('.', '/')}": value for key, value in model.state_dict().items()}
    expected = {(key,): Served((f"optimizer/target/{key.replace('.', '/')}",)) for key in model.state_dict()}
    if state:
        slots = {key.replace("/target/", "/state/param_states/") + "/grad_ema": value for key, value in file.items()}
        file |= {**slots, "optimizer/state/step": torch.tensor(3)}
    solved(file, model, expected)


@pytest.mark.parametrize("key", ["optimizer.state.{}.momentum_buffer", "opt_state.0.mu.{}", "optimizer.exp_avg.{}"])
def test_a_file_of_moments_holds_no_weights(key: str) -> None:
    """They are of the weights' shapes and under their names; nothing else is in the file."""
    given = [(key.format(name), shape) for name, shape in mlp("net")]
    assignment = match(spec(given), spec(mlp("net")))
    assert assignment.matches == () and len(assignment.harmless) == len(given)


@pytest.mark.parametrize("names", [("decoder", "encoder"), ("student", "teacher"), ("critic", "actor")])
@pytest.mark.parametrize("swap", [False, True])
def test_equal_networks_that_are_only_numbered_on_one_side(names: tuple[str, str], swap: bool) -> None:
    """`0` and `1` of a list are in no order of what is called by words."""
    pair = [spec([*mlp("0"), *mlp("1")]), spec([*mlp(names[0]), *mlp(names[1])])]
    assert all(one.ambiguous for one in match(*(pair[::-1] if swap else pair)).matches)


def test_a_tensor_at_the_top_may_be_called_like_a_slot() -> None:
    """`exp_avg` at the top is nobody's slot; what stands beside it keeps its name."""
    assignment = match(
        spec([("a.b.weight", (4, 4)), ("exp_avg", (3,)), ("logit_scale", ())]),
        spec([("c.d.weight", (4, 4)), ("tau", ())]),
    )
    assert ("logit_scale",) in [m.checkpoint_keys for m in assignment.matches]


def test_slots_beside_the_tensor_itself() -> None:
    """DeepSpeed's universal checkpoints hold `fc.weight/fp32` beside `fc.weight/exp_avg`."""
    model = net()
    given: State = {}
    for key, tensor in model.state_dict().items():
        for slot in ("exp_avg", "exp_avg_sq", "fp32"):
            given[f"zero/module.{key}/{slot}"] = tensor
    solved(given, model, truth((f"zero/module.{key}/fp32", key) for key in model.state_dict()))


def test_a_copy_that_is_wrapped_otherwise_is_a_copy() -> None:
    """DINO saves the student as it was trained, behind DataParallel, and the teacher beside it."""
    model = net()
    state = model.state_dict()
    given: State = {f"student.module.backbone.{key}": tensor for key, tensor in state.items()}
    given |= {f"student.module.head.{key}": torch.zeros(3, 16) for key in ("mlp.weight",)}
    given |= {f"teacher.backbone.{key}": tensor for key, tensor in state.items()}
    given |= {f"teacher.head.{key}": torch.zeros(3, 16) for key in ("mlp.weight",)}
    solved(given, model, truth((f"teacher.backbone.{key}", key) for key in state))


@pytest.mark.parametrize("name", ["models.{}", "fold{}", "members.{}.net"])
def test_members_of_an_ensemble_are_copies_of_which_none_is_meant(name: str) -> None:
    model = built({"fc1": nn.Linear(4, 16), "fc2": nn.Linear(16, 3)})
    for many in (2, 3, 5):
        given = {f"{name.format(i)}.{key}": value for i in range(many) for key, value in model.state_dict().items()}
        assignment = honest(given, model, {})
        assert len(assignment.matches) == len(model.state_dict())
        pin = [(f"{name.format(1)}.fc1.weight", "fc1.weight")]
        told = truth((f"{name.format(1)}.{key}", key) for key in model.state_dict())
        solved(given, model, told, pin=pin)


def test_layers_of_one_kind_are_no_ensemble() -> None:
    """Where the other side has a list of them too, or more than one of them."""
    names = {f"layers.{i}.{kind}": nn.Linear(16, 16) for i in range(3) for kind in ("a", "b")}
    model = built({name.replace("layers", "blocks"): layer for name, layer in names.items()})
    solved(built(names), model, truth((key.replace("blocks", "layers"), key) for key in model.state_dict()))


def test_masks_of_pruned_weights_are_no_weights() -> None:
    """They have the shape of the weights beside them, and may be all that is left to fill a place with."""
    model = built({"hidden": nn.Linear(16, 16), "out": nn.Linear(16, 3)})
    given: State = {}
    for name, new in (("hidden", "fc"), ("out", "last")):
        weight, bias = model.get_submodule(name).weight, model.get_submodule(name).bias
        given |= {f"{new}.bias": bias, f"{new}.weight_orig": weight, f"{new}.weight_mask": torch.ones_like(weight)}
    del given["fc.weight_orig"]
    assignment = match(spec(given), spec(model))
    assert "hidden.weight" in assignment.missing_keys
    assert "mask" in assignment.harmless["fc.weight_mask"]


def test_a_target_network_does_not_fill_the_gaps_of_the_one_that_learns() -> None:
    """`critic_target` is a copy of `critic` also where both are a small part of all."""

    def critic(name: str) -> dict[str, nn.Module]:
        sizes = {"trunk": (24, 16), "q1.0": (16, 20), "q1.1": (20, 1), "q2.0": (16, 20), "q2.1": (20, 1)}
        return {f"{name}.{part}": nn.Linear(*size) for part, size in sizes.items()}

    encoder: dict[str, nn.Module] = {f"encoder.convs.{i}": nn.Conv2d(3 + 13 * (i > 0), 16, 3) for i in range(12)}
    model = built({**encoder, **critic("value")})
    both = built({**encoder, **critic("critic"), **critic("critic_target")}).state_dict()
    given = {key: tensor for key, tensor in both.items() if not key.startswith("critic.q1.0.")}
    assignment = match(spec(given), spec(model))
    assert all("critic_target" not in key for one in assignment.matches for key in one.checkpoint_keys)


@pytest.mark.parametrize("stacked", [True, False])
def test_lists_that_the_other_side_holds_stacked_are_no_copies(stacked: bool) -> None:
    """DLinear: two lists of equal layers, one for the trend and one for the seasons."""
    names = {"Linear_Trend": "trend", "Linear_Seasonal": "seasonal"}
    given = [(f"{name}.{i}.weight", (24, 96)) for name in names for i in range(7)]
    given += [(f"{name}.{i}.bias", (24,)) for name in names for i in range(7)]
    wanted: list[tuple[str, tuple[int, ...]]] = []
    expected = {}
    for name, new in names.items():
        for role, shape in (("weight", (24, 96)), ("bias", (24,))):
            keys = tuple(f"{name}.{i}.{role}" for i in range(7))
            if stacked:
                wanted.append((f"{new}.{role}", (7, *shape)))
                expected[(f"{new}.{role}",)] = Served(keys, "stack")
            else:
                wanted += [(f"{new}.{i}.{role}", shape) for i in range(7)]
                expected |= {(f"{new}.{i}.{role}",): Served((key,)) for i, key in enumerate(keys)}
    solved(given, wanted, expected)


@pytest.mark.parametrize("wrapped", ["", "model."])
def test_the_item_that_is_called_like_the_model_is_meant(wrapped: str) -> None:
    """Of `conv1` and `conv2`, equal as they are, the model's `conv2` is the second."""
    parts = {f"conv{i}.{name}": nn.Linear(8, 8) for i in (1, 2) for name in ("a", "b")}
    model = built({f"{wrapped}{name}": part for name, part in parts.items() if "conv2" in name})
    solved(built(parts), model, truth((key.removeprefix(wrapped), key) for key in model.state_dict()))


@pytest.mark.parametrize("wrapper", ["", "m."])
@pytest.mark.parametrize("layers", [2, 12])
def test_the_layer_that_is_called_by_its_keys_is_meant(layers: int, wrapper: str) -> None:
    """Each layer of a list has all that a model of one layer has, as the members of an ensemble; one has its keys."""
    shapes = {"a.weight": (8, 4), "a.bias": (8,), "b.weight": (4, 8), "b.bias": (4,)}
    given = [(f"layers.{i}.{name}", shape) for i in range(layers) for name, shape in shapes.items()]
    pairs = [(f"layers.0.{name}", f"{wrapper}layers.0.{name}") for name in shapes]
    solved(given, [(t, shapes[t.rpartition("0.")[2]]) for _, t in pairs], truth(pairs))


@pytest.mark.parametrize("names", [("encoder", "target_encoder"), ("critic", "critic_target")])
def test_an_encoder_and_its_target_are_both_in_use(names: tuple[str, str]) -> None:
    """I-JEPA and MSN evaluate the target, an actor-critic goes on with what was trained: of encoders no name tells."""
    network = layered({"fc": (16, 40), "proj": (40, 16)})
    file = {f"{name}.{key}": tensor for name in names for key, tensor in network.state_dict().items()}
    answer = match(spec(file), spec(network))
    doubted = flagged(answer)
    assert doubted == (set(network.state_dict()) if names[0] == "encoder" else set())
    if doubted:
        assert all("several copies" in m.reason for m in answer.matches)


def test_the_encoder_that_the_model_calls_so_is_meant() -> None:
    network = layered({"fc": (16, 40), "proj": (40, 16)}).state_dict()
    file = {f"{name}.{key}": tensor for name in ("encoder", "target_encoder") for key, tensor in network.items()}
    model = {f"encoder.{key}": tensor for key, tensor in network.items()} | {"policy.weight": torch.zeros(4, 16)}
    solved(file | {"policy.weight": torch.zeros(4, 16)}, model, truth((key, key) for key in model))


@pytest.mark.parametrize("image_first", [True, False])
def test_of_two_towers_alike_the_one_that_has_what_the_other_side_has(image_first: bool) -> None:
    """FLAVA's towers in a vision transformer: all layers are alike, and only one of them reads patches."""
    layer = {"attn": (24, 8), "proj": (8, 8), "up": (32, 8), "down": (8, 32)}
    layers = [(f"layer.{i}.{name}.weight", shape) for i in range(4) for name, shape in layer.items()]
    towers = {"image_model": ("patches.weight", (8, 3, 4, 4)), "text_model": ("words.weight", (50, 8))}
    file = []
    for name in towers if image_first else [*towers][::-1]:
        file += [(f"net.{name}.{key}", shape) for key, shape in [towers[name], *layers]]
    model = [("stem.weight", (8, 3, 4, 4)), *((key.replace("layer.", "blocks."), shape) for key, shape in layers)]
    pairs = [("net.image_model.patches.weight", "stem.weight")]
    pairs += [(f"net.image_model.{key}", key.replace("layer.", "blocks.")) for key, _ in layers]
    answer = match(spec(file), spec(model))
    assert found(answer) == truth(pairs) and flagged(answer) >= {key for _, key in pairs[1:]}


def test_an_average_is_called_after_the_model_and_a_pool_is_none() -> None:
    def nets(*names: str) -> list[tuple[str, tuple[int, ...]]]:
        return [
            (f"{name}.layers.{i}.{role}", (8 + i, 8)[: 2 if role == "weight" else 1])
            for name in names
            for i in range(6)
            for role in ("weight", "bias")
        ]

    wanted = [(key.removeprefix("model."), shape) for key, shape in nets("model")]
    answer = match(spec(nets("avg_model", "model")), spec(wanted))
    assert {m.checkpoint_keys[0].split(".")[0] for m in answer.matches} == {"model"}
    assert flagged(answer) == set()
    assert flagged(match(spec(nets("avg", "max")), spec(wanted))) == {key for key, _ in wanted}
