"""Modules that are given each other's partners in the end, and what must not be exchanged or put together."""

from __future__ import annotations

import pytest
from torch import nn

from automatch.matching import match
from tests.matching.built import built
from tests.matching.truth import by_rename, complete, flagged, found, solved, spec

WIDTH = 16


def layers(order: tuple[str, str], name: str = "layers", head: int = 0) -> nn.Module:
    """Layers whose mlp has two equal parts, in this order."""
    modules: dict[str, nn.Module] = {"embed": nn.Embedding(50, WIDTH)}
    for i in range(3):
        for part in ("norm1", "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.o_proj", "norm2"):
            modules[f"{name}.{i}.{part}"] = nn.LayerNorm(WIDTH) if "norm" in part else nn.Linear(WIDTH, WIDTH)
        for part in order:
            modules[f"{name}.{i}.mlp.{part}"] = nn.Linear(WIDTH, 40)
        modules[f"{name}.{i}.mlp.down_proj"] = nn.Linear(40, WIDTH)
    return built({**modules, "head": nn.Linear(WIDTH, head)} if head else modules)


MINE, THEIRS = layers(("content", "context")), layers(("the_context", "the_content"), "blocks")


def test_names_that_cross_an_order_that_all_else_keeps_are_doubtful() -> None:
    assignment = match(spec(MINE), spec(THEIRS))
    complete(assignment, spec(MINE), spec(THEIRS))
    assert {k for k in spec(THEIRS).keys if "the_" in k} <= flagged(assignment)


def test_a_pin_and_a_forbidden_pair_outweigh_an_exchange() -> None:
    pin = ("layers.1.mlp.content", "blocks.1.mlp.the_content")
    forbid = ("layers.1.mlp.content", "blocks.1.mlp.the_context")
    for decision in ({"pin": [pin]}, {"forbid": [forbid]}):
        assignment = match(spec(MINE), spec(THEIRS), **decision)
        complete(assignment, spec(MINE), spec(THEIRS))
        served = found(assignment)["blocks.1.mlp.the_content.weight",]
        assert served.checkpoint == ("layers.1.mlp.content.weight",)


def test_equal_keys_are_not_exchanged() -> None:
    mine, theirs = layers(("content", "context"), head=10), layers(("context", "content"), head=12)
    assignment = match(spec(mine), spec(theirs))
    assert all(m.checkpoint_keys == m.model_keys and not m.ambiguous for m in assignment.matches)


def test_towers_at_two_depths_are_no_copies() -> None:
    """CLIP's towers, of equal width and depth; a text model wants the text tower."""
    blocks = nn.ModuleList(
        built(
            {
                "attn.qkv": nn.Linear(8, 24),
                "attn.out": nn.Linear(8, 8),
                "fc1": nn.Linear(8, 32),
                "fc2": nn.Linear(32, 8),
            }
        )
        for _ in range(6)
    )
    both = built({"visual.transformer.resblocks": blocks, "visual.proj": nn.Linear(8, 4), "text.resblocks": blocks})
    model = built({"model.layers": blocks, "visual_head": nn.Linear(8, 5)})
    assignment = match(spec(both), spec(model))
    assert not [m for m in assignment.matches if not m.ambiguous and not m.checkpoint_keys[0].startswith("text.")]


def test_bare_parameters_on_both_sides_are_not_turned() -> None:
    def convolutions(name: str, **more: nn.Module) -> nn.Module:
        net = built({"convs.0": nn.Module(), "convs.1": nn.Module(), "out": nn.Linear(8, 3), **more})
        for conv in (net.get_submodule("convs.0"), net.get_submodule("convs.1")):
            conv.register_parameter(name, nn.Parameter(nn.Linear(8, 8).weight.detach()))
            conv.register_parameter("bias", nn.Parameter(nn.Linear(8, 8).bias.detach()))
        return net

    mine, theirs = convolutions("root"), convolutions("loop", proj=nn.Linear(8, 8))
    solved(mine, theirs, by_rename(mine, lambda key: key.replace("root", "loop")))


def test_segments_are_no_positions() -> None:
    mine = built({"word_emb": nn.Embedding(50, 8), "seg_emb": nn.Embedding(4, 8), "fc": nn.Linear(8, 8)})
    theirs = built({"word_emb": nn.Embedding(50, 8), "pos_emb": nn.Embedding(4, 8), "fc": nn.Linear(8, 8)})
    assert match(spec(mine), spec(theirs)).missing_keys == ("pos_emb.weight",)


@pytest.mark.parametrize("shapes", [((4, 16, 64), (4, 64)), ((16, 64), (4, 16, 64))], ids=["experts", "ranks"])
def test_tensors_of_several_ranks_are_no_trouble(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    whole, halves = [("embed.weight", (50, 8))], [("embed.weight", (50, 8))]
    for i in range(2):
        for role, shape in zip(("weight", "bias"), shapes, strict=True):
            whole.append((f"layers.{i}.mix.{role}", shape))
            halves += [(f"layers.{i}.{part}.{role}", (*shape[:-1], shape[-1] // 2)) for part in ("a", "b")]
    complete(match(spec(whole), spec(halves)), spec(whole), spec(halves))


def test_a_pair_is_no_surer_than_its_exchange_with_one_in_doubt() -> None:
    """TabNet: `own_norm` got the norms of `shared`, what was left went to `shared_norm`, and only that was in doubt."""
    given: list[tuple[str, tuple[int, ...]]] = []
    wanted: list[tuple[str, tuple[int, ...]]] = [(f"shared_fc.{n}.weight", (32, 14 + 2 * n)) for n in (0, 1)]
    pairs: list[tuple[str, str]] = []
    for i in range(4):
        for mine, theirs in (("shared", "shared"), ("specifics", "own")):
            at = f"transformers.{i}.{mine}"
            if mine == "shared":
                given += [(f"{at}.shared_layers.{n}.weight", (32, 14 + 2 * n)) for n in (0, 1)]
            for n in range(2):
                width = 14 if mine == "shared" and n == 0 else 16
                given += [(f"{at}.glu_layers.{n}.fc.weight", (32, width))]
                given += [(f"{at}.glu_layers.{n}.bn.bn.{role}", (32,)) for role in ROLES]
                pairs += [
                    (f"{at}.glu_layers.{n}.bn.bn.{role}", f"steps.{i}.{theirs}_norm.{n}.{role}") for role in ROLES
                ]
        wanted += [(f"steps.{i}.shared_norm.{n}.{role}", (32,)) for n in (0, 1) for role in ROLES]
        wanted += [(f"steps.{i}.own_fc.{n}.weight", (32, 16)) for n in (0, 1)]
        wanted += [(f"steps.{i}.own_norm.{n}.{role}", (32,)) for n in (0, 1) for role in ROLES]
    norms = {t: s for s, t in pairs}
    for m in match(spec(given), spec(wanted)).matches:
        assert m.ambiguous or norms.get(m.model_keys[0], m.checkpoint_keys[0]) == m.checkpoint_keys[0]


ROLES = ("weight", "bias", "running_mean", "running_var")
