"""What to type next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from automatch.diagnosing.comparison import Comparison
from automatch.reporting.printable import printable

# How a checkpoint was read that holds names and shapes alone: there is nothing to load.
KEY_LIST = "key list"
_OF_LOAD = ("by", "pin", "forbid", "at")


def next_steps(comparison: Comparison) -> tuple[str, ...]:
    """Commands to copy, the likeliest first; where nothing matches there is nothing to do.

    A key list holds no weights, so it is never advised to load or to rewrite one. A whole pickled module, and what
    `automatch apply` cannot write (NumPy's archives), is loaded but not rewritten.
    """
    checkpoint, model = (shlex.quote(printable(source)) for source in comparison.sources)
    value = repr(printable(comparison.sources[0])) if comparison.sources[0] != "CHECKPOINT" else "checkpoint"
    diagnose = " ".join((f"automatch diagnose {checkpoint} {model}", *_words(comparison.options)))
    chosen = "".join(f", {name}={item!r}" for name, item in comparison.options.items() if name in _OF_LOAD)
    at = f" --at {shlex.quote(str(comparison.options['at']))}" if "at" in comparison.options else ""
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
    elif comparison.checkpoint.rivals:
        places = (comparison.checkpoint.at, *comparison.checkpoint.rivals)
        steps = {f"{diagnose} --at {shlex.quote(place)}": f"what stands under {place or 'no name'}" for place in places}
    elif not comparison.complete:
        steps = {
            f"{diagnose} --full": "every key on its own line",
            f"automatch.load(model, {value}, strict=False{chosen})": "in Python: loads what is certain",
        }
    else:
        steps = {f"automatch.load(model, {value}{chosen})": "in Python: finds the rules, proves them, loads"}
        if comparison.rules.rules:
            steps[f"{diagnose} --format python -o convert.py"] = "a function that needs no automatch"
            one_file = comparison.sources[0] != "CHECKPOINT" and len(comparison.checkpoint.files) <= 1
            if one_file and _is_rewritable(comparison):
                rules = f"{diagnose} --format json -o rules.json"
                steps[f"{rules} && automatch apply rules.json {checkpoint} OUT{at}"] = "a renamed file"
    return tuple(line for step, what in steps.items() for line in (f"# {what}", step))


def _words(options: Mapping[str, object]) -> list[str]:
    """The options as they are typed; those of the factory, which take all that follows, at the end."""
    out: list[str] = []
    for name, value in options.items():
        if name != "model_args":
            for item in value if isinstance(value, list) else [value]:
                out += [f"--{name}"] if item is True else [f"--{name}", shlex.quote(printable(str(item)))]
    arguments = options.get("model_args")
    if isinstance(arguments, list):
        out += ["--model-args", *(shlex.quote(printable(str(item))) for item in arguments)]
    return out


def _is_rewritable(comparison: Comparison) -> bool:
    """Whether `automatch apply` writes files of this kind: safetensors, and torch's that hold no pickled module."""
    whole_module = any(note.startswith("a whole module") for note in comparison.checkpoint.notes)
    return comparison.checkpoint.origin.startswith(("safetensors", "torch")) and not whole_module
