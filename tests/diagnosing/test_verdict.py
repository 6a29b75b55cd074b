"""The one sentence that a diagnosis begins with, for real models."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
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


def test_an_average_of_weights_is_no_data_parallel() -> None:
    """torch's AveragedModel calls the network `module` as well, and counts beside it."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    averaged = torch.optim.swa_utils.AveragedModel(model)
    assert str(automatch.diagnose(averaged.state_dict(), model)).startswith("saved from AveragedModel")


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


def test_the_rest_does_not_fit_where_something_is_ambiguous_or_missing() -> None:
    checkpoint = dict(Encoder(classes=1000).state_dict())
    ambiguous = {
        k.replace("norm1.weight", "norm1.x").replace("norm1.bias", "norm1.y"): t for k, t in checkpoint.items()
    }
    said = verdict(ambiguous, Encoder())
    assert "ambiguous" in said
    assert "the rest fits" not in said
    del checkpoint["layers.0.norm1.weight"]
    said = verdict(checkpoint, Encoder())
    assert "1 missing" in said
    assert "the rest fits" not in said


def test_one_table_against_one_layer_is_no_width() -> None:
    one, other = Encoder(), Encoder()
    one.embedding = nn.Linear(16, 24, bias=False)
    said = verdict(one.state_dict(), other)
    assert "wrong variant" not in said
    assert "1 places" not in said
    said = verdict(nn.Sequential(nn.Linear(8, 16)).state_dict(), nn.Sequential(nn.Embedding(100, 8)))
    assert said == "0 of 1 key mapped; 1 unexpected, 1 of another shape"


def linears(**sizes: tuple[int, int]) -> nn.Module:
    module = nn.Module()
    for name, (inputs, outputs) in sizes.items():
        module.add_module(name, nn.Linear(inputs, outputs, bias=False))
    return module


def test_fused_tensors_are_called_by_their_names() -> None:
    apart = linears(w1=(8, 16), w2=(8, 12), w3=(16, 8))
    said = verdict(apart.state_dict(), linears(w12=(8, 32), w3=(16, 8)))
    assert said.startswith(
        "the checkpoint keeps `w1` and `w2` in 2 separate tensors, the model wants 1 fused one (`w12`)"
    )
    said = verdict(linears(w12=(8, 32), w3=(16, 8)).state_dict(), apart)
    assert said.startswith(
        "the checkpoint keeps `w1` and `w2` in 1 fused tensor (`w12`), the model wants 2 separate ones"
    )


def test_a_prefix_at_the_edge_of_a_word_is_not_stripped() -> None:
    same = {"q": (16, 16), "k": (16, 16), "v": (16, 16)}
    said = verdict(linears(**same).state_dict(), linears(to_k=(16, 16), to_q=(16, 16), to_v=(16, 16)))
    assert "strips" not in said


def test_quantised_keys_beside_others() -> None:
    net = ConvNet()
    checkpoint = dict(net.state_dict())
    checkpoint["fc.qweight"] = torch.zeros(2, 10, dtype=torch.int32)
    checkpoint["fc.scales"] = torch.zeros(1, 10)
    checkpoint["fc.qzeros"] = torch.zeros(1, 2, dtype=torch.int32)
    del checkpoint["fc.weight"]
    assert verdict(checkpoint, net).startswith(
        "the checkpoint is quantised, the model is not: 3 keys such as `fc.qweight`"
    )


def test_whole_numbers_are_no_weights() -> None:
    net = Encoder()
    checkpoint = {k: t.to(torch.int8) if t.ndim == 2 else t for k, t in net.state_dict().items()}
    assert "quantised" in verdict(checkpoint, net)
    del checkpoint["layers.0.norm1.weight"]
    assert "quantised" in verdict(checkpoint, net)


def test_depth_of_layers_whose_numbers_are_part_of_their_names() -> None:
    """torchvision's ViT: `encoder.layers.encoder_layer_11`."""

    def vit(depth: int) -> nn.Module:
        layers = nn.ModuleDict(
            {f"encoder_layer_{i}": nn.ModuleDict({"ln": nn.LayerNorm(8), "fc": nn.Linear(8, 8)}) for i in range(depth)}
        )
        return nn.ModuleDict({"proj": nn.Linear(3, 8), "layers": layers, "heads": nn.Linear(8, 5)})

    assert "12 modules in `layers.encoder_layer_` against 16" in verdict(vit(12).state_dict(), vit(16))


class Vocoder(nn.Module):
    """Convolutions as in HiFi-GAN, whose trainer puts weight norm on them and whose application takes it off."""

    def __init__(self, norm: Callable[[nn.Module], nn.Module] = lambda module: module) -> None:
        super().__init__()
        self.pre = norm(nn.Conv1d(8, 16, 7))
        self.blocks = nn.ModuleList(norm(nn.Conv1d(16, 16, 3)) for _ in range(3))


@pytest.mark.parametrize(
    ("norm", "undo"),
    [
        (torch.nn.utils.weight_norm, "torch.nn.utils.remove_weight_norm"),
        (torch.nn.utils.parametrizations.weight_norm, "parametrize.remove_parametrizations(module, 'weight')"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weight_norm_on_one_side(norm: Callable[[nn.Module], nn.Module], undo: str) -> None:
    """The biases have equal names; of the weights, that they have another form, and what to do."""
    trained, plain = Vocoder(norm), Vocoder()
    diagnosis = automatch.diagnose(trained.state_dict(), plain)
    assert diagnosis.verdict.startswith("weight norm: the checkpoint has 4 weights as ")
    assert "the model has them whole (build the model with torch.nn.utils." in diagnosis.verdict
    assert f"take the norm off with {undo})" in diagnosis.verdict
    assert {m.model_keys for m in diagnosis.matches if not m.ambiguous} == {
        (key,) for key in plain.state_dict() if key.endswith("bias")
    }
    back = verdict(plain.state_dict(), trained)
    assert back.startswith("weight norm: the model has 4 weights as ")
    assert "the checkpoint has them whole (load the checkpoint before torch.nn.utils." in back


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weight_norm_on_one_side_of_renamed_modules() -> None:
    """All weights are counted, one sentence says it, and no half of a weight is offered for the whole of it."""
    trained = Vocoder(torch.nn.utils.weight_norm).state_dict()
    renamed = {key.replace("blocks", "mrf"): tensor for key, tensor in trained.items()}
    diagnosis = automatch.diagnose(renamed, Vocoder())
    assert diagnosis.verdict.startswith("weight norm: the checkpoint has 4 weights as weight_g and weight_v")
    assert diagnosis.verdict.count("weight_g") == 1 and "reparametrised" not in diagnosis.verdict
    assert not [m for m in diagnosis.matches for key in m.checkpoint_keys if key.endswith("weight_v")]


def test_renamed_beside_a_buffer_of_the_loss() -> None:
    network = ConvNet()
    wrapped = nn.Module()
    wrapped.model, wrapped.criterion = ConvNet(), nn.CrossEntropyLoss(weight=torch.ones(10))
    renamed = {f"module.{key.replace('fc', 'head')}": tensor for key, tensor in network.state_dict().items()}
    said = verdict(renamed, wrapped)
    assert said.startswith("renamed modules; besides, only buffers and bookkeeping differ: 1 key in the model only")
