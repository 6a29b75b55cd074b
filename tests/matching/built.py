"""Networks written down as paths: what is put where, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from tests.matching.transformers import turned
from tests.matching.truth import Truth, solved


def built(modules: Mapping[str, nn.Module]) -> nn.Module:
    """A network that holds these modules under these paths, registered in their order."""
    top = nn.Module()
    for path, module in modules.items():
        *way, last = path.split(".")
        node = top
        for name in way:
            if name not in dict(node.named_children()):
                node.add_module(name, nn.Module())
            node = node.get_submodule(name)
        node.add_module(last, module)
    return top


def layered(
    linears: Mapping[str, tuple[int, int]], depth: int = 3, bias: bool = True, name: str = "layers"
) -> nn.Module:
    """Layers that hold linear modules of these sizes and a norm, under an embedding."""
    modules: dict[str, nn.Module] = {"embed": nn.Embedding(50, 16)}
    for i in range(depth):
        for path, (before, width) in linears.items():
            modules[f"{name}.{i}.{path}"] = nn.Linear(before, width, bias=bias)
        modules[f"{name}.{i}.norm"] = nn.LayerNorm(16)
    return built(modules)


class Bare(nn.Module):
    """One parameter, called `w` as in JAX's modules."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(shape))


def either(swap: bool, one: object, other: object, expected: Truth) -> None:
    """Solve it the way of the truth, from `one` into `other`, or the other way round."""
    if swap:
        solved(other, one, turned(expected))
    else:
        solved(one, other, expected)
