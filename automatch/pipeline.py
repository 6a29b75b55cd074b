"""The flow: each function calls the stages, one a line.

What is applied to tensors is imported where it is used: a comparison of files does not wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from automatch.collecting import paused
from automatch.diagnosing.cautions import cautioned, warn_of_other_orders
from automatch.diagnosing.comparison import StrictLoad, is_doubtful
from automatch.diagnosing.values import dtype_sentence, mismatched_dtypes
from automatch.diagnosing.verdict import verdict
from automatch.errors import InputError, NotProvenError
from automatch.matching import match
from automatch.matching.assignment import Assignment
from automatch.matching.basis.pins import as_pairs, check_pins, resolve
from automatch.matching.engine import By
from automatch.options import check_options
from automatch.reading import ModelSide, read_checkpoint, read_model
from automatch.reading.torch_words import is_module
from automatch.reporting.diagnosis import Diagnosis
from automatch.rules.guesses import marked
from automatch.rules.induce import induce
from automatch.rules.proven import proven
from automatch.rules.replay import replay
from automatch.rules.rule_set import RuleSet
from automatch.spec import StateDictSpec

if TYPE_CHECKING:
    from torch.nn import Module

    from automatch.applying.convert import Converted
    from automatch.applying.loading import Loaded
    from automatch.learning.sides import Progress
    from automatch.reporting.checked import Checked

# {checkpoint key: model key}, or pairs, or texts "checkpoint_key=model_key"; regexes are allowed on both sides.
Pairs = Mapping[str, str] | Iterable[tuple[str, str] | str] | str


def diagnose(
    checkpoint: object,
    model: object,
    *,
    by: By = "all",
    pin: Pairs = (),
    forbid: Pairs = (),
    at: str | None = None,
    model_args: Sequence[str] = (),
    values: bool = False,
) -> Diagnosis:
    """Find out which checkpoint keys serve which model keys, and the rules that rename them.

    Args:
        checkpoint: a path (safetensors, torch, sharded index, folder, key list), a `Mapping[str, Tensor]` or a module.
        model: an `nn.Module`, `"package.module:factory"`, `"path/file.py:factory"`, or anything a checkpoint can be.
        by: the evidence: "name" (equal names), "topology" (shapes and order), "all" (both, and more).
        pin: what is decided, the rest follows from it: `{checkpoint key or regex: model key or replacement}`, a list of
            such pairs, or of texts `"checkpoint_key=model_key"`.
        forbid: pairs that must not be, in the same forms.
        at: dotted path to the state_dict inside a nested checkpoint; None to take the best fitting dict.
        model_args: arguments for the factory, `value` or `name=value`.
        values: whether ambiguous matches are held against the values of the checkpoint, and of the model if it has any.

    Returns:
        A `Diagnosis`; `print` shows it.

    Raises:
        InputError: a source, a pin or an argument cannot be used; with `values`, the checkpoint has none.
    """
    check_options(by, at, checkpoint)
    pins, forbidden = as_pairs(pin, "pin"), as_pairs(forbid, "forbid")
    wanted = read_model(model, args=model_args)
    with paused():
        given = read_checkpoint(checkpoint, at=at, like=wanted.spec)
        if pins:
            check_pins(resolve(pins, forbidden, given.keys, wanted.spec.keys), given, wanted.spec)
        assignment = match(given, wanted.spec, by=by, pin=pins, forbid=forbidden)
        if values:
            assignment = _weighed(assignment, checkpoint, given, model, wanted)
        assignment = cautioned(assignment, given, wanted.spec)
        rules, proof = proven(assignment, given.keys, wanted.spec.keys)
        strict_load = _proven(wanted.module, given, wanted.spec, assignment, rules) if proof.ok else None
        sentence = verdict(given, wanted.spec, assignment, rules)
        doubtful = (key for found in assignment.matches if is_doubtful(found) for key in found.checkpoint_keys)
        rules = marked(rules, doubtful)
    sources = _called(checkpoint, "CHECKPOINT"), _called(model, "MODEL")
    said = {
        "by": by if by != "all" else None,
        "pin": [f"{key}={other}" for key, other in pins],
        "forbid": [f"{key}={other}" for key, other in forbidden],
        "at": at,
        "values": values,
        "model_args": list(model_args),
    }
    options = {name: value for name, value in said.items() if value}
    return Diagnosis(given, wanted.spec, assignment, rules, proof, sentence, strict_load, sources, options=options)


def load(
    model: Module,
    checkpoint: object,
    *,
    strict: bool = True,
    by: By = "all",
    pin: Pairs = (),
    forbid: Pairs = (),
    at: str | None = None,
) -> Loaded:
    """Diagnose, prove, then load the checkpoint into the model.

    Args:
        model: the module to fill; it is untouched where anything is raised.
        checkpoint: as for `diagnose`, but with values.
        strict: whether every key must be accounted for. If not, what is certain is loaded, the rest is left as it was.
        by: as for `diagnose`.
        pin: as for `diagnose`.
        forbid: as for `diagnose`.
        at: as for `diagnose`.

    Returns:
        What was loaded and what was left.

    Raises:
        NotProvenError: strict and not certain, or nothing or next to nothing fits, or two dicts of the checkpoint fit
            alike; carries the diagnosis.
        InputError: a source or a pin cannot be used.
    """
    if not is_module(model) or not callable(getattr(model, "load_state_dict", None)):
        swapped = "; the model comes first, load(model, checkpoint)" if is_module(checkpoint) else ""
        way = swapped or "; for files use automatch.convert"
        raise InputError(f"load fills an nn.Module, not a {type(model).__name__}{way}")
    from automatch.applying.loading import load_certain, load_complete

    diagnosis = diagnose(checkpoint, model, by=by, pin=pin, forbid=forbid, at=at)
    found = diagnosis.checkpoint
    if found.rivals:
        places = " and ".join(repr(place) for place in (found.at, *found.rivals))
        raise NotProvenError(
            f"{found.name}: {places} hold the same keys and shapes, and nothing tells which is meant; nothing was "
            f"loaded; choose with {' or '.join(f'at={place!r}' for place in (found.at, *found.rivals))}",
            diagnosis,
        )
    loaded = (load_complete if strict else load_certain)(model, checkpoint, diagnosis)
    warn_of_other_orders(diagnosis.assignment)
    return loaded


def convert(
    rules: RuleSet | str | os.PathLike[str],
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    at: str | None = None,
    ambiguous: bool = False,
    reverse: bool = False,
    keys: object = None,
) -> Converted:
    """Write a checkpoint file under the keys that rules give, in the same format; `target` appears whole or not at all.

    Args:
        rules: a `RuleSet`, or the path of a rules file: the JSON of `diagnose --format json`, or rules alone as JSON or
            YAML.
        source: a safetensors file or a file of `torch.save`.
        target: the new file.
        at: dotted path to the state_dict inside a nested checkpoint; None to take the one the rules were made for.
        ambiguous: whether keys of ambiguous matches may be written where the likeliest guess puts them.
        reverse: whether to go back: `source` has model keys, and `target` gets the checkpoint's.
        keys: for `reverse`: what the checkpoint was (its file, or a key list of it), where `rules` is not the JSON of a
            diagnosis, which tells its keys.

    Returns:
        What was written.

    Raises:
        NotProvenError: a key would be written by a guess, and `ambiguous` does not allow it.
        InputError: a file cannot be used, two keys would become one, no rule takes any key, or a rule cannot be undone.
    """
    from automatch.applying.atomic import refuse_same_file
    from automatch.applying.backwards import way_back
    from automatch.applying.convert import convert as rewrite
    from automatch.applying.paths import path_of
    from automatch.applying.rules_file import read_rules

    check_options("all", at)
    if keys is not None and not reverse:
        raise InputError("keys says what a checkpoint was before; give it with reverse=True, or leave it out")
    document: object = None
    if isinstance(rules, RuleSet):
        where, given, usual = "the rules", rules, None
    else:
        read = read_rules(rules)
        where, given, document = os.fsdecode(rules), read.rules, read.document
        refuse_same_file(path_of(rules, "rules"), path_of(target, "target"))
        usual = read.at
    if not reverse:
        return rewrite(given, source, target, at, usual=usual, ambiguous=ambiguous)
    old = None if keys is None else read_checkpoint(keys)
    for file in old.files if old is not None else ():
        refuse_same_file(Path(file), path_of(target, "target"))
    back = way_back(given, old, document, where)
    return rewrite(back, source, target, at, usual=usual, ambiguous=ambiguous, undoes=given)


def check(
    rules: RuleSet | str | os.PathLike[str],
    checkpoint: object,
    model: object,
    *,
    at: str | None = None,
    model_args: Sequence[str] = (),
    dead_fails: bool = False,
) -> Checked:
    """Hold rules that somebody keeps against a checkpoint and a model; nothing is matched, the rules are replayed.

    Args:
        rules: a `RuleSet`, or the path of a rules file.
        checkpoint: as for `diagnose`.
        model: as for `diagnose`.
        at: dotted path to the state_dict inside a nested checkpoint; None to take the one the rules were made for, or
            the best fitting one.
        model_args: arguments for the factory, `value` or `name=value`.
        dead_fails: whether a rule that takes no key is a failure as well.

    Returns:
        A `Checked`: `complete` where every model key is given in its shape and nothing is left over; `print` shows it.

    Raises:
        InputError: a source, a rule or an argument cannot be used.
    """
    from automatch.applying.rules_file import read_rules
    from automatch.diagnosing.checking import held_against
    from automatch.matching.aside.told import set_aside
    from automatch.reporting.checked import Checked

    check_options("all", at)
    usual = None
    if not isinstance(rules, RuleSet):
        read = read_rules(rules)
        rules, usual = read.rules, read.at
    wanted = read_model(model, args=model_args)
    given = read_checkpoint(checkpoint, at=at, usual=usual, like=wanted.spec)
    found = held_against(rules, given, wanted.spec, set_aside(given, wanted.spec))
    faults = found.faults or found.collisions or found.mismatched_keys
    strict_load = None if faults else _proven(wanted.module, given, wanted.spec, found.assignment, rules)
    return Checked(**{**vars(found), "strict_load": strict_load, "dead_fails": dead_fails})


def export(
    rules: Diagnosis | RuleSet | str | os.PathLike[str],
    dialect: str,
    *,
    keys: object = None,
    at: str | None = None,
    reverse: bool = False,
) -> str:
    """Rules as text in the language of the library that shall rename (docs/dialects.md).

    Args:
        rules: a `Diagnosis`, a `RuleSet`, or the path of a rules file.
        dialect: its name: "python", "hook", "mmengine", ...
        keys: the checkpoint to replay the text on, as for `diagnose`, where `rules` is no diagnosis.
        at: dotted path to the state_dict inside a nested checkpoint of `keys`.
        reverse: whether to write the rules that lead back, from model keys to those of the checkpoint.

    Raises:
        InputError: a file cannot be used, there is no such dialect, it cannot say one of the rules, or one cannot be
            undone.
    """
    from automatch.applying.backwards import told_shapes, way_back
    from automatch.applying.rules_file import read_rules
    from automatch.exporting.background import NOTHING, background_from, background_of, known_of, turned
    from automatch.exporting.export import export as rendered

    check_options("all", at)
    if at is not None and keys is None:
        raise InputError(f"at={at!r} says where the state_dict of keys lies; give it with keys, or leave it out")
    where, background, document, spec, usual = "the rules", NOTHING, None, None, None
    if isinstance(rules, Diagnosis):
        spec, background = rules.checkpoint, background_of(rules)
        rules = rules.rules
    elif not isinstance(rules, RuleSet):
        read, where = read_rules(rules), os.fsdecode(rules)
        rules, document = read.rules, read.document
        background = background_from(document, told_shapes(document))
        usual = read.at
    if keys is not None:
        spec = read_checkpoint(keys, at=at, usual=usual)
        background = known_of(background, spec)
    if reverse:
        rules, background = way_back(rules, spec, document, where), turned(rules, background)
    return rendered(rules, dialect, background)


def learn(
    original: object,
    converted: object,
    *,
    at: str | None = None,
    pin: Pairs = (),
    progress: Progress | None = None,
) -> Diagnosis:
    """Find out by the values of a checkpoint and its conversion what the conversion did, and rules that do it again.

    Args:
        original: the checkpoint before: a path, a `Mapping[str, Tensor]` or a module.
        converted: the same after the conversion; it may have been cast.
        at: dotted path to the state_dict inside a nested original; None to take the one that fits the conversion best.
        pin: what is decided among tensors of equal values, in the forms of `diagnose`.
        progress: is told what is done, how much of it, out of how much; None for nobody.

    Returns:
        A `Diagnosis` with the conversion as its model side. Its rules convert any checkpoint of the family.

    Raises:
        InputError: a source or a pin cannot be used, or a source has keys but no values.
    """
    from automatch.learning.arrays import Arrays
    from automatch.learning.correspondence import correspondence, with_notes
    from automatch.learning.sides import Sides

    check_options("all", at)
    pins = as_pairs(pin, "pin")
    wanted = read_checkpoint(converted)
    given = read_checkpoint(original, at=at, like=wanted)
    decisions = resolve(pins, (), given.keys, wanted.keys)
    sides = Sides(Arrays(original, given), Arrays(converted, wanted))
    assignment = correspondence(sides, decisions.pinned, progress or _unheard)
    rules = with_notes(induce(assignment.matches, given.keys, wanted.keys))
    proof = replay(rules, assignment.matches, given.keys, wanted.keys)
    sentence = verdict(given, wanted, assignment, rules)
    sources = _called(original, "ORIGINAL"), _called(converted, "CONVERTED")
    rules = marked(rules, (key for match in assignment.matches if is_doubtful(match) for key in match.checkpoint_keys))
    return Diagnosis(given, wanted, assignment, rules, proof, sentence, None, sources, learnt=True)


def read_keys(source: object, *, at: str | None = None, args: Sequence[str] = ()) -> StateDictSpec:
    """The keys, shapes and dtypes of a checkpoint or a model; no tensor data is read.

    Args:
        source: as for `diagnose`, either side.
        at: dotted path to the state_dict inside a nested checkpoint.
        args: arguments for a model factory.

    Raises:
        InputError: the source cannot be used.
    """
    check_options("all", at)
    if at is not None and args:
        raise InputError(f"at={at!r} is for a checkpoint, args for the factory of a model; give one of them")
    if at is None:
        return read_model(source, args=args).spec
    return read_checkpoint(source, at=at)


def _proven(
    module: object, given: StateDictSpec, wanted: StateDictSpec, assignment: Assignment, rules: RuleSet
) -> StrictLoad | None:
    """The strict load on a copy of the module; None where only keys are known."""
    if module is None:
        return None
    clash = dtype_sentence(mismatched_dtypes(given, wanted, assignment))
    if clash:
        return StrictLoad(None, f"load_state_dict was not tried: {clash}")
    from automatch.applying.proof import prove

    return prove(module, given, assignment, rules)


def _weighed(
    assignment: Assignment, checkpoint: object, given: StateDictSpec, model: object, wanted: ModelSide
) -> Assignment:
    """The assignment with its ambiguous matches held against values, where there are any.

    Raises:
        InputError: the checkpoint has keys but no values.
    """
    from automatch.learning.arrays import Arrays, has_values
    from automatch.learning.hints import weigh_values

    values = Arrays(checkpoint, given)
    source = model if wanted.module is None else wanted.module
    others = Arrays(source, wanted.spec) if has_values(source, wanted.spec) else None
    return weigh_values(assignment, values, wanted.spec, others)


def _unheard(what: str, done: int, total: int) -> None:
    """Tells nobody how far it is."""


def _called(source: object, otherwise: str) -> str:
    """What a command line would call a source."""
    return os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else otherwise
