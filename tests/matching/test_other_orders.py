"""What lies in another order inside a tensor in another framework, of which no shape tells: done right, or flagged."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import automatch
from automatch.matching import match
from tests.matching.built import built
from tests.matching.truth import Served, flagged, found, spec

SIZE, CHANNELS = 6, 8


class Reader(nn.Module):
    """Convolutions, and linear layers that read their flattened map."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, channels, 3, padding=1)
        self.fc1 = nn.Linear(channels * SIZE * SIZE, 16)
        self.fc2 = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor, last: bool = False) -> torch.Tensor:
        """`last`: flattened with the channels last, as the other frameworks do."""
        x = self.conv2(self.norm(self.conv1(x)).relu()).relu()
        x = x.permute(0, 2, 3, 1).flatten(1) if last else x.flatten(1)
        return self.fc2(self.fc1(x).relu())


class Writer(nn.Module):
    """A linear layer whose outputs become a map, and transposed convolutions: a generator."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(10, CHANNELS * SIZE * SIZE)
        self.conv1 = nn.ConvTranspose2d(CHANNELS, 4, 4, 2)
        self.conv2 = nn.ConvTranspose2d(4, 3, 4, 2)

    def forward(self, x: torch.Tensor, last: bool = False) -> torch.Tensor:
        x = self.fc1(x).relu()
        x = x.view(-1, SIZE, SIZE, CHANNELS).permute(0, 3, 1, 2) if last else x.view(-1, CHANNELS, SIZE, SIZE)
        return self.conv2(self.conv1(x).relu())


def in_keras(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors as Keras stores them; the linear layers read what comes channels last."""
    names = {"norm.weight": "norm/gamma", "norm.bias": "norm/beta", "norm.running_mean": "norm/moving_mean"}
    names |= {"norm.running_var": "norm/moving_variance"}
    out = {}
    for key, tensor in model.state_dict().items():
        module, _, role = key.rpartition(".")
        if key in names or role == "bias":
            out[names.get(key, f"{module}/bias")] = tensor
        elif role == "weight":
            out[f"{module}/kernel"] = tensor.permute(2, 3, 1, 0) if tensor.dim() == 4 else tensor.T
    return {key.replace("fc", "dense_"): tensor.contiguous() for key, tensor in out.items()}


def in_mlx(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        key.replace("fc", "linear"): (t.permute(0, 2, 3, 1) if t.dim() == 4 else t).contiguous()
        for key, t in model.state_dict().items()
        if "num_batches" not in key
    }


@pytest.mark.parametrize("store", [in_keras, in_mlx])
def test_a_flattened_map_is_read_in_the_order_of_the_other_framework(store) -> None:
    """The model that gets the file computes what the network it was saved from does, once the one pair is decided."""
    saved, model = Reader().eval(), Reader().eval()
    file, x = store(saved), torch.randn(2, 3, SIZE, SIZE)
    first = next(key for key in file if key.startswith(("dense_1", "linear1")) and not key.endswith("bias"))
    answer = automatch.diagnose(file, model)
    assert answer.proof.ok and flagged(answer.assignment) == {"fc1.weight"}
    assert "channels last" in next(m.reason for m in answer.matches if m.ambiguous)
    automatch.load(model, file, pin={first: "fc1.weight"}, strict=False)
    assert torch.allclose(model(x), saved(x, last=True), atol=1e-5)
    back = answer.rules.reverse(file)
    with pytest.warns(UserWarning, match="by a guess"):
        there = answer.rules.apply(file)
    assert all(torch.equal(tensor, file[key]) for key, tensor in back.apply(there).items())
    space: dict[str, object] = {}
    exec(automatch.export(answer.rules, "python"), space)


def test_a_map_is_written_in_the_order_of_the_other_framework() -> None:
    saved, model = Writer(), Writer()
    file, x = in_keras(saved), torch.randn(2, 10)
    answer = automatch.diagnose(file, model)
    assert answer.proof.ok and flagged(answer.assignment) == {"fc1.weight", "fc1.bias"}
    pins = {"dense_1/kernel": "fc1.weight", "dense_1/bias": "fc1.bias"}
    automatch.load(model, file, pin=pins)
    assert torch.allclose(model(x), saved(x, last=True), atol=1e-5)


def test_and_the_other_way_round() -> None:
    saved = Reader()
    file = {key: tensor for key, tensor in saved.state_dict().items() if "num_batches" not in key}
    answer = automatch.diagnose(file, in_keras(saved))
    assert answer.proof.ok and flagged(answer.assignment) == {"dense_1/kernel"}
    with pytest.warns(UserWarning, match="by a guess"):
        there = answer.rules.apply(file)["dense_1/kernel"]
    assert torch.equal(
        there.view(SIZE, SIZE, CHANNELS, 16)[2, 3, 1], saved.fc1.weight.view(16, CHANNELS, SIZE, SIZE)[:, 1, 2, 3]
    )


def test_a_linear_layer_that_reads_pooled_channels_is_turned_and_no_more() -> None:
    sides = []
    for store in (in_keras, lambda model: model.state_dict()):
        model = Reader()
        model.fc1 = nn.Linear(CHANNELS, 16)
        sides.append(store(model))
    answer = match(spec(sides[0]), spec(sides[1]))
    assert not flagged(answer) and found(answer)["fc1.weight",] == Served(("dense_1/kernel",), "transpose")


def rnn(kind: type[nn.RNNBase]) -> nn.Module:
    return nn.ModuleDict({"embed": nn.Embedding(50, 12), "rnn": kind(12, 16), "fc": nn.Linear(16, 5)})


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_the_gates_of_a_gru_lie_otherwise_in_keras(kind: type[nn.RNNBase], gates: int) -> None:
    file = [("embed/embeddings", (50, 12)), ("r/cell/kernel", (12, 16 * gates)), ("fc/kernel", (16, 5))]
    file += [("r/cell/recurrent_kernel", (16, 16 * gates)), ("fc/bias", (5,))]
    answer = match(spec(file), spec(rnn(kind)))
    weights = {("rnn.weight_ih_l0",): "r/cell/kernel", ("rnn.weight_hh_l0",): "r/cell/recurrent_kernel"}
    assert {keys: found(answer)[keys].checkpoint[0] for keys in weights} == weights
    assert flagged(answer) == ({key for (key,) in weights} if kind is nn.GRU else set())
    pinned = match(spec(file), spec(rnn(kind)), pin=[("r/cell/kernel", "rnn.weight_ih_l0")])
    assert "rnn.weight_ih_l0" not in flagged(pinned)


def test_the_gates_of_onnx_lie_otherwise() -> None:
    file = [("embed.weight", (50, 12)), ("rnn.W", (1, 64, 12)), ("rnn.R", (1, 64, 16)), ("fc.weight", (5, 16))]
    answer = match(spec(file), spec(rnn(nn.LSTM)))
    assert {"rnn.weight_ih_l0", "rnn.weight_hh_l0"} <= flagged(answer)


@pytest.mark.parametrize("flax", [True, False])
def test_a_transposed_convolution_of_flax_is_torchs_mirror_image(flax: bool) -> None:
    """Keras stores [height, width, out, in] and its kernel is torch's; a square one goes as its like."""
    names = ("ConvTranspose_0", "ConvTranspose_1", "Conv_0") if flax else ("up_transpose", "up_transpose_1", "conv")
    up = (4, 4, 12, 8) if flax else (4, 4, 8, 12)
    file = [(f"{name}/kernel", shape) for name, shape in zip(names, (up, (4, 4, 8, 8), (3, 3, 8, 5)), strict=True)]
    file += [(f"{name}/bias", (size,)) for name, size in zip(names, (8, 8, 5), strict=True)]
    layers = {"up1": nn.ConvTranspose2d(12, 8, 4), "up2": nn.ConvTranspose2d(8, 8, 4), "conv": nn.Conv2d(8, 5, 3)}
    answer = match(spec(file), spec(nn.ModuleDict(layers)))
    perms = {m.model_keys[0]: m.perm for m in answer.matches if m.op == "transpose"}
    turned = (2, 3, 0, 1) if flax else (3, 2, 0, 1)
    assert perms == {"up1.weight": turned, "up2.weight": turned, "conv.weight": (3, 2, 0, 1)}
    assert flagged(answer) == ({"up1.weight", "up2.weight"} if flax else set())


def test_kernels_with_their_channels_last_beside_linear_layers() -> None:
    """MLX: the linear layers lie as torch's, which said that nothing is turned; of the first one no shape shows it."""
    model = nn.ModuleDict(
        {"a": nn.Conv2d(3, 8, 3), "b": nn.Conv2d(8, 12, 3), "c": nn.Conv2d(12, 12, 1), "d": nn.Linear(12, 5)}
    )
    answer = match(spec(in_mlx(model)), spec(model))
    assert not flagged(answer) and not answer.mismatched
    assert {m.model_keys[0]: m.perm for m in answer.matches if m.op == "transpose"}.keys() >= {"a.weight", "b.weight"}


def test_two_heads_that_read_one_map() -> None:
    """A dueling network: values and advantages."""
    layers = {"conv": nn.Conv2d(3, 8, 3), "fca": nn.Linear(128, 32), "fcb": nn.Linear(32, 6)}
    layers |= {"fcv": nn.Linear(128, 32), "fcw": nn.Linear(32, 1)}
    model = nn.ModuleDict(layers)
    answer = automatch.diagnose(in_keras(model), model)
    assert answer.proof.ok and flagged(answer.assignment) == {"fca.weight", "fcv.weight"}
    assert {m.shape for m in answer.matches if m.ambiguous} == {(1, -1, 8, 1)}


def test_as_many_features_behind_what_reads_the_map_are_another_layers() -> None:
    model = nn.ModuleDict({"conv": nn.Conv2d(3, 8, 3), "fca": nn.Linear(128, 128), "fcb": nn.Linear(128, 9)})
    answer = match(spec(in_keras(model)), spec(model))
    assert flagged(answer) >= {"fca.weight"} and {m.model_keys[0] for m in answer.matches if m.shape} == {"fca.weight"}


def test_what_reads_a_map_writes_none() -> None:
    """The moments of a variational autoencoder stand in front of its decoder."""
    layers = {"conv": nn.Conv2d(3, 16, 3), "mean": nn.Linear(256, 64), "spread": nn.Linear(256, 64)}
    model = built({**layers, "out": nn.Conv2d(16, 3, 3)})
    answer = match(spec(in_keras(model)), spec(model))
    assert flagged(answer) == {"mean.weight", "spread.weight"}
    assert {m.model_keys[0] for m in answer.matches if m.shape} == {"mean.weight", "spread.weight"}


def test_a_norm_between_the_map_and_what_reads_it_is_put_in_order_too() -> None:
    model = nn.ModuleDict({"conv": nn.Conv2d(3, 8, 3), "norm": nn.BatchNorm1d(128), "fc": nn.Linear(128, 9)})
    answer = automatch.diagnose(in_keras(model), model)
    norm = {f"norm.{role}" for role in ("weight", "bias", "running_mean", "running_var")}
    assert answer.proof.ok and flagged(answer.assignment) == {"fc.weight", *norm}


@pytest.mark.parametrize(
    "layers",
    [
        {"conv1": nn.Conv2d(3, 16, 3), "head": nn.Linear(16, 9), "conv2": nn.Conv2d(3, 16, 3)},
        {"a.conv": nn.Conv2d(3, 16, 3), "a.head": nn.Linear(16, 48), "b.conv": nn.Conv2d(16, 20, 3)},
        {"c1": nn.Conv2d(3, 32, 3), "emb": nn.Linear(20, 64), "c2": nn.Conv2d(32, 32, 3), "fc": nn.Linear(32, 5)},
        {"c1": nn.Conv2d(3, 16, 3), "aux.fc": nn.Linear(16, 96), "c2": nn.Conv2d(16, 20, 3)},
        {"c1": nn.Conv2d(3, 32, 3), "fc": nn.Linear(64, 10)},
        {"emb": nn.Linear(20, 64), "c1": nn.Conv2d(3, 16, 3), "fc": nn.Linear(64, 10)},
        {
            "c1": nn.Conv2d(3, 16, 3),
            "n1": nn.BatchNorm2d(32),
            "c2": nn.Conv2d(32, 16, 3),
            "n2": nn.BatchNorm2d(48),
            "fc": nn.Linear(48, 9),
        },
        {"c1": nn.Conv2d(3, 20, 3), "up": nn.Linear(20, 192), "deep": nn.Conv2d(64, 64, 3, groups=64)},
    ],
    ids=[
        "next image",
        "next network",
        "scale and shift",
        "head beside",
        "two pooled maps",
        "given before",
        "joined maps",
        "depthwise",
    ],
)
def test_what_is_no_map(layers: dict[str, nn.Module]) -> None:
    model = built(layers)
    answer = match(spec(in_keras(model)), spec(model))
    assert {m.op for m in answer.matches} <= {"rename", "transpose"} and not flagged(answer)


def test_a_kernel_over_a_whole_map_as_a_linear_layer() -> None:
    """TF-slim's VGG keeps fc6 as a convolution [height, width, in, out]; torch flattens channels first."""
    saved = nn.ModuleDict({"conv": nn.Conv2d(3, 8, 3), "fc": nn.Linear(8 * 16, 9), "out": nn.Linear(9, 4)})
    file = in_keras(saved)
    whole = saved.fc.weight.view(9, 8, 4, 4)
    file["dense_/kernel"] = whole.permute(2, 3, 1, 0).contiguous()
    answer = automatch.diagnose(file, saved)
    assert flagged(answer.assignment) == {"fc.weight"}
    with pytest.warns(UserWarning, match="by a guess"):
        assert torch.equal(answer.rules.apply(file)["fc.weight"], saved.fc.weight)


def test_layers_up_and_down_of_mlx_have_each_others_shapes() -> None:
    """A U-Net: what leads down would fit what leads up, with in and out exchanged."""
    sizes = {"d1a": (16, 3), "d1b": (16, 16), "d2a": (32, 16), "d2b": (32, 32), "u1a": (16, 32), "u1b": (16, 16)}
    model = built({name: nn.Conv2d(b, a, 3) for name, (a, b) in {**sizes, "out": (3, 16)}.items()})
    answer = match(spec(in_mlx(model)), spec(model))
    assert not flagged(answer) and len(answer.matches) == len(model.state_dict())
    assert {m.perm for m in answer.matches if m.op == "transpose"} == {(0, 3, 1, 2)}


@pytest.mark.parametrize(("width", "sure"), [(12, True), (8, False)])
def test_a_transposed_convolution_of_mlx(width: int, sure: bool) -> None:
    """[out, height, width, in] is torch's [in, out, height, width]; a square one may be a convolution."""
    model = built({"conv": nn.Conv2d(4, 8, 3), "up": nn.ConvTranspose2d(8, width, 4), "out": nn.Conv2d(width, 5, 3)})
    file = in_mlx(model)
    file["up.weight"] = model.up.weight.permute(1, 2, 3, 0).contiguous()
    answer = match(spec(file), spec(model))
    up = next(m for m in answer.matches if m.model_keys == ("up.weight",))
    assert not sure or up.perm == (3, 0, 1, 2)
    assert flagged(answer) == (set() if sure else {"up.weight"})
