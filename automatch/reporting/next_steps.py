"""What to type next."""

from __future__ import annotations

import shlex

from automatch.diagnosing.comparison import Comparison
from automatch.reporting.printable import printable

# How a checkpoint was read that holds names and shapes alone: there is nothing to load.
KEY_LIST = "key list"


def next_steps(comparison: Comparison) -> tuple[str, ...]:
    """Commands to copy, the likeliest first; where nothing matches there is nothing to do.

    A key list holds no weights, so it is never advised to load or to rewrite one. A whole pickled module is loaded, but
    not rewritten.
    """
    checkpoint, model = (shlex.quote(printable(source)) for source in comparison.sources)
    value = repr(printable(comparison.sources[0])) if comparison.sources[0] != "CHECKPOINT" else "checkpoint"
    diagnose = f"automatch diagnose {checkpoint} {model}"
    has_values = comparison.checkpoint.origin != KEY_LIST
    if not comparison.matches:
        steps = {}
    elif comparison.learnt:
        learn = f"automatch learn {checkpoint} {model}"
        steps = {} if comparison.complete else {f"{learn} --full": "every key on its own line"}
        steps[f"{learn} -o rules.json"] = "the rules, for `automatch apply rules.json OTHER OUT`"
    elif not has_values:
        steps = {} if comparison.complete else {f"{diagnose} --full": "every key on its own line"}
        if comparison.rules.rules:
            steps[f"{diagnose} --format json -o rules.json"] = "the rules, for `automatch apply` beside the weights"
    elif not comparison.complete:
        steps = {
            f"{diagnose} --full": "every key on its own line",
            f"automatch.load(model, {value}, strict=False)": "in Python: loads what is certain",
        }
    else:
        steps = {f"automatch.load(model, {value})": "in Python: finds the rules, proves them, loads"}
        if comparison.rules.rules:
            steps[f"{diagnose} --format python -o convert.py"] = "a function that needs no automatch"
            one_file = comparison.sources[0] != "CHECKPOINT" and len(comparison.checkpoint.files) <= 1
            if one_file and not _is_whole_module(comparison):
                rules = f"{diagnose} --format json -o rules.json"
                steps[f"{rules} && automatch apply rules.json {checkpoint} OUT"] = "a renamed file"
    return tuple(line for step, what in steps.items() for line in (f"# {what}", step))


def _is_whole_module(comparison: Comparison) -> bool:
    """Whether the reader found a pickled module instead of a dict: only its tensors can be had."""
    return any(note.startswith("a whole module") for note in comparison.checkpoint.notes)
