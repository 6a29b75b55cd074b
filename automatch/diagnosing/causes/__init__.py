"""The causes of a failed load, one file each: `check(evidence) -> Finding | None`.

On equal scores the earlier one wins.
"""

from __future__ import annotations

from collections.abc import Callable

from automatch.diagnosing.causes import (
    bias_only,
    ema_copy,
    fused_tensors,
    head_size,
    incomplete_file,
    index_shift,
    lora_adapter,
    missing_buffers,
    nested_dict,
    over_stripped,
    prefix_compile,
    prefix_module,
    prefix_wrapper,
    quantized,
    renamed_modules,
    same_outline,
    size_change,
    tied_weights,
    too_little,
    version_change,
    weight_norm,
    wrong_file,
    wrong_variant,
)
from automatch.diagnosing.evidence import Evidence, Finding

NAMING: tuple[Callable[[Evidence], Finding | None], ...] = (
    over_stripped.check,
    prefix_compile.check,
    prefix_module.check,
    prefix_wrapper.check,
    weight_norm.check,
    index_shift.check,
)
"""Those that say how names differ where every tensor has its place."""

CAUSES: tuple[Callable[[Evidence], Finding | None], ...] = (
    wrong_file.check,
    nested_dict.check,
    over_stripped.check,
    prefix_compile.check,
    prefix_module.check,
    prefix_wrapper.check,
    quantized.check,
    lora_adapter.check,
    weight_norm.check,
    tied_weights.check,
    missing_buffers.check,
    index_shift.check,
    renamed_modules.check,
    same_outline.check,
    fused_tensors.check,
    size_change.check,
    head_size.check,
    version_change.check,
    ema_copy.check,
    bias_only.check,
    incomplete_file.check,
    too_little.check,
    wrong_variant.check,
)
