"""One architecture under other names: wrappers, other nesting, shifted indices, other depth, lists turned round."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from torch import nn

from tests.matching.networks import (
    Decoder,
    Encoder,
    Flat,
    HfEncoder,
    NestedResNet,
    ResNet,
    Stages,
    UpBlocks,
    Vgg,
    to_hf,
    to_nested,
    to_stages,
    to_up_blocks,
)
from tests.matching.truth import by_rename, flagged, found, honest, renamed, solved, spec, truth


def both_ways(mine: object, other: object, rename: Callable[[str], str]) -> None:
    solved(mine, other, by_rename(mine, rename))
    solved(other, mine, truth((rename(key), key) for key in spec(mine).keys))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.net.", "a.b.c.d.", "base_model.model.", "0."])
@pytest.mark.parametrize("network", [ResNet, Encoder])
def test_wrappers_around_the_whole(network: type[nn.Module], prefix: str) -> None:
    model = network()
    both_ways(model, renamed(model, lambda key: prefix + key), lambda key: prefix + key)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("layers.", "layers.module."),
        (".self_attn.", ".self_attn._orig_mod."),
        ("fc1.", "fc1._fsdp_wrapped_module."),
        ("layers.", "encoder.layers._checkpoint_wrapped_module."),
        ("_proj.", "_proj.base_layer."),
    ],
)
def test_wrappers_in_the_middle(before: str, after: str) -> None:
    both_ways(Encoder(), renamed(Encoder(), lambda k: k.replace(before, after)), lambda k: k.replace(before, after))


def test_separators_are_no_names() -> None:
    """Files that join paths by `/` or `_` hold the same paths."""
    both_ways(Encoder(), renamed(Encoder(), lambda k: k.replace(".", "/")), lambda k: k.replace(".", "/"))

    def rename(key: str) -> str:
        return key.replace("layers.", "layers_").replace(".self_attn", "_self_attn")

    both_ways(Encoder(), renamed(Encoder(), rename), rename)


def test_a_transformer_of_another_code_base() -> None:
    """Other names, other nesting, and query, key, value in another order."""
    both_ways(Encoder(), HfEncoder(), to_hf)


def test_a_residual_network_of_another_code_base() -> None:
    """`layer1..4` against nested stages, the short cut before the residual path."""
    both_ways(ResNet(), NestedResNet(), to_nested)


@pytest.mark.parametrize("widths", [(8, 16, 32, 32), (8, 16, 16, 16), (8, 16, 16, 16, 32)])
def test_lists_that_run_backwards(widths: tuple[int, ...]) -> None:
    """up.3, up.2 .. up.0 of latent diffusion are up_blocks.0 .. up_blocks.3 of diffusers."""
    both_ways(Decoder(widths), UpBlocks(widths), lambda key: to_up_blocks(key, len(widths)))


def test_a_list_of_equal_stages_that_runs_backwards() -> None:
    """All stages have one width; only the stage without upsampling tells the direction."""
    honest(Decoder((8, 8, 8)), UpBlocks((8, 8, 8)), by_rename(Decoder((8, 8, 8)), lambda key: to_up_blocks(key, 3)))


@pytest.mark.parametrize("widths", [(8, 16, 32), (8, 16, 16)])
def test_a_flat_list_against_nested_lists(widths: tuple[int, ...]) -> None:
    """input_blocks.1 .. 8 of guided diffusion are down_blocks.0 .. 2, each with two blocks and a downsampler."""
    both_ways(Flat(widths), Stages(widths), to_stages)


def test_a_flat_list_of_equal_stages_against_nested_lists() -> None:
    """Where all stages have one width some places are told by order alone: right, and flagged."""
    expected = by_rename(Flat((8, 8, 8)), to_stages)
    assert found(honest(Flat((8, 8, 8)), Stages((8, 8, 8)), expected)) == expected


def in_order(mine: nn.Module, other: nn.Module, *kinds: type[nn.Module]) -> dict[str, str]:
    """Paths of the n-th modules of these kinds in both."""
    paths = [[n for n, m in model.named_modules() if isinstance(m, kinds)] for model in (mine, other)]
    return dict(zip(*paths, strict=True))


@pytest.mark.parametrize("widths", [[3, 8, 16, 16, 32, 32], [3, 8, 8, 8, 8, 8]], ids=["growing", "equal"])
@pytest.mark.parametrize(
    ("mine", "other"),
    [
        ({"norm": True}, {}),
        ({}, {"norm": True}),
        ({"norm": True, "dropout": True}, {}),
        ({"dropout": True}, {}),
        ({}, {"dropout": True}),
        ({"norm": True, "dropout": True}, {"norm": True}),
        ({"norm": True}, {"norm": True, "dropout": True}),
    ],
    ids=lambda kind: "+".join(kind) or "plain",
)
def test_indices_of_a_sequential_shift(widths: list[int], mine: dict, other: dict) -> None:
    """features.3 is a convolution on both sides, but not the same one: BatchNorm or Dropout stands between."""
    checkpoint, model = Vgg(widths, **mine), Vgg(widths, **other)
    kinds = [nn.Conv2d, nn.Linear]
    if mine.get("norm") and other.get("norm"):
        kinds.append(nn.BatchNorm2d)
    paths = in_order(checkpoint, model, *kinds)
    expected = truth(
        (key, f"{paths[path]}.{role}")
        for key in spec(checkpoint).keys
        for path, role in [key.rsplit(".", 1)]
        if path in paths
    )
    solved(checkpoint, model, expected)


@pytest.mark.parametrize(("mine", "other"), [(6, 3), (3, 6), (4, 1), (1, 4), (12, 11)])
@pytest.mark.parametrize("rename", [str, to_hf], ids=["same code", "other code"])
def test_the_first_layers_of_a_deeper_network(mine: int, other: int, rename: Callable[[str], str]) -> None:
    """Layers go to the layers of their number, and nothing is taken from the layers that the other side lacks."""
    checkpoint, model = Encoder(mine), Encoder(other) if rename is str else HfEncoder(other)
    wanted = set(spec(model).keys)
    expected = truth((key, rename(key)) for key in spec(checkpoint).keys if rename(key) in wanted)
    assignment = honest(checkpoint, model, expected)
    assert found(assignment) == expected
    outside = {rename("layer_norm.weight"), rename("layer_norm.bias")}
    assert flagged(assignment) <= outside  # norms of the layers that are left over would fit it as well


def test_the_first_layers_of_the_same_code() -> None:
    checkpoint, model = Encoder(6), Encoder(3)
    solved(checkpoint, model, truth((key, key) for key in spec(model).keys))


def test_numbers_that_begin_at_one() -> None:
    def rename(key: str) -> str:
        return re.sub(r"(?<=layers\.)\d+", lambda number: str(int(number[0]) + 1), key)

    both_ways(Encoder(), renamed(Encoder(), rename), rename)


def test_layers_in_the_name_of_a_module() -> None:
    """layer_01, layer_02 (not a list in the key's own notation) against layers.0, layers.1."""

    def rename(key: str) -> str:
        head, _, rest = key.partition("layers.")
        number, _, rest = rest.partition(".")
        return f"{head}layer_{int(number) + 1:02d}.{rest}" if number else key

    both_ways(Encoder(), renamed(Encoder(), rename), rename)


def test_a_part_of_a_larger_model() -> None:
    """The text encoder out of a model with two towers; the other tower and the head stay."""
    whole = nn.ModuleDict({"vision": ResNet(), "text": Encoder(), "head": nn.Linear(16, 5)})
    solved(whole, Encoder(), truth((f"text.{key}", key) for key in spec(Encoder()).keys))
    solved(Encoder(), whole, truth((key, f"text.{key}") for key in spec(Encoder()).keys))


def test_words_that_one_side_glues_together() -> None:
    """`sa_qcontent_proj` is `q_content_proj`, which tells it from `k_content_proj`, whatever their order."""
    parts = [f"{letter}{what}" for what in ("content", "pos") for letter in "qk"]
    mine = nn.ModuleList([nn.ModuleDict({f"sa_{p}_proj": nn.Linear(16, 16) for p in parts}) for _ in range(3)])
    names = [f"{part[0]}_{part[1:]}_proj" for part in parts]
    model = nn.ModuleList([nn.ModuleDict({name: nn.Linear(16, 16) for name in reversed(names)}) for _ in range(3)])
    both_ways(mine, model, lambda key: re.sub(r"sa_(.)(\w+)_proj", r"\1_\2_proj", key))
