"""What a pair of networks is, to the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any


def first(returned: Any) -> Any:
    """The tensor of what a forward returns: itself, or of several the first (logits or last hidden state)."""
    return returned if hasattr(returned, "shape") else returned[0]


@dataclass(frozen=True)
class Network:
    """One implementation.

    Attributes:
        library: what has to be importable.
        name: what the library calls it.
        build: makes it with random weights, nothing downloaded; imports the library inside.
        fused: the module of its fused query, key and value, where it stores their rows in an order of its own.
        rows: for so many rows, where those of query, key and value stand, in this order.
    """

    library: str
    name: str
    build: Callable[[], Any]
    fused: str = ""
    rows: Callable[[int], Any] = range

    @property
    def installed(self) -> bool:
        """Whether it can be built here."""
        return find_spec(self.library) is not None

    def __str__(self) -> str:
        return f"{self.library} {self.name}"


@dataclass(frozen=True)
class Pair:
    """Two implementations that compute the same if they have the same weights.

    Attributes:
        one: the first.
        other: the second.
        image: height and width of an image as input; 0 for texts.
        width: of vectors as input, instead; 0 for none.
    """

    one: Network
    other: Network
    image: int = 0
    width: int = 0

    def input(self) -> Any:
        """The same random input for both: two images, texts of 12 tokens or rows of 12 vectors."""
        import torch

        generator = torch.Generator().manual_seed(1)
        if not self.image and not self.width:
            return torch.randint(5, 90, (2, 12), generator=generator)
        shape = (2, 12, self.width) if self.width else (2, 3, self.image, self.image)
        return torch.rand(shape, generator=generator, dtype=torch.float64)
