"""join_latent, split_latent: the second key and value projection of multi-head latent attention, whole and in two.

DeepSeek-V2 (2024, arXiv 2405.04434) makes keys and values of all heads from one latent vector by one matrix, of which
a head's rows are first those of its keys and then those of its values. llama.cpp and MLX multiply the keys' rows into
the query (the paper's "absorb"), and keep them for that as a tensor of their own, a matrix for each head, turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from automatch.errors import RuleError
from automatch.spec import Shape


@dataclass(frozen=True, slots=True)
class JoinLatent:
    """[heads, latent, keys] and [heads, values, latent] become [heads * (keys + values), latent]."""

    name: ClassVar[str] = "join_latent"
    reverse: ClassVar[str] = "split_latent"

    def forward(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """The one matrix (torch or numpy) of the keys' tensor and the values'.

        Raises:
            RuleError: they are not two, or do not fit together.
        """
        shape = self.out_shapes([tuple(tensor.shape) for tensor in tensors])[0]
        keys, values = tensors
        parts = (keys.swapaxes(1, 2), values)
        if hasattr(keys, "permute"):
            import torch

            if keys.is_meta:  # torch would import its compiler first, which takes seconds
                return (keys.new_empty(shape, dtype=torch.promote_types(keys.dtype, values.dtype)),)
            return (torch.cat(parts, 1).reshape(shape),)
        import numpy as np

        return (np.concatenate(parts, 1).reshape(shape),)

    def out_shapes(self, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
        """The shape that `forward` gives for tensors of these shapes."""
        keys, values = shapes if len(shapes) == 2 else ((), ())
        if len(keys) != 3 or len(values) != 3 or (keys[0], keys[1]) != (values[0], values[2]):
            raise RuleError(
                f"join_latent takes [heads, latent, keys] and [heads, values, latent], not {[*map(list, shapes)]}"
            )
        return ((keys[0] * (keys[2] + values[1]), keys[1]),)


@dataclass(frozen=True, slots=True)
class SplitLatent:
    """[heads * (keys + values), latent] becomes [heads, latent, keys] and [heads, values, latent].

    Attributes:
        shape: how many rows a head has for its keys, and for its values.
    """

    shape: tuple[int, ...] | None = None

    name: ClassVar[str] = "split_latent"
    reverse: ClassVar[str] = "join_latent"

    def forward(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """The keys' tensor and the values' (torch or numpy) of every matrix, as views of it.

        Raises:
            RuleError: a matrix has other rows.
        """
        out: list[Any] = []
        for tensor in tensors:
            (heads, latent, keys), _ = self.out_shapes([tuple(tensor.shape)])
            whole = tensor.reshape((heads, tensor.shape[0] // heads, latent))
            out += [whole[:, :keys].swapaxes(1, 2), whole[:, keys:]]
        return tuple(out)

    def out_shapes(self, shapes: Sequence[Shape]) -> tuple[Shape, ...]:
        """The shapes of the two, for every matrix."""
        out: list[Shape] = []
        for shape in shapes:
            rows = self.shape or ()
            if len(rows) != 2 or min(rows) < 1 or len(shape) != 2 or shape[0] % sum(rows) or not shape[0]:
                raise RuleError(f"split_latent with {list(rows)} rows a head does not fit a tensor of {list(shape)}")
            heads = shape[0] // sum(rows)
            out += [(heads, shape[1], rows[0]), (heads, rows[1], shape[1])]
        return tuple(out)
