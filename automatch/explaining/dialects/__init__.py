"""The dialects of error texts, one file each: `read(text) -> Found | None`."""

from __future__ import annotations

from collections.abc import Callable

from automatch.explaining.dialects import (
    accelerate_tensor,
    bare_key_error,
    exception_words,
    fvcore_log,
    line_each,
    mmengine_log,
    named_lists,
    torch_first_key,
    torch_lists,
    torch_shapes,
    transformers_log,
    transformers_table,
)
from automatch.explaining.error_report import Found

DIALECTS: tuple[Callable[[str], Found | None], ...] = (
    torch_lists.read,
    torch_shapes.read,
    torch_first_key.read,
    mmengine_log.read,
    fvcore_log.read,
    transformers_log.read,
    transformers_table.read,
    accelerate_tensor.read,
    named_lists.read,
    bare_key_error.read,
    line_each.read,
    exception_words.read,
)
