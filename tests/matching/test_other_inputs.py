"""Networks whose layers fit and which read something else; and one model in another size."""

from __future__ import annotations

import pytest
from torch import nn

from automatch.matching import match
from tests.matching.built import built
from tests.matching.truth import solved, spec, truth

WIDTH = 16


def encoder(first: dict[str, nn.Module], names: tuple[str, ...], head: dict[str, nn.Module]) -> nn.Module:
    """Layers of one size between an input and a head; `names` are those of the list and of its linears."""
    where, *linears = names
    layers: dict[str, nn.Module] = {}
    for i in range(3):
        for name, (before, width) in zip(linears, ((WIDTH, WIDTH), (WIDTH, 64), (64, WIDTH)), strict=True):
            layers[f"{where}.{i}.{name}"] = nn.Linear(before, width)
    return built({**first, **layers, **head})


SPEECH = ("encoder.layers", "attention.k_proj", "feed_forward.intermediate", "feed_forward.output")
TEXT = ("decoder.layers", "self_attn.k_proj", "fc1", "fc2")


def speech() -> nn.Module:
    convolutions: dict[str, nn.Module] = {
        f"feature_extractor.conv_layers.{i}.conv": nn.Conv1d(1 if i == 0 else 24, 24, 10 if i == 0 else 3)
        for i in range(3)
    }
    return encoder(convolutions, SPEECH, {"lm_head": nn.Linear(WIDTH, 7)})


@pytest.mark.parametrize("table", ["embed_tokens", "token_embd", "token_embedding", "wte"])
def test_layers_of_a_network_that_reads_sound_are_flagged_in_one_that_reads_words(table: str) -> None:
    model = encoder({table: nn.Embedding(50, WIDTH)}, TEXT, {"out": nn.Linear(WIDTH, 50, bias=False)})
    answer = match(spec(speech()), spec(model))
    assert [m for m in answer.matches if not m.ambiguous] == []


def test_deep_layers_of_an_image_network_are_flagged_in_one_that_reads_words() -> None:
    """Nearly all tensors of either fit, as there are so many layers."""

    def transformer(first: dict[str, nn.Module], name: str, head: dict[str, nn.Module]) -> nn.Module:
        layers = {
            f"{name}.{i}.{part}": nn.Linear(before, width)
            for i in range(12)
            for part, before, width in (("attn.qkv", WIDTH, 48), ("attn.proj", WIDTH, WIDTH), ("mlp", WIDTH, WIDTH))
        }
        return built({**first, **layers, **head})

    image = transformer({"patch_embed.proj": nn.Conv2d(3, WIDTH, 4)}, "blocks", {"head": nn.Linear(WIDTH, 10)})
    words = transformer({"wte": nn.Embedding(50, WIDTH)}, "h", {"lm_head": nn.Linear(WIDTH, 50, bias=False)})
    answer = match(spec(image), spec(words))
    assert [m for m in answer.matches if not m.ambiguous] == []


def test_a_first_layer_that_is_missing_is_no_other_input() -> None:
    """A tower of a model that has an image tower beside it, whose file lost the table of words."""
    layers: dict[str, nn.Module] = {}
    for i in range(3):
        layers |= {f"text.layers.{i}.up": nn.Linear(WIDTH, 64), f"text.layers.{i}.down": nn.Linear(64, WIDTH)}
    tower = {f"image.blocks.{i}.mix": nn.Conv2d(8, 8, 3) for i in range(3)}
    model = built({"image.patch": nn.Conv2d(3, 8, 4), **tower, "text.tokens": nn.Embedding(50, WIDTH), **layers})
    file = built({name.removeprefix("text."): module for name, module in layers.items()})
    answer = match(spec(file), spec(model))
    assert len(answer.matches) == 12
    assert [m for m in answer.matches if m.ambiguous] == []


def test_two_inputs_on_either_side_are_told_from_one_another() -> None:
    """Text and images, registered in another order: a larger vocabulary, and other channels."""
    words, pixels = nn.Embedding(50, WIDTH), nn.Conv2d(3, WIDTH, 4)
    mine = encoder({"table": words, "patch": pixels}, TEXT, {"out": nn.Linear(WIDTH, 5)})
    more, grey = nn.Embedding(64, WIDTH), nn.Conv2d(1, WIDTH, 4)
    theirs = encoder({"stem": grey, "words": more}, ("blocks", *TEXT[1:]), {"head": nn.Linear(WIDTH, 7)})
    answer = match(spec(mine), spec(theirs))
    assert len(answer.matches) == 19
    assert [m.model_keys for m in answer.matches if m.ambiguous] == [("stem.bias",)]  # of other channels


def test_a_tied_copy_is_no_surer_than_its_partner() -> None:
    """The table of words of the model, a live one, is its head."""
    model = encoder({"embed": nn.Embedding(7, WIDTH)}, TEXT, {"out": nn.Linear(WIDTH, 7, bias=False)})
    model.out.weight = model.embed.weight
    file = speech()
    answer = match(spec(file), spec(model))
    assert [m for m in answer.matches if not m.ambiguous] == []


@pytest.mark.parametrize("rows", [50, 64])
def test_another_vocabulary_is_no_other_input(rows: int) -> None:
    mine = encoder({"embed": nn.Embedding(50, WIDTH)}, TEXT, {"out": nn.Linear(WIDTH, 5)})
    theirs = encoder({"table": nn.Embedding(rows, WIDTH)}, ("blocks", *TEXT[1:]), {"out": nn.Linear(WIDTH, 5)})
    answer = match(spec(mine), spec(theirs))
    assert [m for m in answer.matches if m.ambiguous] == []
    assert len(answer.matches) >= 20


def test_what_is_left_over_of_one_model_in_two_sizes_is_what_has_one_shape_in_both() -> None:
    """The norms of the heads are as wide in the small model as in the large one; nothing else is."""

    def model(width: int) -> nn.Module:
        modules: dict[str, nn.Module] = {"embed": nn.Embedding(50, width)}
        for i in range(4):
            modules[f"layers.{i}.attn.q_proj"] = nn.Linear(width, 32, bias=False)
            modules[f"layers.{i}.attn.q_norm"] = nn.RMSNorm(8)
            modules[f"layers.{i}.mlp.up"] = nn.Linear(width, 2 * width)
            modules[f"layers.{i}.mlp.down"] = nn.Linear(2 * width, width)
        return built(modules)

    keys = [f"layers.{i}.attn.q_norm.weight" for i in range(4)]
    solved(spec(model(16)), spec(model(24)), truth((key, key) for key in keys))
