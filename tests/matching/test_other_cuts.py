"""Lists that the two sides cut otherwise: items of one size and another number, layers inside layers, wrapped items."""

from __future__ import annotations

import pytest
from torch import nn

from tests.matching.built import built
from tests.matching.truth import by_rename, renamed, solved

BOTH = pytest.mark.parametrize("swap", [False, True], ids=["there", "back"])


def either(swap: bool, one: nn.Module, names: dict[str, str]) -> None:
    """Solve it from a network to the same with other names of modules, or the other way round."""
    said = {f"{old}.": f"{new}." for old, new in names.items()}

    def rename(key: str) -> str:
        old = next((old for old in said if key.startswith(old)), None)
        return key if old is None else said[old] + key[len(old) :]

    other = renamed(one, rename)
    state = one.state_dict()
    if swap:
        back = {rename(key): key for key in state}
        solved(other, state, by_rename(other, back.__getitem__))
    else:
        solved(state, other, by_rename(state, rename))


def res(width: int) -> dict[str, nn.Module]:
    return {"conv1": nn.Conv2d(width, width, 3), "conv2": nn.Conv2d(width, width, 3)}


@BOTH
def test_stages_that_one_side_counts_block_by_block(swap: bool) -> None:
    """A flat list is no list of stages, though some items of both are alike (the VAE of LTX Video)."""
    flat: dict[str, nn.Module] = {"decoder.conv_in": nn.Conv2d(8, 48, 3)}
    names = {}

    def stage(number: int, width: int, count: int, home: str) -> None:
        for block in range(count):
            for part, module in res(width).items():
                flat[f"decoder.up_blocks.{number}.res_blocks.{block}.{part}"] = module
        names[f"decoder.up_blocks.{number}.res_blocks"] = f"decoder.{home}.resnets"

    stage(0, 48, 4, "mid_block")
    stage(1, 48, 3, "up_blocks.0")
    number = 2
    for count, (before, width) in enumerate(((48, 48), (48, 32), (32, 24)), start=1):
        if before != width:
            flat[f"decoder.up_blocks.{number}.conv1"] = nn.Conv2d(before, width, 3)
            flat[f"decoder.up_blocks.{number}.conv2"] = nn.Conv2d(width, width, 3)
            names[f"decoder.up_blocks.{number}"] = f"decoder.up_blocks.{count}.conv_in"
            number += 1
        flat[f"decoder.up_blocks.{number}.conv"] = nn.Conv2d(width, 8 * width, 3)
        names[f"decoder.up_blocks.{number}.conv"] = f"decoder.up_blocks.{count}.upsampler.conv"
        stage(number + 1, width, 3 + count // 3, f"up_blocks.{count}")
        number += 2
    either(swap, built(flat), names)


def attention(width: int) -> dict[str, nn.Module]:
    sizes = {"attn.q": (width, width), "attn.k": (width, 12), "attn.v": (width, 12), "attn.o": (width, width)}
    mlp = {"mlp.w1": (width, 40), "mlp.w2": (40, width), "mlp.w3": (width, 40)}
    return {path: nn.Linear(*size, bias=False) for path, size in {**sizes, **mlp}.items()}


@BOTH
def test_layers_of_another_kind_inside_the_layers(swap: bool) -> None:
    """torchtune puts Llama's cross-attention layers into the layer that they stand before; Meta keeps a second list."""
    modules: dict[str, nn.Module] = {"embed": nn.Embedding(50, 24)}
    names = {}
    for i in range(4):
        modules |= {f"layers.{i}.{path}": module for path, module in attention(24).items()}
        if i % 2:
            cross = {**attention(24), "attn.q_norm": nn.LayerNorm(6), "attn.k_norm": nn.LayerNorm(6)}
            modules |= {f"layers.{i}.cross_attn_layer.{path}": module for path, module in cross.items()}
            names[f"layers.{i}.cross_attn_layer"] = f"cross_attention_layers.{i // 2}"
    either(swap, built(modules), names)


@BOTH
def test_items_that_hold_one_block_or_two(swap: bool) -> None:
    """Some blocks are alone in their item and others are not: the flat number orders them all."""
    flat: dict[str, nn.Module] = {"conv_in": nn.Conv2d(8, 24, 3)}
    names = {}
    for number in range(1, 7):
        flat |= {f"input_blocks.{number}.0.{part}": module for part, module in res(24).items()}
        stage, place = divmod(number - 1, 3)
        kept = f"resnets.{place}" if place < 2 else "downsamplers.0"
        names[f"input_blocks.{number}.0"] = f"down_blocks.{stage}.{kept}"
        if number in (4, 5):
            flat |= {f"input_blocks.{number}.1.{p}": nn.Conv1d(24, s, 1) for p, s in (("qkv", 72), ("proj", 25))}
            names[f"input_blocks.{number}.1"] = f"down_blocks.{stage}.attentions.{place}"
    either(swap, built(flat), names)
