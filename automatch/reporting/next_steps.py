"""What to type next."""

from __future__ import annotations

import shlex

from automatch.diagnosing.comparison import Comparison
from automatch.reporting.printable import printable


def next_steps(comparison: Comparison) -> tuple[str, ...]:
    """Commands to copy, the likeliest first; where nothing matches there is nothing to do."""
    checkpoint, model = (shlex.quote(printable(source)) for source in comparison.sources)
    value = repr(printable(comparison.sources[0])) if comparison.sources[0] != "CHECKPOINT" else "checkpoint"
    diagnose = f"automatch diagnose {checkpoint} {model}"
    if not comparison.matches:
        steps = {}
    elif not comparison.complete:
        steps = {
            f"{diagnose} --full": "every key on its own line",
            f"automatch.load(model, {value}, strict=False)": "in Python: loads what is certain",
        }
    else:
        steps = {f"automatch.load(model, {value})": "in Python: finds the rules, proves them, loads"}
        if comparison.rules.rules:
            steps[f"{diagnose} --format python -o convert.py"] = "a function that needs no automatch"
            rules = f"{diagnose} --format json -o rules.json"
            steps[f"{rules} && automatch apply rules.json {checkpoint} OUT"] = "a renamed file"
    return tuple(line for step, what in steps.items() for line in (f"# {what}", step))
