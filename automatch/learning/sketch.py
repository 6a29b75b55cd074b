"""Sketches: sums over the bits of a tensor that tell which tensors can hold the same values, whatever their layout.

The sum over all bits stays where elements are reordered, and adds up where tensors are joined. The sums over the slices
across one dimension (*fibres*) move with the slices: a transposed tensor has the same fibres along another dimension, a
concatenated one has those of its parts one after the other, one with permuted rows has the same in another order.
Equal sums are candidates; only the exact comparison decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from automatch.learning.forms import bits_in, blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST_VECTOR = 1 << 22
"""A longer vector (a whole network in one) has no fibres: each would be one element."""


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """The sums of one tensor in one form.

    Attributes:
        size: how many elements it has.
        total: the sum over all, modulo 2**64.
        fibres: for each dimension, the sums over the slices across it.
    """

    size: int
    total: int
    fibres: tuple[NDArray[Any], ...]

    @property
    def is_even(self) -> bool:
        """Whether all slices across each dimension have one sum, as in a tensor of zeros or ones."""
        return self.size < 2 or all(bool((fibres == fibres[0]).all()) for fibres in self.fibres if len(fibres))


def sketch(array: NDArray[Any], dtype: str, form: str) -> Sketch:
    """Sum up a tensor, block by block.

    Args:
        array: its values.
        dtype: torch's word for their dtype.
        form: the form in which they are compared.
    """
    import numpy as np

    fibres = tuple(np.zeros(size, np.uint64) for size in array.shape)
    total = 0
    for cut in blocks(array.shape):
        bits = bits_in(array[cut], dtype, form)
        if bits.ndim < 2:
            sums = [bits.astype(np.uint64)] if bits.ndim else []
            total += int(bits.sum(dtype=np.uint64))
        else:
            sums = _fibres(bits)
            total += int(sums[0].sum(dtype=np.uint64))
        for fibre, place, one in zip(fibres, cut, sums, strict=True):
            fibre[place] += one
    return Sketch(array.size, total % 2**64, () if array.ndim == 1 and array.size > LONGEST_VECTOR else fibres)


def _fibres(bits: NDArray[Any]) -> list[NDArray[Any]]:
    """The sums across each dimension, from the last to the first on ever smaller tensors."""
    import numpy as np

    last = bits.sum(axis=tuple(range(bits.ndim - 1)), dtype=np.uint64)
    rest = bits.sum(axis=-1, dtype=np.uint64)
    return [*(_fibres(rest) if rest.ndim > 1 else [rest]), last]
