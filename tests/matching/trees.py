"""Random networks and random renamings for properties."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from torch import nn

WORDS = ["conv", "norm", "attn", "q", "k", "v", "fc1", "fc2", "mlp", "layers", "block", "head", "embed", "zeta", "w1"]
OTHERS = [
    "red",
    "green",
    "blue",
    "grey",
    "pink",
    "teal",
    "lime",
    "navy",
    "rose",
    "gold",
    "rust",
    "plum",
    "mint",
    "sand",
]
SIZES = st.sampled_from([2, 3, 4, 6])


@st.composite
def modules(draw: st.DrawFn) -> nn.Module:
    """One module with parameters, of the usual kinds."""
    a, b = draw(SIZES), draw(SIZES)
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return nn.Linear(a, b, bias=draw(st.booleans()))
    if kind == 1:
        return nn.Conv2d(a, b, draw(st.sampled_from([1, 3])), bias=draw(st.booleans()))
    if kind == 2:
        return nn.BatchNorm2d(a)
    if kind == 3:
        return nn.LayerNorm(a)
    if kind == 4:
        return nn.Embedding(12, a)
    return nn.Linear(a, a)


def copies(module: nn.Module, count: int) -> nn.ModuleList:
    """A list of equal blocks. The module itself stands in it several times: that is enough for its keys."""
    return nn.ModuleList([module] * count)


def containers(children: st.SearchStrategy[nn.Module]) -> st.SearchStrategy[nn.Module]:
    named = st.dictionaries(st.sampled_from(WORDS), children, min_size=1, max_size=4).map(nn.ModuleDict)
    return st.one_of(
        named,
        st.lists(children, min_size=1, max_size=3).map(lambda found: nn.Sequential(*found)),
        st.builds(copies, children, st.integers(1, 4)),
    )


NETWORKS = st.recursive(modules(), containers, max_leaves=8).filter(lambda module: "weight" not in module._parameters)
"""Random trees of modules; never a bare module, whose keys would have no path."""


@dataclass(frozen=True)
class Renaming:
    """New names for tokens (the same wherever they stand), behind a prefix; None for what is dropped."""

    names: dict[str, str]
    prefix: str
    dropped: frozenset[str]

    def __call__(self, key: str) -> str | None:
        if key in self.dropped:
            return None
        *path, role = key.split(".")
        return self.prefix + ".".join([*(self.names.get(token, token) for token in path), role])


@st.composite
def renamings(draw: st.DrawFn, keys: tuple[str, ...], drop: bool = False) -> Renaming:
    """A renaming that keeps different keys apart."""
    tokens = list(dict.fromkeys(token for key in keys for token in key.split(".")[:-1] if not token.isdigit()))
    chosen = draw(st.lists(st.sampled_from(tokens), unique=True, max_size=len(tokens))) if tokens else []
    new = draw(st.permutations(OTHERS)) if chosen else []
    dropped = draw(st.sets(st.sampled_from(keys), max_size=len(keys) - 1)) if drop and len(keys) > 1 else set()
    prefix = draw(st.sampled_from(["", "", "module.", "net.body."]))
    return Renaming(dict(zip(chosen, new, strict=False)), prefix, frozenset(dropped))
