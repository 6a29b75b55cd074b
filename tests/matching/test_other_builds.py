"""Two builds of one network: a deeper one, another head, a base that holds what stands apart elsewhere."""

from __future__ import annotations

import pytest
from torch import nn

from automatch.matching import match
from tests.matching.built import built
from tests.matching.truth import Served, by_rename, flagged, found, renamed, solved, spec

Keys = list[tuple[str, tuple[int, ...]]]


def staged(depths: tuple[int, ...], classes: int = 10) -> nn.Module:
    """Stages of blocks; the last two are of one width."""
    modules: dict[str, nn.Module] = {"stem": nn.Conv2d(3, 8, 3)}
    before = 8
    for stage, (depth, width) in enumerate(zip(depths, (8, 16, 32, 32), strict=True)):
        for block in range(depth):
            modules[f"stages.{stage}.{block}.conv1"] = nn.Conv2d(before, width, 1)
            modules[f"stages.{stage}.{block}.conv2"] = nn.Conv2d(width, width, 3)
            modules[f"stages.{stage}.{block}.norm"] = nn.BatchNorm2d(width)
            before = width
    return built(modules | {"head": nn.Linear(before, classes)})


@pytest.mark.parametrize("deeper", ["file", "model"])
def test_a_longer_stage_holds_the_shorter_one(deeper: str) -> None:
    """The third stage of the small build is as long as the fourth of the large one, and as wide."""
    small, large = staged((1, 2, 6, 3)), staged((2, 4, 12, 6))
    known = set(small.state_dict())
    saved, model = (large, small) if deeper == "file" else (small, large)
    file = renamed(saved, lambda key: f"_orig_mod.{key}")
    solved(file, model, by_rename(file, lambda key: bare if (bare := key.split(".", 1)[1]) in known else None))


@pytest.mark.parametrize(("prefix", "norm"), [("", "norm"), ("ema_model.module.", "norm"), ("ema_model.module.", "bn")])
def test_a_head_for_other_classes_is_not_the_new_head(prefix: str, norm: str) -> None:
    """What was the `head` of ten classes is no `aux_head` of ten: the model has a `head` of its own, of three."""
    file = renamed(staged((1, 2, 2, 2)), lambda key: prefix + key.replace("norm", norm))
    other = staged((1, 2, 2, 2), classes=3)
    other.add_module("aux_head", nn.Linear(32, 10))
    answer = match(spec(file), spec(other))
    assert {"aux_head.weight", "aux_head.bias", "head.weight"} <= set(answer.missing_keys)
    assert {m.key for m in answer.mismatched} == {"head.weight", "head.bias"}


def test_names_that_moved_on_by_one_are_followed() -> None:
    """What was the `head` is called `pre_logits` now, and the classifier has taken over its name."""
    body = {f"blocks.{i}.{part}": nn.Linear(64, 64 + 8 * i) for i in range(4) for part in ("attn", "fc")}
    file = built(body | {"head": nn.Linear(64, 128), "classifier": nn.Linear(128, 10)})
    model = built(body | {"pre_logits": nn.Linear(64, 128), "head": nn.Linear(128, 10)})
    names = {"head": "pre_logits", "classifier": "head"}
    expected = by_rename(file, lambda key: ".".join(names.get(part, part) for part in key.split(".")))
    assert found(match(spec(file), spec(model))) == expected


def test_an_actor_and_a_critic_in_one_base() -> None:
    """The base of both is no larger critic, though it is more like one than an actor is."""
    file: Keys = []
    for name in ("actor", "critic"):
        file += [(f"base.{name}.0.weight", (64, 11)), (f"base.{name}.0.bias", (64,))]
        file += [(f"base.{name}.2.weight", (64, 64)), (f"base.{name}.2.bias", (64,))]
    file += [("base.critic_linear.weight", (1, 64)), ("base.critic_linear.bias", (1,))]
    file += [("dist.fc_mean.weight", (8, 64)), ("dist.fc_mean.bias", (8,))]
    model: Keys = []
    expected = {}
    served = (("value_net", "critic", "base.critic_linear", 1), ("policy_net", "actor", "dist.fc_mean", 8))
    for name, base, last, outputs in served:
        for number, before, width in ((0, 11, 64), (2, 64, 64), (4, 64, outputs)):
            for role, shape in (("weight", (width, before)), ("bias", (width,))):
                model.append((f"{name}.{number}.{role}", shape))
                home = last if number == 4 else f"base.{base}.{number}"
                expected[f"{name}.{number}.{role}",] = Served((f"{home}.{role}",))
    assert found(match(spec(file), spec(model))) == expected
    assert not {key for key in flagged(match(spec(file), spec(model))) if ".4." not in key}


def test_convolutions_of_size_1_beside_each_other_are_one_matrix() -> None:
    """An occupancy network's conditioning: `conv_gamma` and `conv_beta` here, one linear layer there."""
    file: Keys = []
    model: Keys = []
    expected = {}
    for i in range(3):
        file += [(f"blocks.{i}.{part}.weight", (6, 4, 1)) for part in ("conv_gamma", "conv_beta")]
        file += [(f"blocks.{i}.{part}.bias", (6,)) for part in ("conv_gamma", "conv_beta")]
        file += [(f"blocks.{i}.fc.weight", (6, 5))]
        model += [(f"layers.{i}.gamma_beta.weight", (12, 4)), (f"layers.{i}.gamma_beta.bias", (12,))]
        model += [(f"layers.{i}.fc.weight", (6, 5))]
        for role, op in (("weight", "reshape+concat"), ("bias", "concat")):
            parts = tuple(f"blocks.{i}.{part}.{role}" for part in ("conv_gamma", "conv_beta"))
            expected[f"layers.{i}.gamma_beta.{role}",] = Served(parts, op)
        expected[f"layers.{i}.fc.weight",] = Served((f"blocks.{i}.fc.weight",))
    assert found(match(spec(file), spec(model))) == expected


def test_experts_in_the_layout_in_which_all_find_their_own() -> None:
    """One [experts, in, 2 * out] and one [experts, out, in] are gate and up, and down, though `in` is twice `out`."""
    file: Keys = [("router.weight", (4, 32)), ("bank.vars.0", (4, 32, 32)), ("bank.vars.1", (4, 16, 32))]
    model: Keys = [("gate.weight", (4, 32))]
    for expert in range(4):
        model += [(f"experts.{expert}.{part}_proj.weight", (16, 32)) for part in ("gate", "up")]
        model += [(f"experts.{expert}.down_proj.weight", (32, 16))]
    answer = match(spec(file), spec(model))
    down = tuple(f"experts.{expert}.down_proj.weight" for expert in range(4))
    assert found(answer)[down] == Served(("bank.vars.1",), "unstack+transpose")
    # in halves or by turns: no shape shows it
    assert flagged(answer) == {key for key, _ in model if "gate_proj" in key or "up_proj" in key}
