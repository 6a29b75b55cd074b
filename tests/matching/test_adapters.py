"""Adapter files and other files whose every key the model has, beside more."""

from __future__ import annotations

import pytest

from tests.matching.truth import Served, Truth, honest, solved, spec, truth

Keys = list[tuple[str, tuple[int, ...]]]

WIDTH = 16
PROJECTIONS = ("k_proj", "v_proj", "q_proj", "out_proj")


def whisper(rank: int, name: str) -> Keys:
    """PEFT's model of a speech model with two layers a side, as it registers its projections: k, v, q, out."""
    keys: Keys = [("base_model.model.encoder.conv1.weight", (WIDTH, 8, 3))]
    for side in ("encoder", "decoder"):
        for i in range(2):
            for attention in ("self_attn", "encoder_attn")[: 1 + (side == "decoder")]:
                for part in PROJECTIONS:
                    path = f"base_model.model.{side}.layers.{i}.{attention}.{part}"
                    adapted = part in ("v_proj", "q_proj")
                    keys.append((f"{path}.base_layer.weight" if adapted else f"{path}.weight", (WIDTH, WIDTH)))
                    if adapted:
                        keys += [(f"{path}.lora_A{name}.weight", (rank, WIDTH))]
                        keys += [(f"{path}.lora_B{name}.weight", (WIDTH, rank))]
    return keys


def adapter_of(model: Keys) -> tuple[Keys, Truth]:
    """The file that PEFT writes: the halves alone, without the adapter's name."""
    halves = [(key, shape) for key, shape in model if "lora_" in key]
    return [(key.replace(".default", ""), shape) for key, shape in halves], truth(
        (key.replace(".default", ""), key) for key, _ in halves
    )


@pytest.mark.parametrize("rank", [4, WIDTH])
def test_an_adapter_goes_where_its_keys_say_though_its_rank_is_the_width(rank: int) -> None:
    model = whisper(rank, ".default")
    solved(spec(adapter_of(model)[0]), spec(model), adapter_of(model)[1])


def test_an_adapter_of_other_modules_too_takes_no_others_place() -> None:
    """The model was made without adapters on the values of the encoder, which the file has."""
    whole = whisper(WIDTH, ".default")
    given, expected = adapter_of(whole)
    gone = [key for key, _ in whole if "encoder.layers" in key and "v_proj.lora_" in key]
    left: Truth = {keys: served for keys, served in expected.items() if keys[0] not in gone}
    solved(spec(given), spec([pair for pair in whole if pair[0] not in gone]), left)


def test_two_adapters_in_one_model_are_not_taken_for_one() -> None:
    model = whisper(WIDTH, ".default")
    second = [(key.replace(".default", ".french"), shape) for key, shape in model if ".default" in key]
    given, _ = adapter_of(model)
    expected: dict[tuple[str, ...], Served] = {}
    for name in (".default", ".french"):
        expected |= {
            (key.replace(".lora_A", f".lora_A{name}").replace(".lora_B", f".lora_B{name}"),): Served((key,))
            for key, _ in given
        }
    honest(spec(given), spec([*model, *second]), expected)


def test_an_encoder_whose_keys_the_model_has_all_goes_there() -> None:
    """The model's other branch has the same layers."""
    layer = [("attn.qkv.weight", (48, WIDTH)), ("attn.proj.weight", (WIDTH, WIDTH)), ("norm.weight", (WIDTH,))]
    own: Keys = [(f"blocks.{i}.{name}", shape) for i in range(3) for name, shape in layer]
    other: Keys = [(f"towers.{i}.{name}", shape) for i in range(3) for name, shape in layer]
    solved(spec(own), spec([*other, *own, ("head.weight", (5, WIDTH))]), truth((key, key) for key, _ in own))
