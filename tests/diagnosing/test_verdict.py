"""The one sentence that a diagnosis begins with, for real models."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

import automatch
from tests.diagnosing.models import ConvNet, Encoder, lora, quantized


def verdict(checkpoint: Mapping[str, torch.Tensor], model: nn.Module) -> str:
    return automatch.diagnose(dict(checkpoint), model).verdict


def test_it_fits_as_it_is() -> None:
    net = ConvNet()
    assert verdict(net.state_dict(), net) == f"fits as it is: all {len(net.state_dict())} keys and shapes are equal"


def test_data_parallel() -> None:
    net = ConvNet()
    said = verdict(nn.DataParallel(net).state_dict(), net)
    assert said.startswith("saved from DataParallel: every key carries `module.`")
    assert said.endswith(f"{len(net.state_dict())} of {len(net.state_dict())} keys mapped by 1 rule")


def test_a_prefix_and_another_head() -> None:
    said = verdict(nn.DataParallel(Encoder(classes=1000)).state_dict(), Encoder(classes=10))
    assert "saved from DataParallel" in said
    assert "1000 outputs in the checkpoint against 10 in the model" in said
    assert "41 of 43 keys mapped" in said


def test_another_head() -> None:
    said = verdict(Encoder(classes=1000).state_dict(), Encoder(classes=10))
    assert said.startswith("1000 outputs in the checkpoint against 10 in the model")
    assert "the rest fits" in said


def test_another_architecture() -> None:
    said = verdict(ConvNet().state_dict(), Encoder())
    assert said.startswith("not the same architecture: ")
    assert said.endswith(" % of the shapes have a counterpart")


def test_renamed() -> None:
    net = Encoder()
    renamed = {k.replace("layers", "blocks").replace("attn", "attention"): t for k, t in net.state_dict().items()}
    said = verdict(renamed, net)
    assert f"{len(renamed)} of {len(renamed)} keys mapped by" in said
    assert "renamed modules" in said


def test_deeper() -> None:
    assert "6 modules in `layers` against 4" in verdict(Encoder(layers=6).state_dict(), Encoder(layers=4))


def test_adapter() -> None:
    assert verdict(lora(Encoder()), Encoder()).startswith("a LoRA adapter")


def test_quantized() -> None:
    assert verdict(quantized(Encoder()), Encoder()).startswith("the checkpoint is quantised, the model is not")


def test_it_is_one_sentence() -> None:
    pairs = [
        (ConvNet().state_dict(), Encoder()),
        (Encoder(layers=6).state_dict(), Encoder()),
        (Encoder(width=32).state_dict(), Encoder()),
        (nn.DataParallel(ConvNet()).state_dict(), ConvNet()),
    ]
    for checkpoint, model in pairs:
        said = verdict(checkpoint, model)
        assert said
        assert "\n" not in said
        assert not said.endswith(".")


def test_another_size_of_the_same_architecture() -> None:
    said = verdict(Encoder(layers=6, width=32).state_dict(), Encoder())
    assert said.startswith("wrong variant: the checkpoint has 6 modules in `layers` against 4; size 32 in ")


def test_both_wrappers_are_named() -> None:
    net = ConvNet()
    said = verdict(nn.DataParallel(torch.compile(net)).state_dict(), net)
    assert said.startswith("saved from a compiled model inside DataParallel: every key carries `module._orig_mod.`")
