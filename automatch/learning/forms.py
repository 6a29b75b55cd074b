"""In which form two values can be compared, and their bits in it: a conversion may have cast the weights.

Of two floats the narrower is the form: the other is rounded to it, to the nearest and ties to even, as torch does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any

from automatch.learning.arrays import word_of
from automatch.spec import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOATS = {"float64": 3, "float32": 2, "bfloat16": 1, "float16": 1}
"""Floats that can be rounded, with their rank."""

WHOLE = "whole numbers"
BLOCK = 1 << 18
"""So many elements are looked at at once: what is made of them stays in the processor's cache."""


def form_of(original: str, converted: str) -> str | None:
    """The form in which values of two dtypes are compared; None where they cannot be."""
    if original in FLOATS and converted in FLOATS:
        return original if FLOATS[original] < FLOATS[converted] else converted
    if _is_whole(original) and _is_whole(converted):
        return WHOLE
    return original if original == converted and word_of(original) and original != "complex128" else None


def _is_whole(dtype: str) -> bool:
    return dtype == "bool" or dtype.startswith(("int", "uint"))


def bits_in(array: NDArray[Any], dtype: str, form: str) -> NDArray[Any]:
    """The bits of values of one dtype in a form, as unsigned integers of the same shape."""
    import numpy as np

    if form == WHOLE:
        return array.astype(np.int64).view(np.uint64)
    if dtype == form:
        return array.view(np.dtype(f"u{array.dtype.itemsize}"))
    floats = _bfloat_to_float(array) if dtype == "bfloat16" else array
    if form == "bfloat16":
        return _float_to_bfloat(floats.astype(np.float32, copy=False))
    with np.errstate(over="ignore"):
        cast = floats.astype(np.dtype({"float16": "f2", "float32": "f4", "float64": "f8"}[form]))
    return cast.view(np.dtype(f"u{cast.dtype.itemsize}"))


def floats_of(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Values of a float dtype as float32 or float64."""
    import numpy as np

    if dtype == "bfloat16":
        return _bfloat_to_float(array)
    return array.astype(np.float32) if dtype == "float16" else array


def _bfloat_to_float(bits: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    floats: NDArray[Any] = (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return floats


def _float_to_bfloat(floats: NDArray[Any]) -> NDArray[Any]:
    """Round to nearest, ties to even; not a number stays so."""
    import numpy as np

    bits = np.ascontiguousarray(floats).view(np.uint32)
    rounded = bits >> np.uint32(16)
    rounded &= np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += bits
    rounded >>= np.uint32(16)
    odd = np.isnan(floats)
    if odd.any():
        rounded[odd] = 0x7FC0
    narrow: NDArray[Any] = rounded.astype(np.uint16)
    return narrow


def blocks(shape: Shape, limit: int = BLOCK) -> Iterator[tuple[slice, ...]]:
    """Slices that cut a tensor of a shape into blocks of at most `limit` elements, in order."""
    if 0 in shape:
        return
    if prod(shape) <= limit:
        yield tuple(slice(0, size) for size in shape)
        return
    row = prod(shape[1:])
    step = max(1, limit // row)
    inner = [tuple(slice(0, size) for size in shape[1:])] if row <= limit else list(blocks(shape[1:], limit))
    for start in range(0, shape[0], step):
        for rest in inner:
            yield (slice(start, min(start + step, shape[0])), *rest)


def equal_bits(original: NDArray[Any], dtype: str, converted: NDArray[Any], other: str, form: str) -> bool:
    """Whether two arrays of one shape hold the same values in a form, looked at block by block."""
    import numpy as np

    return all(
        np.array_equal(bits_in(original[cut], dtype, form), bits_in(converted[cut], other, form))
        for cut in blocks(original.shape)
    )
