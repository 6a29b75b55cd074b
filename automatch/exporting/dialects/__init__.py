"""All languages that rules can be written in. One more is one file and one name in the tuple."""

from automatch.exporting.dialect import Dialect
from automatch.exporting.dialects import (
    hook,
    json_rules,
    load_from_state_dict,
    mmengine,
    peft,
    python_code,
    torch_state_bridge,
    transformers,
    transformers_converter,
    yaml_rules,
)

DIALECTS: tuple[Dialect, ...] = (
    yaml_rules,
    json_rules,
    python_code,
    hook,
    load_from_state_dict,
    transformers,
    transformers_converter,
    peft,
    mmengine,
    torch_state_bridge,
)

__all__ = ["DIALECTS"]
