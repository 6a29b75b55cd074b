"""Small real networks whose checkpoints go wrong in the usual ways."""

from __future__ import annotations

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class Encoder(nn.Module):
    def __init__(self, layers: int = 4, width: int = 16, classes: int = 10, vocabulary: int = 50) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Block(width) for _ in range(layers))
        self.classifier = nn.Linear(width, classes)


class ConvNet(nn.Module):
    def __init__(self, width: int = 8, classes: int = 10, channels: int = 3, weight_norm: str = "") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.fc = nn.Linear(2 * width, classes)
        if weight_norm == "old":
            self.conv1, self.conv2 = (torch.nn.utils.weight_norm(c) for c in (self.conv1, self.conv2))
        if weight_norm == "new":
            for conv in (self.conv1, self.conv2):
                torch.nn.utils.parametrizations.weight_norm(conv)


def lora(model: nn.Module) -> dict[str, torch.Tensor]:
    """The keys that peft saves for an adapter on the attention of every layer."""
    adapter = {}
    for key, tensor in model.state_dict().items():
        if key.endswith("attn.weight"):
            stem = "base_model.model." + key.removesuffix(".weight")
            adapter[f"{stem}.lora_A.weight"] = torch.zeros(4, tensor.shape[1])
            adapter[f"{stem}.lora_B.weight"] = torch.zeros(tensor.shape[0], 4)
    return adapter


def quantized(model: nn.Module) -> dict[str, torch.Tensor]:
    """The keys that bitsandbytes saves: packed bytes and their statistics."""
    out = {}
    for key, tensor in model.state_dict().items():
        if tensor.ndim == 2 and "embedding" not in key:
            out[key] = torch.zeros(tensor.numel() // 2, 1, dtype=torch.uint8)
            out[f"{key}.absmax"] = torch.zeros(tensor.numel() // 64 + 1, dtype=torch.uint8)
            out[f"{key}.quant_map"] = torch.zeros(16)
            out[f"{key}.quant_state.bitsandbytes__nf4"] = torch.zeros(90, dtype=torch.uint8)
        else:
            out[key] = tensor
    return out
