"""Lists that the two sides cut otherwise: items of one size and another number, layers inside layers, wrapped items."""

from __future__ import annotations

import re

import pytest
from torch import nn

from automatch.matching import match
from tests.matching.built import built
from tests.matching.transformers import turned
from tests.matching.truth import by_rename, honest, renamed, solved, spec

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


@BOTH
def test_blocks_behind_one_that_is_nearly_alike(swap: bool) -> None:
    """As many blocks of a kind on both sides are taken in order, whatever their numbers are (SHViT)."""
    flat: dict[str, nn.Module] = {"stem": nn.Conv2d(3, 24, 3)}
    names = {}
    flat["blocks.0.merge"] = nn.Conv2d(24, 24, 3)
    names["blocks.0"] = "stage.downsample.0"
    for number in range(1, 9):
        parts = attention(24)
        if number == 1:
            del parts["attn.v"]
        flat |= {f"blocks.{number}.{part}": module for part, module in parts.items()}
        names[f"blocks.{number}"] = f"stage.layers.{number - 2}" if number > 1 else "stage.downsample.1"
    either(swap, built(flat), names)


@BOTH
def test_a_convolution_without_its_norm_is_no_shortcut(swap: bool) -> None:
    """The shortcut lost its kernel: `conv3` with its norm has the shapes that the other side's `downsample` has."""
    modules: dict[str, nn.Module] = {"stem": nn.Conv2d(3, 8, 3)}
    for i in range(3):
        modules[f"layers.{i}.shortcut.conv"] = nn.Conv2d(8, 32, 1, bias=False)
        modules[f"layers.{i}.shortcut.norm"] = nn.BatchNorm2d(32)
        for k, (before, width, size) in enumerate(((8, 8, 1), (8, 8, 3), (8, 32, 1)), start=1):
            modules[f"layers.{i}.conv{k}.conv"] = nn.Conv2d(before, width, size, bias=False)
            modules[f"layers.{i}.conv{k}.norm"] = nn.BatchNorm2d(width)
    one = built(modules)

    def rename(key: str) -> str:
        key = re.sub(r"conv(\d)\.norm", r"bn\1", re.sub(r"conv(\d)\.conv", r"conv\1", key))
        return key.replace("shortcut.conv", "downsample.0").replace("shortcut.norm", "downsample.1")

    other = renamed(one, rename)
    thinned = renamed(one, lambda key: None if "shortcut.conv" in key else key)
    expected = by_rename(thinned, rename)
    given, wanted = (other, thinned) if swap else (thinned, other)
    honest(given, wanted, turned(expected) if swap else expected)


@BOTH
@pytest.mark.parametrize("renaming", [False, True])
def test_layers_that_lost_modules_stay_where_they_are(swap: bool, renaming: bool) -> None:
    """Each side lacks another module in another layer: exactly equal layers one further are none of them."""
    modules: dict[str, nn.Module] = {"embed": nn.Embedding(50, 16)}
    for i in range(4):
        modules |= {f"net.layers.{i}.{name}": nn.LayerNorm(16) for name in ("n1", "n2")}
        modules[f"net.layers.{i}.fc"] = nn.Linear(16, 12)
    one = built(modules)

    def rename(key: str) -> str:
        return key.replace("net.layers", "body.blocks").replace(".fc.", ".proj.") if renaming else key

    mine = renamed(one, lambda key: None if "layers.3.fc" in key else key)
    theirs = renamed(one, lambda key: None if "layers.0.n2" in key else rename(key))
    expected = {k: v for k, v in by_rename(mine, rename).items() if k[0] in theirs}
    given, wanted = (theirs, mine) if swap else (mine, theirs)
    honest(given, wanted, turned(expected) if swap else expected)


def test_a_list_under_one_name_is_not_turned() -> None:
    """Of equal layers some hold one tensor more, on either side others: names say that nothing moved."""
    modules: dict[str, nn.Module] = {"embed": nn.Embedding(50, 24)}
    for i in range(6):
        modules |= {f"net.layers.{i}.{path}": module for path, module in attention(24).items()}
        modules[f"net.layers.{i}.attn.rel"] = nn.Linear(24, 6, bias=False)
    keys = list(built(modules).state_dict().items())
    mine = dict(item for item in keys if "rel" not in item[0] or item[0][11] in "13")
    theirs = dict(item for item in keys if "rel" not in item[0] or item[0][11] in "24")
    for one in match(spec(mine), spec(theirs)).matches:
        assert one.model_keys == one.checkpoint_keys or "rel" in one.model_keys[0]


@BOTH
def test_more_layers_of_one_kind_are_not_those_of_another(swap: bool) -> None:
    """Three layers and two of another kind under one roof, against five layers, and the two beside them."""

    def network(layers: str, others: str, depth: int, lost: bool) -> nn.Module:
        modules: dict[str, nn.Module] = {"embed": nn.Linear(6, 16)}
        for i in range(depth):
            modules[f"{layers}.{i}.attn.qkv"] = nn.Linear(16, 48)
            modules[f"{layers}.{i}.attn.proj"] = nn.Linear(16, 16)
            modules |= {f"{layers}.{i}.{name}": nn.LayerNorm(16) for name in ("norm1", "norm2")}
            modules |= {f"{layers}.{i}.mlp.fc1": nn.Linear(16, 64), f"{layers}.{i}.mlp.fc2": nn.Linear(64, 16)}
        for i in range(2):
            modules |= {f"{others}.{i}.attn.{name}": nn.Linear(16, 16) for name in ("q", "k", "v", "proj")}
            modules |= {f"{others}.{i}.{name}": nn.LayerNorm(16) for name in ("norm1", "norm2")}
            modules |= {f"{others}.{i}.mlp.fc2": nn.Linear(64, 16)}
            modules |= {} if lost else {f"{others}.{i}.mlp.fc1": nn.Linear(16, 64)}
        return built(modules)

    small, large = (
        network("trunk.layers", "trunk.cls_layers", 3, True),
        network("blocks", "blocks_token_only", 5, False),
    )
    said = {"trunk.layers": "blocks", "trunk.cls_layers": "blocks_token_only"}
    pairs = by_rename(small, lambda key: re.sub("|".join(said), lambda m: said[m[0]], key))
    if swap:
        pairs = {served.checkpoint: type(served)(keys) for keys, served in pairs.items()}
    honest(*((large, small) if swap else (small, large)), pairs)
