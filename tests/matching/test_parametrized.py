"""Weights that a parametrization or pruning has replaced: old and new names of one thing."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from automatch.matching import match
from tests.matching.networks import Vgg
from tests.matching.truth import Served, by_rename, flagged, found, renamed, solved, spec, truth


def vocoder(wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """A small generator after HiFi-GAN, every convolution parametrized."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = nn.Module()
        model.conv_pre = wrap(nn.Conv1d(8, 32, 7))
        model.ups = nn.ModuleList(wrap(nn.ConvTranspose1d(32 // 2**i, 16 // 2**i, 4)) for i in range(2))
        model.resblocks = nn.ModuleList()
        for width in (16, 8):
            block = nn.Module()
            block.convs1 = nn.ModuleList(wrap(nn.Conv1d(width, width, 3)) for _ in range(3))
            block.convs2 = nn.ModuleList(wrap(nn.Conv1d(width, width, 3)) for _ in range(3))
            model.resblocks.append(block)
        model.conv_post = wrap(nn.Conv1d(8, 1, 7))
    return model


def plain(module: nn.Module) -> nn.Module:
    return module


NEW_NAMES = {
    "weight norm": {"weight_g": "original0", "weight_v": "original1"},
    "spectral norm": {"weight_orig": "original", "weight_u": "0._u", "weight_v": "0._v"},
}
WRAPS = {
    "weight norm": (torch.nn.utils.weight_norm, parametrizations.weight_norm),
    "spectral norm": (torch.nn.utils.spectral_norm, parametrizations.spectral_norm),
}


@pytest.mark.parametrize("kind", WRAPS)
@pytest.mark.parametrize("words", [{}, {"conv_pre": "input_conv", "ups": "upsamples", "resblocks": "blocks"}])
def test_old_and_new_names_of_a_norm(kind: str, words: dict[str, str]) -> None:
    """`weight_g`, `weight_v` is what torch's new parametrization calls original0, original1."""
    old, new = (vocoder(wrap) for wrap in WRAPS[kind])

    def modern(key: str) -> str:
        path, role = key.rsplit(".", 1)
        name = NEW_NAMES[kind].get(role)
        return f"{path}.parametrizations.weight.{name}" if name else key

    def elsewhere(key: str) -> str:
        return ".".join(words.get(token, token) for token in key.split("."))

    solved(old, renamed(new, elsewhere), by_rename(old, lambda key: elsewhere(modern(key))))
    solved(renamed(new, elsewhere), old, truth((elsewhere(modern(key)), key) for key in spec(old).keys))


def test_a_direction_is_no_weight() -> None:
    """weight_v has the weight's shape, but without weight_g it is another weight: only biases are loaded."""
    old, bare = vocoder(torch.nn.utils.weight_norm), vocoder(plain)
    biases = truth((key, key) for key in spec(bare).keys if key.endswith("bias"))
    solved(old, bare, biases)
    solved(bare, old, biases)


def test_pruned_weights() -> None:
    """prune keeps `weight_orig` and a mask and computes with their product: without the mask the weight is flagged."""
    pruned, bare = Vgg([3, 8, 16, 16]), Vgg([3, 8, 16, 16])
    for module in list(pruned.modules()):
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            prune.identity(module, "weight")
    masks = tuple(key for key in spec(pruned).keys if key.endswith("mask"))
    pairs = [(key, key.replace("weight_orig", "weight")) for key in spec(pruned).keys if key not in masks]
    assignment = match(spec(pruned), spec(bare))
    assert found(assignment) == truth(pairs)
    assert flagged(assignment) == {key for key in spec(bare).keys if f"{key}_orig" in spec(pruned).keys}
    assert assignment.unexpected_keys == masks
    assert solved(bare, pruned, {(mine,): Served((other,)) for mine, other in pairs}).missing_keys == masks
