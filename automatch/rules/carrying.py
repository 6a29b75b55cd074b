"""What rules make of a whole checkpoint, by keys and shapes: every match that follows from them, and every fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from automatch.errors import RuleError
from automatch.matching.assignment import Match
from automatch.ops import Op
from automatch.rules.rule_set import RuleSet
from automatch.rules.tensors import Law, Move, Run, alone, joined, on_shapes, without_doubles
from automatch.spec import Shape


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of a match, with the shapes that went in and came out where it ran first."""

    op: Op
    before: tuple[Shape, ...]
    after: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Carried:
    """Checkpoint keys that became model keys together.

    Attributes:
        rule: number of the rule (from 1); 0 where none took the key.
        match: what became what, and by which operation. The members of a group stand in the order in which they are
            joined, part by part.
        shapes: of every model key.
        steps: the operations that ran, in order.
    """

    rule: int
    match: Match
    shapes: tuple[Shape, ...]
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Load:
    """A checkpoint as the rules carry it.

    Attributes:
        carried: in the order of the checkpoint, a group where its first member stands.
        hits: how many keys each rule took.
        untouched: keys that no rule takes, in checkpoint order.
        faults: sentences, one for each key or group that the rules cannot carry.
        collisions: sentences, one for each key that comes out twice.
    """

    carried: tuple[Carried, ...]
    hits: tuple[int, ...]
    untouched: tuple[str, ...]
    faults: tuple[str, ...]
    collisions: tuple[str, ...]


def carry(rules: RuleSet, shapes: Mapping[str, Shape]) -> Load:
    """Asks the rules about every key and runs their operations on the shapes.

    Args:
        rules: any rules, induced or written by hand.
        shapes: of every checkpoint key, in order.

    Returns:
        What comes out. Keys that cannot be carried are in none of the matches.
    """
    hits, untouched, faults = [0] * len(rules), [], []
    carried: dict[str, Carried] = {}
    groups: dict[str, list[tuple[str, Move]]] = {}
    first: dict[str, str] = {}
    for key, shape in without_doubles(shapes, rules.doubles).items():
        try:
            move = rules.move(key)
        except RuleError as error:
            faults.append(f"{key!r}: {error}")
            continue
        if move is None:
            untouched.append(key)
        else:
            hits[move.rule - 1] += 1
        if move is not None and move.joins:
            groups.setdefault(move.targets[0], []).append((key, move))
            first.setdefault(move.targets[0], key)
            continue
        try:
            carried[key] = _alone(key, shape, move)
        except RuleError as error:
            faults.append(str(error))
    for target, members in groups.items():
        try:
            carried[first[target]] = _joined(target, members, shapes)
        except RuleError as error:
            faults.append(str(error))
    ordered = tuple(carried[key] for key in shapes if key in carried)
    return Load(ordered, tuple(hits), tuple(untouched), tuple(faults), tuple(_collisions(ordered, rules)))


def _alone(key: str, shape: Shape, move: Move | None) -> Carried:
    """What one key becomes by itself."""
    steps: list[Step] = []
    pieces = alone(shape, key, move, _recording(steps))
    law, rule = (Law(), 0) if move is None else (move.law, move.rule)
    targets = tuple(target for target, _ in pieces)
    return Carried(rule, _match(targets, (key,), law), tuple(shape for _, shape in pieces), tuple(steps))


def _joined(target: str, members: list[tuple[str, Move]], shapes: Mapping[str, Shape]) -> Carried:
    """What several keys become together."""
    steps: list[Step] = []
    whole = joined(target, members, shapes, _recording(steps))
    ordered = sorted(members, key=lambda member: (member[1].part or (0, 1), member[1].order or 0))
    move = members[0][1]
    return Carried(move.rule, _match((target,), tuple(key for key, _ in ordered), move.law), (whole,), tuple(steps))


def _match(targets: tuple[str, ...], sources: tuple[str, ...], law: Law) -> Match:
    return Match(targets, sources, law.op, dim=law.dim, perm=law.perm, sizes=law.sizes, shape=law.shape)


def _recording(steps: list[Step]) -> Run:
    """Runs operations on shapes and writes down each with what it did the first time."""
    seen: set[int] = set()

    def run(op: Op, shapes: Sequence[Any]) -> Sequence[Any]:
        out = on_shapes(op, shapes)
        if id(op) not in seen:
            seen.add(id(op))
            steps.append(Step(op, tuple(shapes), tuple(out)))
        return out

    return run


def _collisions(carried: Sequence[Carried], rules: RuleSet) -> list[str]:
    """Keys that come out twice."""
    owner: dict[str, str] = {}
    out = []
    for one in carried:
        source = one.match.checkpoint_keys[0]
        for target in one.match.model_keys:
            if target in owner:
                out.append(f"{owner[target]!r} and {source!r} both become {target!r}")
            owner.setdefault(target, source)
    out += [
        f"{other!r} is tied to {served!r} and comes from {owner[other]!r}"
        for served, other in rules.tied
        if other in owner
    ]
    return out
