"""Layers whose projections one code base keeps apart and another as one tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from tests.matching.truth import Served, Truth, spec

WIDTH = 16


def empty(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(*shape))


def stacked(make: Callable[[], nn.Module], depth: int = 3, name: str = "layers", part: str = "attn") -> nn.Module:
    """A network whose layers hold a module under test, norms and an mlp."""
    model = nn.Module()
    model.embed = nn.Embedding(50, WIDTH)
    layers = nn.ModuleList()
    for _ in range(depth):
        layer = nn.Module()
        layer.norm1 = nn.LayerNorm(WIDTH)
        setattr(layer, part, make())
        layer.norm2 = nn.LayerNorm(WIDTH)
        layer.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        layers.append(layer)
    setattr(model, name, layers)
    model.norm = nn.LayerNorm(WIDTH)
    return model


class Linears(nn.Module):
    """Linear layers by name, each from the network's width to its own."""

    def __init__(self, bias: bool = False, **widths: int) -> None:
        super().__init__()
        for name, width in widths.items():
            setattr(self, name, nn.Linear(WIDTH, width, bias=bias))


def apart(groups: int = WIDTH, bias: bool = False) -> Linears:
    """Attention with its projections apart; `groups` is the width of key and value."""
    return Linears(bias, q_proj=WIDTH, k_proj=groups, v_proj=groups, o_proj=WIDTH)


def fused(groups: int = WIDTH, bias: bool = False) -> Linears:
    """The same attention with one projection for query, key and value."""
    return Linears(bias, qkv_proj=WIDTH + 2 * groups, o_proj=WIDTH)


class Glu(nn.Module):
    def __init__(self, inner: int, fused: bool) -> None:
        super().__init__()
        if fused:
            self.gate_up_proj = nn.Linear(WIDTH, 2 * inner, bias=False)
        else:
            self.gate_proj = nn.Linear(WIDTH, inner, bias=False)
            self.up_proj = nn.Linear(WIDTH, inner, bias=False)
        self.down_proj = nn.Linear(inner, WIDTH, bias=False)


def llama(qkv: bool = False, gate_up: bool = False, depth: int = 3) -> nn.Module:
    """A language model with grouped queries and a gated mlp, either fused or not."""
    whole = nn.Module()
    whole.model = nn.Module()
    whole.model.embed_tokens = nn.Embedding(50, WIDTH)
    whole.model.layers = nn.ModuleList()
    for _ in range(depth):
        layer = nn.Module()
        layer.self_attn = fused(4) if qkv else apart(4)
        layer.mlp = Glu(40, gate_up)
        layer.input_layernorm = nn.RMSNorm(WIDTH)
        layer.post_attention_layernorm = nn.RMSNorm(WIDTH)
        whole.model.layers.append(layer)
    whole.model.norm = nn.RMSNorm(WIDTH)
    whole.lm_head = nn.Linear(WIDTH, 50, bias=False)
    return whole


META_WORDS = {
    "gate_proj": "w1",
    "up_proj": "w3",
    "down_proj": "w2",
    "q_proj": "wq",
    "k_proj": "wk",
    "v_proj": "wv",
    "o_proj": "wo",
    "self_attn": "attention",
    "mlp": "feed_forward",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "embed_tokens": "tok_embeddings",
    "lm_head": "output",
}


def to_meta(key: str) -> str:
    """The name that Meta's own code has for a key of `llama`."""
    return ".".join(META_WORDS.get(token, token) for token in key.split(".") if token != "model")


class Single(nn.Module):
    """A block that runs attention and mlp side by side, after Flux in diffusers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Module()
        self.norm.linear = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj_mlp = nn.Linear(WIDTH, 4 * WIDTH)
        self.proj_out = nn.Linear(5 * WIDTH, WIDTH)
        self.attn = nn.Module()
        self.attn.norm_q = nn.RMSNorm(4)
        self.attn.norm_k = nn.RMSNorm(4)
        self.attn.to_q = nn.Linear(WIDTH, WIDTH)
        self.attn.to_k = nn.Linear(WIDTH, WIDTH)
        self.attn.to_v = nn.Linear(WIDTH, WIDTH)


class SingleFused(nn.Module):
    """The same block as Flux's authors wrote it: query, key, value and mlp are one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1 = nn.Linear(WIDTH, 7 * WIDTH)
        self.linear2 = nn.Linear(5 * WIDTH, WIDTH)
        self.norm = nn.Module()
        self.norm.query_norm = nn.RMSNorm(4)
        self.norm.key_norm = nn.RMSNorm(4)
        self.modulation = nn.Module()
        self.modulation.lin = nn.Linear(WIDTH, 3 * WIDTH)


class Experts(nn.Module):
    """A mixture of experts: `kind` is "list", "stack" (one tensor a matrix) or "fused" (gate and up joined too)."""

    def __init__(self, kind: str, experts: int, inner: int = 40) -> None:
        super().__init__()
        self.gate = nn.Linear(WIDTH, experts, bias=False)
        if kind == "list":
            self.experts = nn.ModuleList()
            for _ in range(experts):
                one = Linears(w1=inner, w3=inner)
                one.w2 = nn.Linear(inner, WIDTH, bias=False)
                self.experts.append(one)
            return
        self.experts = nn.Module()
        if kind == "stack":
            self.experts.w1 = empty(experts, inner, WIDTH)
            self.experts.w2 = empty(experts, WIDTH, inner)
            self.experts.w3 = empty(experts, inner, WIDTH)
        else:
            self.experts.gate_up_proj = empty(experts, 2 * inner, WIDTH)
            self.experts.down_proj = empty(experts, WIDTH, inner)


def mixture(kind: str, experts: int = 6, depth: int = 3) -> nn.Module:
    """A language model with a mixture of experts in every layer."""
    model = nn.Module()
    model.embed_tokens = nn.Embedding(50, WIDTH)
    model.layers = nn.ModuleList()
    for _ in range(depth):
        layer = nn.Module()
        layer.self_attn = apart()
        layer.block_sparse_moe = Experts(kind, experts)
        layer.input_layernorm = nn.RMSNorm(WIDTH)
        layer.post_attention_layernorm = nn.RMSNorm(WIDTH)
        model.layers.append(layer)
    model.norm = nn.RMSNorm(WIDTH)
    return model


class Conv1D(nn.Module):
    """GPT-2's linear layer, stored [in, out]."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.weight = empty(before, width)
        self.bias = empty(width)


def gpt(linear: Callable[[int, int], nn.Module], depth: int = 3) -> nn.Module:
    """GPT-2 with one kind of linear layer or another."""
    model = nn.Module()
    model.wte = nn.Embedding(50, WIDTH)
    model.wpe = nn.Embedding(24, WIDTH)
    model.h = nn.ModuleList()
    for _ in range(depth):
        layer = nn.Module()
        layer.ln_1 = nn.LayerNorm(WIDTH)
        layer.attn = nn.Module()
        layer.attn.c_attn = linear(WIDTH, 3 * WIDTH)
        layer.attn.c_proj = linear(WIDTH, WIDTH)
        layer.ln_2 = nn.LayerNorm(WIDTH)
        layer.mlp = nn.Module()
        layer.mlp.c_fc = linear(WIDTH, 4 * WIDTH)
        layer.mlp.c_proj = linear(4 * WIDTH, WIDTH)
        model.h.append(layer)
    model.ln_f = nn.LayerNorm(WIDTH)
    return model


def joined(whole: object, parts: tuple[str, ...], into: str, rename: Callable[[str], str] = str) -> dict:
    """The truth of a model that joins `parts` into one tensor; other keys are called the same.

    `rename` gives the checkpoint's name for a key that still has its parts apart.
    """
    out: dict[tuple[str, ...], Served] = {}
    for key in spec(whole).keys:
        if f".{into}." in key:
            out[key,] = Served(tuple(rename(key.replace(into, part)) for part in parts), "concat")
        else:
            out[key,] = Served((rename(key),))
    return out


OTHER_WAY = {"concat": "chunk", "stack": "unstack", "stack+concat": "chunk+unstack"}


def turned(expected: Truth) -> dict[tuple[str, ...], Served]:
    """The truth of loading the other way round."""
    return {served.checkpoint: Served(keys, OTHER_WAY.get(served.op, served.op)) for keys, served in expected.items()}
