"""Causes of real models with real checkpoints, all shapes known."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import pytest
import torch
from torch import nn

from automatch.diagnosing.causes import CAUSES
from automatch.diagnosing.evidence import CAUSE_WORDS, Evidence, Finding, gather
from automatch.diagnosing.judging import findings
from automatch.matching import match
from automatch.matching.assignment import Mismatch
from automatch.spec import StateDictSpec, TensorSpec
from tests.diagnosing.models import ConvNet, Encoder, lora, quantized


def spec(name: str, state_dict: Mapping[str, torch.Tensor]) -> StateDictSpec:
    return StateDictSpec(name, tuple(TensorSpec(k, tuple(t.shape)) for k, t in state_dict.items()))


def best(checkpoint: Mapping[str, torch.Tensor], model: nn.Module) -> Finding:
    return findings(gather(spec("file", checkpoint), spec("model", model.state_dict())))[0]


def weight_norm(kind: str) -> ConvNet:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return ConvNet(weight_norm=kind)


def test_nothing_is_wrong() -> None:
    model = Encoder()
    assert findings(gather(spec("file", model.state_dict()), spec("model", model.state_dict()))) == ()


@pytest.mark.parametrize("net", [Encoder(), ConvNet()])
def test_data_parallel(net: nn.Module) -> None:
    found = best(nn.DataParallel(net).state_dict(), net)
    assert found.cause == "prefix-module"
    assert found.rules == ((r"module\.(?P<rest>.+)", "{rest}"),)
    assert "every key carries `module.`" in found.sentence
    assert best(net.state_dict(), nn.DataParallel(net)).cause == "prefix-module"


def test_compiled() -> None:
    net = ConvNet()
    compiled = torch.compile(net)
    assert best(compiled.state_dict(), net).cause == "prefix-compile"
    assert best(net.state_dict(), compiled).cause == "prefix-compile"


def test_a_part_compiled() -> None:
    net, other = Encoder(), Encoder()
    for i, layer in enumerate(other.layers):
        other.layers[i] = torch.compile(layer)
    found = best(other.state_dict(), net)
    assert found.cause == "prefix-compile"
    assert found.rules


def test_wrapped_in_another_module() -> None:
    net = ConvNet()
    wrapper = nn.ModuleDict({"model": net})
    assert best(wrapper.state_dict(), net).cause == "prefix-wrapper"
    assert best(net.state_dict(), wrapper).cause == "prefix-wrapper"


def test_averaged_model() -> None:
    net = ConvNet()
    found = best(torch.optim.swa_utils.AveragedModel(net).state_dict(), net)
    assert found.cause == "prefix-module"
    assert found.rules


def test_number_of_classes() -> None:
    found = best(Encoder(classes=1000).state_dict(), Encoder(classes=10))
    assert found.cause == "num-classes/head"
    assert "1000 outputs in the checkpoint against 10 in the model" in found.sentence
    assert "the rest fits" in found.sentence


def test_vocabulary() -> None:
    assert best(Encoder(vocabulary=60).state_dict(), Encoder()).cause == "vocab-or-shape-change"


def test_input_channels() -> None:
    assert best(ConvNet(channels=1).state_dict(), ConvNet(channels=4)).cause == "vocab-or-shape-change"


@pytest.mark.parametrize(("there", "here"), [(6, 4), (4, 6)])
def test_depth(there: int, here: int) -> None:
    found = best(Encoder(layers=there).state_dict(), Encoder(layers=here))
    assert found.cause == "wrong-architecture/variant"
    assert f"{there} modules in `layers` against {here}" in found.sentence


def test_width() -> None:
    found = best(Encoder(width=32).state_dict(), Encoder(width=16))
    assert found.cause == "wrong-architecture/variant"
    assert "size 32" in found.sentence
    assert "against 16" in found.sentence


def test_unrelated() -> None:
    assert best(ConvNet().state_dict(), Encoder()).cause == "wrong-architecture/variant"


def test_adapters_of_other_modules_on_both_sides() -> None:
    """A file with the adapter of a fused layer: it has one, so nothing says that it has not."""
    fused = {f"layers.{i}.qkv.lora_{half}.weight": torch.zeros(4, 4) for i in range(3) for half in "AB"}
    parts = nn.Module()
    for name in ("q", "k"):
        parts.add_module(name, nn.Module())
        for half in "AB":
            parts.get_submodule(name).register_module(f"lora_{half}", nn.Linear(8, 8, bias=False))
    found = best(fused, nn.ModuleDict({"layers": nn.ModuleList([parts])}))
    assert found.cause == "lora/peft"
    assert found.sentence == "both have an adapter, on other modules: 4 adapter keys are missing, 6 unexpected"


def test_adapter() -> None:
    assert best(lora(Encoder()), Encoder()).cause == "lora/peft"


def test_quantized_file() -> None:
    assert best(quantized(Encoder()), Encoder()).cause == "quantized"


def test_optimizer_file() -> None:
    evidence = Evidence(tuple(Encoder().state_dict()), ("state", "param_groups"))
    assert findings(evidence)[0].cause == "other"
    assert "optimizer" in findings(evidence)[0].sentence


def test_weight_norm_of_a_newer_torch() -> None:
    found = best(weight_norm("new").state_dict(), weight_norm("old"))
    assert found.cause == "weight-norm/parametrization"
    renamed = {"conv1.weight_g", "conv1.weight_v", "conv2.weight_g", "conv2.weight_v"}
    assert renamed <= set(weight_norm("old").state_dict())
    assert len(found.rules) == 2


def test_weight_norm_on_one_side() -> None:
    assert best(weight_norm("old").state_dict(), ConvNet()).cause == "weight-norm/parametrization"


def test_counters_only() -> None:
    net = ConvNet()
    kept = {k: t for k, t in net.state_dict().items() if "num_batches" not in k}
    assert best(kept, net).cause == "missing-buffers"


def test_tied_output() -> None:
    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed_tokens = nn.Embedding(9, 4)
            self.lm_head = nn.Linear(4, 9, bias=False)

    net = Language()
    assert best({"embed_tokens.weight": net.embed_tokens.weight}, net).cause == "tied-weights"


def test_zero3_placeholders() -> None:
    net = Encoder()
    assert best({k: torch.zeros(0) for k in net.state_dict()}, net).cause == "other"


def test_a_scalar_is_no_placeholder() -> None:
    evidence = Evidence(mismatched=(Mismatch("head.bias", "head.bias", (1,), (4,)),))
    assert findings(evidence)[0].cause == "num-classes/head"


def test_every_cause_answers_with_its_words() -> None:
    for check in CAUSES:
        assert check(Evidence()) is None
    for cause in (best(nn.DataParallel(ConvNet()).state_dict(), ConvNet()), best(lora(Encoder()), Encoder())):
        assert cause.cause in CAUSE_WORDS


def convolutions(bias: bool) -> nn.Module:
    return nn.Sequential(*(nn.Conv2d(4, 4, 3, bias=bias) for _ in range(3)))


def linears(bias: bool) -> nn.Module:
    return nn.Sequential(*(nn.Linear(4, 4, bias=bias) for _ in range(3)))


def test_a_batch_norm_is_folded_into_convolutions_only() -> None:
    folded = "folded its batch norm into them or "
    assert folded in best(convolutions(bias=True).state_dict(), convolutions(bias=False)).sentence
    assert folded not in best(linears(bias=True).state_dict(), linears(bias=False)).sentence
    assert "built with bias=False" in best(linears(bias=True).state_dict(), linears(bias=False)).sentence


@pytest.mark.parametrize("turn", [False, True])
def test_bottleneck_blocks_are_told_in_one_sentence(turn: bool) -> None:
    def residual(convs: int) -> nn.Module:
        net = nn.Module()
        net.layers = nn.ModuleList(
            nn.ModuleDict({f"conv{k}": nn.Conv2d(4 * k, 8 * convs, 1) for k in range(1, convs + 1)}) for _ in range(2)
        )
        return net

    file, model = (residual(2), residual(3)) if turn else (residual(3), residual(2))
    sentence = best(file.state_dict(), model).sentence
    has = "no bottleneck blocks (a third convolution in each), and the model does"
    assert (has if turn else "bottleneck blocks (a third convolution in each), and the model none") in sentence
    assert "the checkpoint has the " not in sentence


def adapted(names: tuple[str, str]) -> nn.Module:
    """A layer with an adapter beside it, whose halves are called so."""
    net = nn.Module()
    net.layer = nn.Module()
    net.layer.base_layer = nn.Linear(8, 8)
    for name, (rows, columns) in zip(names, ((2, 8), (8, 2)), strict=True):
        half: nn.Module = nn.Linear(columns, rows, bias=False)
        for part in reversed(name.split(".")):
            outer = nn.Module()
            outer.add_module(part, half)
            half = outer
        for part, module in half.named_children():
            net.layer.add_module(part, module)
    return net


def test_an_adapter_file_for_a_model_with_its_adapter_is_told_as_that() -> None:
    model = adapted(("lora_A.default", "lora_B.default"))
    file = {k.replace(".default", ""): t for k, t in model.state_dict().items() if "lora" in k}
    file["lora_layer.alpha"] = torch.tensor(4.0)
    given, wanted = spec("file", file), spec("model", model.state_dict())
    found = findings(gather(given, wanted, match(given, wanted)))[0]
    assert found.cause == "lora/peft"
    assert found.sentence == "an adapter's file for a model that has its adapter attached: 2 adapter keys, all placed"


def test_an_adapter_file_that_has_the_adapters_name_in_its_keys() -> None:
    model = adapted(("lora_A.default", "lora_B.default"))
    file = {k: t for k, t in model.state_dict().items() if "lora" in k}
    given, wanted = spec("file", file), spec("model", model.state_dict())
    found = findings(gather(given, wanted, match(given, wanted)))[0]
    assert found.sentence == "an adapter's file for a model that has its adapter attached: 2 adapter keys, all placed"


def test_an_adapter_file_that_calls_its_halves_a_and_b() -> None:
    model = adapted(("lora_A.default", "lora_B.default"))
    file = {
        k.replace("lora_A.default.weight", "A").replace("lora_B.default.weight", "B"): t
        for k, t in model.state_dict().items()
    }
    file = {k: t for k, t in file.items() if k.endswith((".A", ".B"))}
    given, wanted = spec("file", file), spec("model", model.state_dict())
    found = findings(gather(given, wanted, match(given, wanted)))[0]
    assert found.sentence == "an adapter's file for a model that has its adapter attached: 2 adapter keys, all placed"


def test_an_adapter_of_another_rank_is_counted_once() -> None:
    model = adapted(("lora_A.default", "lora_B.default"))
    file = {
        k.replace(".default", ""): torch.cat([t, t], t.shape.index(min(t.shape)))
        for k, t in model.state_dict().items()
        if "lora" in k
    }
    given, wanted = spec("file", file), spec("model", model.state_dict())
    found = findings(gather(given, wanted, match(given, wanted)))[0]
    assert found.sentence.endswith("2 adapter tensors have other shapes")
