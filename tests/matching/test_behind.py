"""Norms that a file numbers apart from the layers they stand behind, as Keras' functional models do."""

from __future__ import annotations

import pytest

from automatch.matching import match
from tests.matching.truth import Served, flagged, found, honest, spec

Keys = list[tuple[str, tuple[int, ...]]]

WIDTHS = (8, 8, 8, 16, 16, 16)
"""Of the convolutions in the order of their making: a stage is as wide as its blocks are."""


def keras(classes: tuple[str, ...] = ("conv2d", "batch_normalization")) -> Keys:
    """A file sorted by name, in which the first of each kind has no number, and a stage begins with its shortcut."""
    keys: Keys = []
    before = 3
    for n, width in enumerate((4, *WIDTHS)):
        number = f"_{n}" if n else ""
        size = 1 if n in (1, 4) else 3  # the shortcuts of two stages
        inputs = {1: 4, 4: 8}.get(n, before)
        keys.append((f"layers/{classes[0]}{number}/vars/0", (size, size, inputs, width)))
        keys += [(f"layers/{classes[1]}{number}/vars/{k}", (width,)) for k in range(4)]
        before = width if n not in (1, 4) else before
    return sorted(keys)


def torch_like() -> tuple[Keys, dict[str, int]]:
    """The same network, which declares the shortcut of a stage last; and the numbers of its modules in the file."""
    roles = ("weight", "bias", "running_mean", "running_var")
    keys: Keys = [("stem.conv.weight", (4, 3, 3, 3)), *[(f"stem.bn.{role}", (4,)) for role in roles]]
    numbers = {"stem.conv": 0, "stem.bn": 0}
    before = 4
    for stage, width in enumerate((8, 16)):
        own = f"layer{stage + 1}"
        first = 3 * stage + 1
        for k, inputs in ((1, before), (2, width)):
            keys.append((f"{own}.conv{k}.weight", (width, inputs, 3, 3)))
            keys += [(f"{own}.bn{k}.{role}", (width,)) for role in roles]
            numbers |= {f"{own}.conv{k}": first + k, f"{own}.bn{k}": first + k}
        keys.append((f"{own}.downsample.0.weight", (width, before, 1, 1)))
        keys += [(f"{own}.downsample.1.{role}", (width,)) for role in roles]
        numbers |= {f"{own}.downsample.0": first, f"{own}.downsample.1": first}
        before = width
    return keys, numbers


def served(model: Keys, numbers: dict[str, int]) -> dict[tuple[str, ...], Served]:
    """What of the file serves the model, by the numbers of its modules there."""
    order = {"weight": 0, "bias": 1, "running_mean": 2, "running_var": 3}
    out = {}
    for key, shape in model:
        module, role = key.rsplit(".", 1)
        number = f"_{numbers[module]}" if numbers[module] else ""
        kind, op = ("conv2d", "transpose") if len(shape) > 1 else ("batch_normalization", "rename")
        out[(key,)] = Served((f"layers/{kind}{number}/vars/{order[role]}",), op)
    return out


def test_each_norm_goes_with_the_convolution_of_its_number() -> None:
    """By shapes alone the shortcut's norm is any of the three of its stage."""
    model, numbers = torch_like()
    expected = served(model, numbers)
    answer = match(spec(keras()), spec(model))
    assert found(answer) == expected
    norms = {key for key, shape in model if len(shape) == 1}
    sure = {key for key in norms if key.rsplit(".", 1)[0].replace("bn", "conv") + ".weight" not in flagged(answer)}
    assert not {key for key in sure if "downsample" not in key} & flagged(answer)


@pytest.mark.parametrize("lost", ["layers/batch_normalization_2", "layers/conv2d_5"])
def test_numbers_that_do_not_run_alike_say_nothing(lost: str) -> None:
    """One of either kind is missing: which norm is that of which layer is not told by their ranks."""
    model, numbers = torch_like()
    file = [(key, shape) for key, shape in keras() if f"{lost}/" not in key]
    expected = {t: s for t, s in served(model, numbers).items() if f"{lost}/" not in s.checkpoint[0]}
    honest(file, model, expected)


def test_a_file_of_torchs_names_for_a_model_of_keras() -> None:
    """The other way round: the model is numbered, and the file says what stands behind what."""
    file, numbers = torch_like()
    roles = ("weight", "bias", "running_mean", "running_var")
    expected = {}
    for module, n in numbers.items():
        number = f"_{n}" if n else ""
        if f"{module}.bias" in dict(file):
            for k, role in enumerate(roles):
                expected[(f"layers/batch_normalization{number}/vars/{k}",)] = Served((f"{module}.{role}",))
        else:
            expected[(f"layers/conv2d{number}/vars/0",)] = Served((f"{module}.weight",), "transpose")
    assert found(match(spec(file), spec(keras()))) == expected


@pytest.mark.parametrize("kinds", [("norm", "linear"), ("bn_", "conv_"), ("batch_normalization_", "conv2d_")])
@pytest.mark.parametrize("first", ["norm", "layer"])
def test_norms_that_a_person_numbered_may_stand_before_their_layers(kinds: tuple[str, str], first: str) -> None:
    """Pre-norm layers, and a norm behind all of them that the file has not: nothing moves on by one."""
    file: Keys = [("embed.weight", (50, 16))]
    model: Keys = [("tok.weight", (50, 16))]
    pairs = {"tok.weight": "embed.weight"}
    for i in range(6):
        for kind, name in (
            zip(kinds, ("norm", "fc"), strict=True) if first == "norm" else [(kinds[1], "fc"), (kinds[0], "norm")]
        ):
            for role, shape in (("weight", (16,) if name == "norm" else (16, 16)), ("bias", (16,))):
                file.append((f"{kind}{i + 1}.{role}", shape))
                model.append((f"layers.{i}.{name}.{role}", shape))
                pairs[model[-1][0]] = file[-1][0]
    model += [("norm.weight", (16,)), ("norm.bias", (16,)), ("out.weight", (50, 16))]
    file.append(("head.weight", (50, 16)))
    pairs["out.weight"] = "head.weight"
    honest(file, model, {(b,): Served((a,)) for b, a in pairs.items()})
