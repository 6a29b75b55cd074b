"""The same numbers in another layout: transposed kernels, 1x1 convolutions, heads kept apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import automatch
from automatch.matching import match
from automatch.matching.basis.leaves import leaves_of
from automatch.matching.keys.adopted import adopt
from tests.matching.networks import Encoder, HfEncoder, Vgg, to_hf
from tests.matching.transformers import WIDTH, Conv1D, empty, gpt, stacked
from tests.matching.truth import Served, Truth, flagged, found, solved, spec


def both_ways(mine: object, other: object, expected: Truth) -> None:
    solved(mine, other, expected)
    solved(other, mine, {served.checkpoint: Served(keys, served.op) for keys, served in expected.items()})


def same_names(model: nn.Module, op: Callable[[str], str]) -> dict[tuple[str, ...], Served]:
    return {(key,): Served((key,), op(key)) for key in spec(model).keys}


def test_gpt2_stores_its_linear_layers_transposed() -> None:
    """The square ones as well, which no shape can show; embeddings and norms are stored as everywhere."""
    expected = same_names(gpt(nn.Linear), lambda k: "transpose" if ".c_" in k and k.endswith("weight") else "rename")
    both_ways(gpt(Conv1D), gpt(nn.Linear), expected)


def test_nothing_is_transposed_where_both_sides_agree() -> None:
    for kind in (Conv1D, nn.Linear):
        both_ways(gpt(kind), gpt(kind), same_names(gpt(kind), lambda key: "rename"))


def apart(depth: int = 3) -> nn.Module:
    """GPT with query, key and value apart, after the first minGPT."""
    model = nn.Module()
    model.tok_emb = nn.Embedding(50, WIDTH)
    model.pos_emb = nn.Embedding(24, WIDTH)
    model.blocks = nn.ModuleList()
    for _ in range(depth):
        layer = nn.Module()
        layer.ln1 = nn.LayerNorm(WIDTH)
        layer.ln2 = nn.LayerNorm(WIDTH)
        layer.attn = nn.Module()
        for name in ("key", "query", "value", "proj"):
            setattr(layer.attn, name, nn.Linear(WIDTH, WIDTH))
        layer.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        model.blocks.append(layer)
    model.ln_f = nn.LayerNorm(WIDTH)
    return model


def from_gpt2(key: str) -> tuple[tuple[str, ...], Served]:
    path, role = key.rsplit(".", 1)
    if not path.startswith("h."):
        return (f"{ {'wte': 'tok_emb', 'wpe': 'pos_emb'}.get(path, path) }.{role}",), Served((key,))
    _, number, part = path.split(".", 2)
    transposed = "transpose" if ".c_" in path and role == "weight" else ""
    if part == "attn.c_attn":
        names = ("attn.query", "attn.key", "attn.value")
        op = "transpose+chunk" if transposed else "chunk"
    else:
        parts = {"ln_1": "ln1", "ln_2": "ln2", "attn.c_proj": "attn.proj", "mlp.c_fc": "mlp.0", "mlp.c_proj": "mlp.2"}
        names, op = (parts[part],), transposed or "rename"
    return tuple(f"blocks.{number}.{name}.{role}" for name in names), Served((key,), op)


def test_transposed_and_fused_at_once() -> None:
    solved(gpt(Conv1D), apart(), dict(map(from_gpt2, spec(gpt(Conv1D)).keys)))


def tensorflow(model: nn.Module) -> tuple[dict[str, torch.Tensor], dict[tuple[str, ...], Served]]:
    """A model's tensors as TensorFlow stores them, and the truth."""
    out, expected = {}, {}
    for key, tensor in model.state_dict().items():
        name, op = key.replace(".", "/"), "rename"
        if "norm" in key.lower():
            name = name.replace("weight", "gamma").replace("bias", "beta")
        elif "embed" in key:
            name = name.replace("weight", "embeddings")
        elif key.endswith("weight"):
            name, op = name.replace("weight", "kernel"), "transpose"
            tensor = tensor.permute(*range(2, tensor.ndim), 1, 0)
        out[name] = tensor
        expected[key,] = Served((name,), op)
    return out, expected


@pytest.mark.parametrize("in_order", [True, False], ids=["in order", "sorted by name"])
def test_kernels_of_tensorflow(in_order: bool) -> None:
    """`kernel` is [in, out] by convention, also where all are square; files are often sorted by name."""
    for model in (Encoder(), Encoder(inner=16)):
        tensors, expected = tensorflow(model)
        both_ways(tensors if in_order else {key: tensors[key] for key in sorted(tensors)}, model, expected)


def test_kernels_of_tensorflow_in_another_code_base() -> None:
    tensors, expected = tensorflow(Encoder())
    expected = {(to_hf(*keys),): served for keys, served in expected.items()}
    both_ways({key: tensors[key] for key in sorted(tensors)}, HfEncoder(), expected)


def test_kernels_of_convolutions() -> None:
    """[height, width, in, out] of TensorFlow is [out, in, height, width] of torch."""
    model = Vgg([3, 8, 16, 16])
    tensors, expected = tensorflow(model)
    assignment = solved(tensors, model, expected)
    perms = {m.perm for m in assignment.matches if m.model_keys[0].startswith("features") and m.op == "transpose"}
    assert perms == {(3, 2, 0, 1)}


class Vit(nn.Module):
    """A vision transformer whose mlps are linear layers or 1x1 convolutions."""

    def __init__(self, conv: bool) -> None:
        super().__init__()

        def layer(before: int, width: int) -> nn.Module:
            return nn.Conv2d(before, width, 1) if conv else nn.Linear(before, width)

        self.patch_embed = nn.Conv2d(3, WIDTH, 4)
        self.cls_token = empty(1, 1, WIDTH)
        self.pos_embed = empty(1, 17, WIDTH)
        self.blocks = nn.ModuleList()
        for _ in range(3):
            block = nn.Module()
            block.norm1 = nn.LayerNorm(WIDTH)
            block.qkv = nn.Linear(WIDTH, 3 * WIDTH)
            block.proj = nn.Linear(WIDTH, WIDTH)
            block.norm2 = nn.LayerNorm(WIDTH)
            block.fc1 = layer(WIDTH, 4 * WIDTH)
            block.fc2 = layer(4 * WIDTH, WIDTH)
            self.blocks.append(block)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = layer(WIDTH, 10)


def test_convolutions_of_size_one_are_linear_layers() -> None:
    expected = same_names(
        Vit(False), lambda k: "reshape" if k.endswith("weight") and ("fc" in k or "head" in k) else "rename"
    )
    both_ways(Vit(True), Vit(False), expected)


class Heads(nn.Module):
    """Attention whose projections keep the heads apart, or not."""

    def __init__(self, apart: bool, heads: int = 4) -> None:
        super().__init__()
        size = WIDTH // heads
        for name in ("query", "key", "value"):
            module = nn.Module()
            module.weight = empty(heads, size, WIDTH) if apart else empty(WIDTH, WIDTH)
            module.bias = empty(heads, size) if apart else empty(WIDTH)
            setattr(self, name, module)
        self.out = nn.Module()
        self.out.weight = empty(WIDTH, heads, size) if apart else empty(WIDTH, WIDTH)
        self.out.bias = empty(WIDTH)


def test_heads_kept_apart() -> None:
    mine, model = stacked(lambda: Heads(True)), stacked(lambda: Heads(False))
    expected = same_names(
        model, lambda key: "reshape" if ".attn." in key and not key.endswith("out.bias") else "rename"
    )
    both_ways(mine, model, expected)


def test_heads_kept_apart_and_transposed() -> None:
    """flax: query/kernel is [in, heads, size], out/kernel is [heads, size, out]."""
    model = stacked(lambda: Heads(False))
    tensors, expected = {}, {}
    for key, tensor in model.state_dict().items():
        attention = ".attn." in key
        name, ops = key.replace(".", "/"), []
        if "norm" in key:
            name = name.replace("weight", "scale")
        elif "embed" in key:
            name = name.replace("weight", "embedding")
        elif key.endswith("weight"):
            name, tensor = name.replace("weight", "kernel"), tensor.t()
            ops = ["reshape", "transpose"] if attention else ["transpose"]
            ops = ops[::-1] if attention and ".out." in key else ops
            if attention:
                tensor = tensor.reshape(4, 4, WIDTH) if ".out." in key else tensor.reshape(WIDTH, 4, 4)
        elif attention and ".out." not in key:
            tensor, ops = tensor.reshape(4, 4), ["reshape"]
        tensors[name] = tensor
        expected[key,] = Served((name,), "+".join(ops) or "rename")
    solved(tensors, model, expected)
    solved({key: tensors[key] for key in sorted(tensors)}, model, expected)


def test_the_loaded_network_computes_the_same() -> None:
    """Every layer is square: only the name `kernel` tells that it is transposed."""
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(6, 6) for _ in range(4)])
    kernels = {
        f"dense_{number}/{'kernel' if role == 'weight' else role}": tensor.t() if tensor.ndim == 2 else tensor
        for number, layer in enumerate(model)
        for role, tensor in layer.state_dict().items()
    }
    other = nn.Sequential(*[nn.Linear(6, 6) for _ in range(4)])
    automatch.load(other, kernels)
    x = torch.randn(3, 6)
    assert torch.equal(model(x), other(x))


@pytest.mark.parametrize("bias", [True, False])
def test_kernels_that_are_tensors_of_one_module(bias: bool) -> None:
    """`fc1_kernel` and `fc2_kernel` beside each other are square: a file that says kernel stores [in, out]."""
    torch.manual_seed(0)
    model = nn.ModuleDict({name: nn.Linear(6, 6, bias) for name in ("fc1", "fc2", "out")})
    kernels = {
        key.replace(".weight", "_kernel").replace(".", "_"): tensor.t() if tensor.ndim == 2 else tensor
        for key, tensor in model.state_dict().items()
    }
    other = nn.ModuleDict({name: nn.Linear(6, 6, bias) for name in ("fc1", "fc2", "out")})
    automatch.load(other, kernels)
    assert all(torch.equal(tensor, other.state_dict()[key]) for key, tensor in model.state_dict().items())


def test_parameters_called_kernels_that_fit_as_they_are_stand() -> None:
    """Matrices of the same names show that this file stores [out, in], whatever it calls them."""
    shapes = {"query": (16, 16), "key": (16, 16), "up": (64, 16), "down": (16, 64)}
    file = [("table", (100, 16))] + [(f"b.{i}.{n}_kernel", s) for i in range(3) for n, s in shapes.items()]
    model = [("emb.weight", (100, 16))] + [(f"b.{i}.{n}.weight", s) for i in range(3) for n, s in shapes.items()]
    solved(file, model, {(t,): Served((s,)) for (s, _), (t, _) in zip(file, model, strict=True)})


def test_kernels_of_one_cell_lie_alike() -> None:
    """A cell written by hand: its `input_kernel` and its `recurrent_kernel` are both [in, out]."""
    shapes = {"input": (16, 16), "recurrent": (16, 16)}
    file = [(f"rnn{i}/{n}_kernel", s) for i in range(2) for n, s in shapes.items()] + [("out/kernel", (16, 3))]
    model = [(f"cells.{i}.{n}.weight", s) for i in range(2) for n, s in shapes.items()] + [("out.weight", (3, 16))]
    expected = {(t,): Served((s,), "transpose") for (s, _), (t, _) in zip(file, model, strict=True)}
    assert found(match(spec(file), spec(model))) == expected


def test_a_square_kernel_among_convolutions_and_transposed_ones_is_a_guess() -> None:
    """flax stores both [size, in, out]; torch's transposed one is [in, out, size], and a square one shows neither.

    The one that shows it is flagged as well: torch's is its mirror image.
    """
    file = [("up0/kernel", (4, 8, 8)), ("up1/kernel", (4, 8, 4)), ("conv/kernel", (3, 4, 2))]
    file += [("up0/bias", (8,)), ("up1/bias", (4,)), ("conv/bias", (2,))]
    model = [("up0.weight", (8, 8, 4)), ("up1.weight", (8, 4, 4)), ("conv.weight", (2, 4, 3))]
    model += [("up0.bias", (8,)), ("up1.bias", (4,)), ("conv.bias", (2,))]
    assert flagged(match(spec(file), spec(model))) == {"up0.weight", "up1.weight"}


@pytest.mark.parametrize("sides", [1, 2], ids=["Conv1d", "Conv2d"])
def test_depthwise_kernels(sides: int) -> None:
    """[size, channels, 1] of TensorFlow is [channels, 1, size] of torch."""
    size = (5,) * sides
    file, model = [("emb/embeddings", (50, 8))], [("emb.weight", (50, 8))]
    expected = {("emb.weight",): Served(("emb/embeddings",))}
    for i in range(3):
        file += [(f"l{i}/depthwise_kernel", (*size, 8, 1)), (f"l{i}/pointwise_kernel", (*(1,) * sides, 8, 6))]
        model += [(f"l.{i}.depthwise.weight", (8, 1, *size)), (f"l.{i}.pointwise.weight", (6, 8, *(1,) * sides))]
        for name in ("depthwise", "pointwise"):
            expected[f"l.{i}.{name}.weight",] = Served((f"l{i}/{name}_kernel",), "transpose")
    solved(file, model, expected)


class Kernels(nn.Module):
    """q, k and v apart, each stored [in, out] under the name that such tensors have."""

    def __init__(self) -> None:
        super().__init__()
        for part in "qkv":
            self.add_module(part, nn.Module())
            self.get_submodule(part).kernel = nn.Parameter(torch.zeros(8, 8))
            self.get_submodule(part).bias = nn.Parameter(torch.zeros(8))
        self.up = nn.Module()
        self.up.kernel = nn.Parameter(torch.zeros(8, 32))
        self.up.bias = nn.Parameter(torch.zeros(32))


def test_a_fused_tensor_is_cut_before_its_pieces_are_transposed() -> None:
    """What was done to the model's side to compare it is undone in the opposite order."""
    torch.manual_seed(0)
    checkpoint = nn.ModuleDict({"qkv": nn.Linear(8, 24), "up": nn.Linear(8, 32)})
    model = Kernels()
    automatch.load(model, checkpoint.state_dict())
    loaded = model.state_dict()
    for part, piece in zip("qkv", checkpoint["qkv"].weight.chunk(3), strict=True):
        assert torch.equal(loaded[f"{part}.kernel"], piece.t())
    assert torch.equal(loaded["up.kernel"], checkpoint["up"].weight.t())


@pytest.mark.parametrize("lying", [False, True], ids=["[experts, 2 * out, in]", "[experts, in, 2 * out]"])
def test_experts_that_lie_where_all_else_stands(lying: bool) -> None:
    """Llama 4 keeps its experts [experts, in, out], gate and up beside each other, and its linear layers [out, in]."""
    experts, width, inner = 4, 16, 24
    checkpoint: list[tuple[str, tuple[int, ...]]] = []
    model: list[tuple[str, tuple[int, ...]]] = []
    expected: dict[tuple[str, ...], Served] = {}
    for i in range(3):
        checkpoint += [(f"blk.{i}.ffn_{n}_exps.weight", (experts, inner, width)) for n in ("gate", "up")]
        checkpoint += [
            (f"blk.{i}.ffn_down_exps.weight", (experts, width, inner)),
            (f"blk.{i}.attn_q.weight", (40, width)),
        ]
        both, down = f"layers.{i}.experts.gate_up_proj", f"layers.{i}.experts.down_proj"
        model += [(both, (experts, width, 2 * inner) if lying else (experts, 2 * inner, width))]
        model += [(down, (experts, inner, width) if lying else (experts, width, inner))]
        model += [(f"layers.{i}.attn.q_proj.weight", (40, width))]
        joined = "transpose+concat" if lying else "concat"  # lying, they may lie by turns, which is flagged
        expected[(both,)] = Served((checkpoint[-4][0], checkpoint[-3][0]), joined)
        expected[(down,)] = Served((checkpoint[-2][0],), "transpose" if lying else "rename")
        expected[(model[-1][0],)] = Served((checkpoint[-1][0],))
    if not lying:
        solved(checkpoint, model, expected)
        return
    assignment = match(spec(checkpoint), spec(model))
    assert found(assignment) == expected
    assert flagged(assignment) == {f"layers.{i}.experts.gate_up_proj" for i in range(3)}
    back = {
        served.checkpoint: Served(keys, "chunk+transpose" if "concat" in served.op else served.op)
        for keys, served in expected.items()
    }
    assert found(match(spec(model), spec(checkpoint))) == back


def test_a_linear_layer_over_frames_says_no_order() -> None:
    """An x-vector's TDNN unfolds its frames place by place, and a Conv1d takes them channel by channel."""
    given = [("frame1.kernel.weight", (32, 60)), ("frame1.kernel.bias", (32,)), ("out.weight", (7, 32))]
    wanted = [("tdnn.0.conv.weight", (32, 12, 5)), ("tdnn.0.conv.bias", (32,)), ("out.weight", (7, 32))]
    assert flagged(match(spec(given), spec(wanted))) == {"tdnn.0.conv.weight"}


def test_a_column_that_becomes_a_row_is_turned() -> None:
    given = [("att.word.weight", (9, 8)), ("att.context", (8, 1)), ("fc.weight", (3, 8))]
    wanted = [("attention.proj.weight", (9, 8)), ("attention.query.weight", (1, 8)), ("fc.weight", (3, 8))]
    answer = found(match(spec(given), spec(wanted)))
    assert answer["attention.query.weight",] == Served(("att.context",), "transpose")


def test_the_kernels_of_a_separable_layer_are_no_modules() -> None:
    """`sep/depthwise_kernel` and `sep/pointwise_kernel` are tensors of one layer, and `mlp/fc_kernel` is a layer."""
    keys = {"sep/depthwise_kernel": (3, 3, 8, 1), "sep/pointwise_kernel": (1, 1, 8, 6), "mlp/fc_kernel": (8, 6)}
    leaves = leaves_of(spec(list(keys.items())))
    adopt(leaves, [])
    assert [leaf.path for leaf in leaves] == [
        ("sep", "depthwise_kernel"),
        ("sep", "pointwise_kernel"),
        ("mlp", "fc", "kernel"),
    ]


def test_what_a_quantized_matrix_is_packed_in_is_not_turned() -> None:
    """AWQ's scales look transposed where other parts have lost tensors; they are joined as they lie."""
    sizes = {"q_proj": 512, "k_proj": 128, "v_proj": 128, "o_proj": 512, "gate_proj": 1408, "up_proj": 1408}
    joined = {"qkv_proj": 768, "o_proj": 512, "gate_up_proj": 2816}

    def packed(names: dict[str, int], lost: str) -> list[tuple[str, tuple[int, ...]]]:
        keys = []
        for i in range(2):
            for name, width in names.items():
                home = f"layers.{i}.{'mlp' if 'gate' in name or 'up' in name else 'self_attn'}.{name}"
                keys += [(f"{home}.qweight", (512, width // 8)), (f"{home}.qzeros", (4, width // 8))]
                keys += [(f"{home}.scales", (4, width))]
                keys += [(f"{home}.bias", (width,))] if name in ("q_proj", "k_proj", "v_proj") else []
            down = f"layers.{i}.mlp.down_proj"
            keys += [(f"{down}.qweight", (1408, 64)), (f"{down}.qzeros", (11, 64)), (f"{down}.scales", (11, 512))]
        return [(key, shape) for key, shape in keys if not key.endswith(lost)]

    answer = match(spec(packed(sizes, "k_proj.qzeros")), spec(packed(joined, "qkv_proj.bias")))
    fused = {m.model_keys[0]: m.op for m in answer.matches if "gate_up" in m.model_keys[0]}
    assert len(fused) == 6 and set(fused.values()) == {"concat"}
