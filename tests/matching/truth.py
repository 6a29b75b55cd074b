"""What a test knows to be true, and how an answer is held against it.

A truth maps model keys to the checkpoint keys that serve them. `solved` wants exactly that, nothing flagged;
`honest` lets the engine leave out or flag what it likes, but not answer wrongly without a flag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from automatch.matching import match
from automatch.matching.assignment import Assignment, Match
from automatch.reading import read_checkpoint, read_model
from automatch.spec import StateDictSpec, TensorSpec

Keys = tuple[str, ...]


class Served(NamedTuple):
    """What serves some model keys."""

    checkpoint: Keys
    op: str = "rename"


Truth = Mapping[Keys, Served]


def spec(source: object) -> StateDictSpec:
    """The keys of a module, a state_dict, or (key, shape) pairs."""
    if isinstance(source, StateDictSpec):
        return source
    if isinstance(source, list):
        return StateDictSpec("keys", tuple(TensorSpec(key, tuple(shape)) for key, shape in source))
    return read_checkpoint(source) if isinstance(source, dict) else read_model(source).spec


def renamed(source: object, rename: Callable[[str], str | None]) -> dict[str, object]:
    """A module's state_dict under other keys; keys renamed to None are left out."""
    state = source if isinstance(source, dict) else source.state_dict()
    return {new: tensor for key, tensor in state.items() if (new := rename(key)) is not None}


def truth(pairs: Iterable[tuple[str, str]]) -> dict[Keys, Served]:
    """The truth of plain renames, from (checkpoint key, model key)."""
    return {(model,): Served((checkpoint,)) for checkpoint, model in pairs}


def by_rename(checkpoint: object, rename: Callable[[str], str | None]) -> dict[Keys, Served]:
    """The truth where `rename` turns each checkpoint key into its model key (None: it serves nothing)."""
    return truth((key, new) for key in spec(checkpoint).keys if (new := rename(key)) is not None)


def found(assignment: Assignment) -> dict[Keys, Served]:
    """The answer in the form of a truth."""
    return {m.model_keys: Served(m.checkpoint_keys, m.op) for m in assignment.matches}


def solved(checkpoint: object, model: object, expected: Truth, **options: object) -> Assignment:
    """The answer, after making sure that it is exactly the truth, without a flag."""
    given, wanted = spec(checkpoint), spec(model)
    assignment = match(given, wanted, **options)
    assert found(assignment) == dict(expected)
    assert [m.model_keys for m in assignment.matches if m.ambiguous] == []
    complete(assignment, given, wanted)
    return assignment


def honest(checkpoint: object, model: object, expected: Truth, **options: object) -> Assignment:
    """The answer, after making sure that every part of it that is not flagged is true."""
    given, wanted = spec(checkpoint), spec(model)
    assignment = match(given, wanted, **options)
    assert silent(assignment, expected) == []
    complete(assignment, given, wanted)
    return assignment


def silent(assignment: Assignment, expected: Truth) -> list[Match]:
    """Matches that are wrong and not flagged."""
    return [
        m
        for m in assignment.matches
        if not m.ambiguous and expected.get(m.model_keys) != Served(m.checkpoint_keys, m.op)
    ]


def complete(assignment: Assignment, given: StateDictSpec, wanted: StateDictSpec) -> None:
    """Every key of both sides stands in exactly one place; what is ambiguous says what else would do."""
    served = [key for m in assignment.matches for key in m.model_keys]
    used = {key for m in assignment.matches for key in m.checkpoint_keys}
    assert sorted([*served, *assignment.missing_keys]) == sorted(wanted.keys)
    assert used.isdisjoint(assignment.unexpected_keys)
    assert sorted({*used, *assignment.unexpected_keys}) == sorted(given.keys)
    for left, keys in ((assignment.missing_keys, wanted.keys), (assignment.unexpected_keys, given.keys)):
        assert list(left) == sorted(left, key=keys.index)
    for pair in assignment.mismatched:
        assert pair.key in assignment.missing_keys
        assert pair.checkpoint_key in assignment.unexpected_keys
        assert pair.model_shape == wanted.by_key[pair.key].shape != pair.checkpoint_shape
        assert pair.checkpoint_shape == given.by_key[pair.checkpoint_key].shape
    for m in assignment.matches:
        assert 0.0 <= m.confidence <= 1.0 and m.reason
        assert all(key in given.by_key for key in m.alternatives)


def flagged(assignment: Assignment) -> set[str]:
    """Model keys whose match is ambiguous."""
    return {key for m in assignment.matches if m.ambiguous for key in m.model_keys}
