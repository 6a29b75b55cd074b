"""How two shapes of one tensor differ."""

from __future__ import annotations

from automatch.matching.assignment import Mismatch

_IMAGE_CHANNELS = 4


def is_first_size_only(mismatch: Mismatch) -> bool:
    """Whether only the number of outputs differs, and it is no image's first layer."""
    a, b = mismatch.checkpoint_shape, mismatch.model_shape
    if len(a) != len(b) or not a or a[1:] != b[1:]:
        return False
    return not (len(a) >= 4 and a[1] <= _IMAGE_CHANNELS)
