"""automatch: finds out why a PyTorch state_dict does not fit, and the rules that make it fit.

    diagnosis = automatch.diagnose("checkpoint.pth", model)     # or two files, or "package.module:factory"
    print(diagnosis)                                            # verdict, matches, what is left, rules and their proof
    automatch.load(model, "checkpoint.pth")                     # the same, then loads; raises where it is not certain

    reading -> describing -> matching -> rules -> diagnosing -> reporting, exporting, applying
    (see docs/architecture.md)

Everything is imported on first use: `import automatch` costs next to nothing and never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from automatch.applying.convert import Converted
    from automatch.applying.loading import Loaded
    from automatch.errors import AutomatchError, InputError, NotProvenError, RuleError, UnsafeInputError
    from automatch.explaining import explain
    from automatch.pipeline import convert, diagnose, export, learn, load, read_keys
    from automatch.reporting.checked import Checked
    from automatch.reporting.diagnosis import Diagnosis
    from automatch.rules.rule import Rule
    from automatch.rules.rule_set import RuleSet
    from automatch.spec import StateDictSpec, TensorSpec

__version__ = "0.1.0"

__all__ = [
    "AutomatchError",
    "Checked",
    "Converted",
    "Diagnosis",
    "InputError",
    "Loaded",
    "NotProvenError",
    "Rule",
    "RuleError",
    "RuleSet",
    "StateDictSpec",
    "TensorSpec",
    "UnsafeInputError",
    "__version__",
    "check",
    "convert",
    "diagnose",
    "explain",
    "export",
    "learn",
    "load",
    "read_keys",
]

_HOMES = {
    "check": "automatch.pipeline",
    "Checked": "automatch.reporting.checked",
    **dict.fromkeys(("convert", "diagnose", "export", "learn", "load", "read_keys"), "automatch.pipeline"),
    **dict.fromkeys(
        ("AutomatchError", "InputError", "NotProvenError", "RuleError", "UnsafeInputError"), "automatch.errors"
    ),
    "Rule": "automatch.rules.rule",
    "RuleSet": "automatch.rules.rule_set",
    **dict.fromkeys(("StateDictSpec", "TensorSpec"), "automatch.spec"),
    "Converted": "automatch.applying.convert",
    "Diagnosis": "automatch.reporting.diagnosis",
    "Loaded": "automatch.applying.loading",
    "explain": "automatch.explaining",
}


def __getattr__(name: str) -> object:
    """Import a public name from its home on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'automatch' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
