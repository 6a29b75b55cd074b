"""What can happen to tensors on their way from a checkpoint into a model, one file each.

Every operation is a frozen description with `name`, `reverse` (the name of the operation
that undoes it), `forward(tensors)` and its law of shapes `out_shapes(shapes)`. They work on
torch tensors and numpy arrays alike; torch is imported only where tensors are joined.
"""

from __future__ import annotations

from automatch.ops.chunks import Chunk
from automatch.ops.concat import Concat
from automatch.ops.flip import Flip
from automatch.ops.interleave import Interleave, exchanged
from automatch.ops.latent import JoinLatent, SplitLatent
from automatch.ops.permute import Permute
from automatch.ops.reshape import Reshape, kept_places, relative_shape
from automatch.ops.stack import Stack
from automatch.ops.transpose import Transpose
from automatch.ops.unstack import Unstack

Op = Transpose | Permute | Interleave | Flip | Reshape | Concat | Chunk | Stack | Unstack | JoinLatent | SplitLatent
OPS = (Transpose, Permute, Interleave, Flip, Reshape, Concat, Chunk, Stack, Unstack, JoinLatent, SplitLatent)

__all__ = [
    "OPS",
    "Chunk",
    "Concat",
    "Flip",
    "Interleave",
    "JoinLatent",
    "Op",
    "Permute",
    "Reshape",
    "SplitLatent",
    "Stack",
    "Transpose",
    "Unstack",
    "exchanged",
    "kept_places",
    "relative_shape",
]
