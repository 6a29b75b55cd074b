"""Small networks and the converters that a person wrote for them."""

from __future__ import annotations

import torch
from torch import nn

HEAD = 8


class Attention(nn.Module):
    """LLaMA's attention, as its authors wrote it: rotary pairs lie beside each other."""

    def __init__(self, heads: int, groups: int) -> None:
        super().__init__()
        width = heads * HEAD
        self.wq = nn.Linear(width, width, bias=False)
        self.wk = nn.Linear(width, groups * HEAD, bias=False)
        self.wv = nn.Linear(width, groups * HEAD, bias=False)
        self.wo = nn.Linear(width, width, bias=False)


class Layer(nn.Module):
    def __init__(self, heads: int, groups: int) -> None:
        super().__init__()
        width = heads * HEAD
        self.attention = Attention(heads, groups)
        self.feed_forward = nn.ModuleDict(
            {"w1": nn.Linear(width, 3 * width, bias=False), "w2": nn.Linear(3 * width, width, bias=False),
             "w3": nn.Linear(width, 3 * width, bias=False)}
        )  # fmt: skip
        self.attention_norm = nn.RMSNorm(width)
        self.ffn_norm = nn.RMSNorm(width)


class Llama(nn.Module):
    """A LLaMA without its forward pass."""

    def __init__(self, heads: int, groups: int, layers: int) -> None:
        super().__init__()
        self.heads, self.groups = heads, groups
        self.tok_embeddings = nn.Embedding(40, heads * HEAD)
        self.layers = nn.ModuleList(Layer(heads, groups) for _ in range(layers))
        self.norm = nn.RMSNorm(heads * HEAD)
        self.output = nn.Linear(heads * HEAD, 40, bias=False)


def llama_of_hugging_face(model: Llama) -> dict[str, torch.Tensor]:
    """What transformers' `convert_llama_weights_to_hf.py` does, with gate and up in one as in newer models."""

    def permuted(weight: torch.Tensor, heads: int) -> torch.Tensor:
        return weight.view(heads, HEAD // 2, 2, -1).transpose(1, 2).reshape(weight.shape)

    old, new = model.state_dict(), {}
    new["model.embed_tokens.weight"] = old["tok_embeddings.weight"]
    for i in range(len(model.layers)):
        here, there = f"layers.{i}", f"model.layers.{i}"
        new[f"{there}.self_attn.q_proj.weight"] = permuted(old[f"{here}.attention.wq.weight"], model.heads)
        new[f"{there}.self_attn.k_proj.weight"] = permuted(old[f"{here}.attention.wk.weight"], model.groups)
        new[f"{there}.self_attn.v_proj.weight"] = old[f"{here}.attention.wv.weight"]
        new[f"{there}.self_attn.o_proj.weight"] = old[f"{here}.attention.wo.weight"]
        gate, up = old[f"{here}.feed_forward.w1.weight"], old[f"{here}.feed_forward.w3.weight"]
        new[f"{there}.mlp.gate_up_proj.weight"] = torch.cat([gate, up])
        new[f"{there}.mlp.down_proj.weight"] = old[f"{here}.feed_forward.w2.weight"]
        new[f"{there}.input_layernorm.weight"] = old[f"{here}.attention_norm.weight"]
        new[f"{there}.post_attention_layernorm.weight"] = old[f"{here}.ffn_norm.weight"]
    new["model.norm.weight"] = old["norm.weight"]
    new["lm_head.weight"] = old["output.weight"]
    return {key: tensor.contiguous() for key, tensor in new.items()}


def gpt2(layers: int, width: int) -> dict[str, torch.Tensor]:
    """A GPT-2 as it begins: kernels [in, out], biases of zeros, the same mask in each layer, a tied head."""
    out = {"wte.weight": torch.randn(30, width)}
    mask = torch.tril(torch.ones(6, 6)).view(1, 1, 6, 6).bool()
    for i in range(layers):
        block = f"h.{i}"
        for name in ("ln_1", "ln_2"):
            out[f"{block}.{name}.weight"], out[f"{block}.{name}.bias"] = torch.ones(width), torch.zeros(width)
        out[f"{block}.attn.bias"] = mask.clone()
        for name, shape in (("attn.c_attn", (width, 3 * width)), ("attn.c_proj", (width, width)),
                            ("mlp.c_fc", (width, 4 * width)), ("mlp.c_proj", (4 * width, width))):  # fmt: skip
            out[f"{block}.{name}.weight"], out[f"{block}.{name}.bias"] = torch.randn(shape), torch.zeros(shape[1])
    out["lm_head.weight"] = out["wte.weight"].clone()
    return out


def gpt2_in_pieces(old: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same with Linear layers of its own for queries, keys and values; without the masks."""
    new = {"embed.weight": old["wte.weight"]}
    for i in range(sum(key.endswith("c_attn.weight") for key in old)):
        for there, here in (("norm1", "ln_1"), ("norm2", "ln_2")):
            for leaf in ("weight", "bias"):
                new[f"blocks.{i}.{there}.{leaf}"] = old[f"h.{i}.{here}.{leaf}"]
        weights = old[f"h.{i}.attn.c_attn.weight"].chunk(3, 1)
        biases = old[f"h.{i}.attn.c_attn.bias"].chunk(3)
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            new[f"blocks.{i}.attention.{name}.weight"], new[f"blocks.{i}.attention.{name}.bias"] = weight.T, bias
        for there, here in (("attention.out", "attn.c_proj"), ("mlp.up", "mlp.c_fc"), ("mlp.down", "mlp.c_proj")):
            new[f"blocks.{i}.{there}.weight"] = old[f"h.{i}.{here}.weight"].T
            new[f"blocks.{i}.{there}.bias"] = old[f"h.{i}.{here}.bias"]
    new["head.weight"] = old["lm_head.weight"]
    return {key: tensor.clone().contiguous() for key, tensor in new.items()}


def mixtral(layers: int, experts: int, width: int) -> dict[str, torch.Tensor]:
    """Experts in modules of their own."""
    out = {}
    for i in range(layers):
        out[f"model.layers.{i}.block_sparse_moe.gate.weight"] = torch.randn(experts, width)
        for e in range(experts):
            expert = f"model.layers.{i}.block_sparse_moe.experts.{e}"
            out[f"{expert}.w1.weight"] = torch.randn(2 * width, width)
            out[f"{expert}.w2.weight"] = torch.randn(width, 2 * width)
            out[f"{expert}.w3.weight"] = torch.randn(2 * width, width)
    return out


def mixtral_fused(old: dict[str, torch.Tensor], experts: int) -> dict[str, torch.Tensor]:
    """The experts of a layer in two tensors, as transformers has them since version 5."""
    new = {}
    for i in range(sum(key.endswith("gate.weight") for key in old)):
        here, there = f"model.layers.{i}.block_sparse_moe", f"model.layers.{i}.mlp"
        new[f"{there}.gate.weight"] = old[f"{here}.gate.weight"]
        stacks = [torch.stack([old[f"{here}.experts.{e}.w{n}.weight"] for e in range(experts)]) for n in (1, 2, 3)]
        new[f"{there}.experts.gate_up_proj"] = torch.cat([stacks[0], stacks[2]], dim=1)
        new[f"{there}.experts.down_proj"] = stacks[1]
    return new


class Net(nn.Module):
    """A small convolutional network with everything that a BatchNorm keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleList(nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)) for _ in range(3))
        self.classifier = nn.Linear(4, 3)


def trained(model: nn.Module) -> nn.Module:
    """The model with random values everywhere, statistics that are no longer those of the beginning."""
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) if key.endswith("var") else torch.randn_like(tensor))
    return model
