"""How two shapes of one tensor differ."""

from __future__ import annotations

from collections.abc import Set

from automatch.diagnosing.naming import is_table, tokens
from automatch.matching.assignment import Mismatch

_IMAGE_CHANNELS = 4
_WIDTH_STEP = 8


def differing(mismatch: Mismatch) -> list[int] | None:
    """The dimensions that differ, None where their number does."""
    a, b = mismatch.checkpoint_shape, mismatch.model_shape
    return [i for i in range(len(a)) if a[i] != b[i]] if len(a) == len(b) else None


def first_pair(mismatch: Mismatch) -> tuple[int, int]:
    """The first sizes that differ, the checkpoint's first; (0, 0) where the number of dimensions differs."""
    pairs = zip(mismatch.checkpoint_shape, mismatch.model_shape, strict=False)
    return next(((a, b) for a, b in pairs if a != b), (0, 0))


def is_first_size_only(mismatch: Mismatch) -> bool:
    """Whether only the number of outputs differs, and it is no image's first layer."""
    shape = mismatch.checkpoint_shape
    return differing(mismatch) == [0] and not (len(shape) >= 4 and shape[1] <= _IMAGE_CHANNELS)


def is_entries_only(mismatch: Mismatch) -> bool:
    """Whether a table has another number of entries and the same width.

    Tables are (entries, width), (1, entries, width) or (1, width, height, breadth).
    """
    different, shape = differing(mismatch), mismatch.checkpoint_shape
    if different is None:
        return False
    if len(shape) <= 2 and shape[:1] != (1,):
        return different == [0]
    if len(shape) == 3:
        return different == [1]
    return 0 not in different and (len(shape) == 2 or different in ([2], [3], [2, 3]))


def is_inputs_only(mismatch: Mismatch) -> bool:
    """Whether only the number of inputs of a layer differs."""
    return differing(mismatch) == [1]


def is_kernel(mismatch: Mismatch) -> bool:
    """Whether a convolution has another kernel, or one side's tensor has more dimensions."""
    different = differing(mismatch)
    return different is None or (len(mismatch.checkpoint_shape) >= 4 and any(i >= 2 for i in different))


def is_like_classes(mismatch: Mismatch) -> bool:
    """Whether the sizes look like numbers of classes: widths are multiples of eight, numbers of classes seldom."""
    return any(size % _WIDTH_STEP for size in first_pair(mismatch))


def is_layer_of_classes(key: str, mismatched: Set[str]) -> bool:
    """Whether what is called a table (`class_embed`) has a bias of another size, too: a layer of outputs then.

    `mismatched` are the keys of all tensors that differ in shape.
    Output layers of a vocabulary change with its table and are none.
    """
    module = key.rpartition(".")[0]
    if not is_table(f"{module}.weight") or not {f"{module}.weight", f"{module}.bias"} <= mismatched:
        return False
    return "emb" in tokens(module)[-1].lower()
