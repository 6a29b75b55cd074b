"""From matches to rules: the shortest ordered list that reproduces the assignment.

Multi-example synthesis in the manner of FlashFill (Gulwani, POPL 2011) and BlinkFill (Singh,
VLDB 2016): all inputs and all outputs are known, so a rule is judged by every key at once. The
way is

    demands     what each key must become, keys that stay or belong nowhere included
    cells       demands with the same words and the same arithmetic
    alignment   what a cell replaces and what it carries over; equal skeletons make a group
    candidates  rules for a group, from the most general to the most exact
    cover       the shortest list that is right on a sample of keys (minimum description length)

and then every key is replayed; keys that go wrong join the sample (counterexample-guided, as
in Solar-Lezama's sketching), so the work grows with the number of families, not of keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from automatch.matching.assignment import Match, Mismatch
from automatch.rules.alignment import Aligned, Skeleton, align, loosened, split_words
from automatch.rules.candidates import Group
from automatch.rules.cells import Cell, cells_of
from automatch.rules.cover import cover
from automatch.rules.demands import Demand, Demands, demands_of, plain
from automatch.rules.one_item import with_second_items
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet
from automatch.rules.scopes import below, scope_of, under
from automatch.rules.scoring import Probe
from automatch.rules.tokens import BY, template
from automatch.rules.verify import check, patched

_Item = TypeVar("_Item")
_PER_CELL = 6
_ROUNDS = 4
_COUNTEREXAMPLES = 64
_ASIDE = "out of the way: belongs nowhere, but has the name of a key that another one serves"


def induce(
    matches: Sequence[Match],
    checkpoint_keys: Sequence[str],
    model_keys: Sequence[str],
    mismatched: Sequence[Mismatch] = (),
) -> RuleSet:
    """An ordered list of anchored rules that reproduces the assignment on every checkpoint key.

    Args:
        matches: the whole assignment, the ambiguous ones included.
        checkpoint_keys: all keys of the checkpoint, in order.
        model_keys: all keys of the model, in order.
        mismatched: pairs that belong together but differ in shape; rules may rename them too.

    Returns:
        Rules with their hits. `replay` proves them; what no ordered list can say (a checkpoint
        key that serves two model keys by different operations) it names.
    """
    scope = scope_of(matches, checkpoint_keys, model_keys)
    if scope:
        matches, checkpoint_keys, mismatched = below(scope, matches, checkpoint_keys, mismatched)
        return under(scope, _general(matches, checkpoint_keys, model_keys, mismatched))
    return _general(matches, checkpoint_keys, model_keys, mismatched)


def _general(
    matches: Sequence[Match],
    checkpoint_keys: Sequence[str],
    model_keys: Sequence[str],
    mismatched: Sequence[Mismatch],
) -> RuleSet:
    """The rules; where lists have one item those that count it, if they are no more for it, and right."""
    demands = demands_of(matches, checkpoint_keys, model_keys, mismatched)
    rules = _found(demands, checkpoint_keys)
    more = with_second_items(matches, checkpoint_keys, model_keys)
    if more is not None:
        general = _found(demands_of(*more, mismatched), more.checkpoint_keys)
        wrong, hits = check(general, demands, checkpoint_keys)
        counted = _counted(general, hits)
        rules = rules if wrong or len(counted) > len(rules) else counted
    return RuleSet(_noted(rules, demands), demands.tied)


def _found(demands: Demands, checkpoint_keys: Sequence[str]) -> tuple[Rule, ...]:
    """The rules that take a key, with their hits, without notes on single keys."""
    odd = [demand for demand in demands.wanted if not _readable(demand)]
    cells, whole = cells_of(demands.wanted if not odd else [d for d in demands.wanted if _readable(d)])
    aligned = [align(cell, number) for number, cell in enumerate(cells)]
    groups = _groups(aligned, [align(cell, number) for cell, number in whole])
    probes = _sample(cells, demands, odd)
    for _ in range(_ROUNDS):
        rules = cover(list(probes.values()), demands, groups)
        wrong, hits = check(rules, demands, checkpoint_keys)
        if not wrong:
            break
        numbers = _numbers(cells)
        for probe in wrong[:_COUNTEREXAMPLES]:
            probes[probe.key] = replace(probe, cell=numbers.get(probe.key, -1))
    else:
        rules = patched(rules, demands, checkpoint_keys)
        _, hits = check(rules, demands, checkpoint_keys)
    return _counted(rules, hits)


def _counted(rules: Sequence[Rule], hits: Sequence[int]) -> tuple[Rule, ...]:
    """The rules that take a key, with how many they take."""
    return tuple(replace(rule, hits=n) for rule, n in zip(rules, hits, strict=True) if n)


def _noted(rules: tuple[Rule, ...], demands: Demands) -> tuple[Rule, ...]:
    """The rules with what a reader cannot see in them: ties, and keys that are only put aside."""
    notes: dict[int, list[str]] = {i: [rule.note] if rule.note else [] for i, rule in enumerate(rules)}
    ruleset, sources = RuleSet(rules), {demand.goals[0]: demand.keys[0] for demand in demands.wanted}
    for served, other in demands.tied:
        move = ruleset.move(sources[served])
        if move is not None:
            notes[move.rule - 1].append(f"{other} is tied to {served}")
    for key in demands.aside:
        move = ruleset.move(key)
        if move is not None and _ASIDE not in notes[move.rule - 1]:
            notes[move.rule - 1].append(_ASIDE)
    return tuple(replace(rule, note="; ".join(notes[i])) for i, rule in enumerate(rules))


def _readable(demand: Demand) -> bool:
    """Whether keys and goals hold no reserved characters (the marks of the demand itself apart)."""
    return all(map(plain, demand.keys)) and all(plain(goal.replace(BY, "")) for goal in demand.goals)


def _groups(aligned: Sequence[Aligned], whole: Sequence[Aligned]) -> list[Group]:
    """Cells that one rule may serve: of one skeleton, or of skeletons that differ in what is lost."""
    strict: dict[Skeleton, list[Aligned]] = {}
    loose: dict[Skeleton, list[Aligned]] = {}
    for one in aligned:
        strict.setdefault(one.skeleton, []).append(one)
        loose.setdefault(loosened(one.skeleton), []).append(one)
        for other in split_words(one):
            loose.setdefault(loosened(other.skeleton), []).append(other)
    skeletons = {one.number: one.skeleton for one in aligned}
    unions = [own for own in loose.values() if len({skeletons[one.number] for one in own}) > 1]
    divided: dict[Skeleton, list[Aligned]] = {}
    for one in whole:
        divided.setdefault(one.skeleton, []).append(one)
    for skeleton, members in divided.items():
        members += strict.get(skeleton, [])
    return [Group(members) for members in (*strict.values(), *divided.values())] + [
        group for group in map(Group, unions) if group.readable
    ]


def _sample(cells: Sequence[Cell], demands: Demands, odd: Sequence[Demand]) -> dict[str, Probe]:
    """A few keys of every cell and of every family that belongs nowhere."""
    probes: dict[str, Probe] = {}
    for number, cell in enumerate(cells):
        for example in _some(cell.examples):
            for key in _some(example.demand.keys):
                probes[key] = Probe(key, example.demand, number)
    families: dict[str, list[str]] = {}
    for key in demands.free:
        families.setdefault(template(key), []).append(key)
    for number, keys in enumerate(families.values(), len(cells)):
        for key in _some(keys):
            probes[key] = Probe(key, None, number)
    for demand in odd:
        for key in demand.keys:
            probes[key] = Probe(key, demand, -1 - len(probes))
    return probes


def _some(items: Sequence[_Item]) -> Sequence[_Item]:
    if len(items) <= _PER_CELL:
        return items
    last = len(items) - 1
    return [items[last * i // (_PER_CELL - 1)] for i in range(_PER_CELL)]


def _numbers(cells: Sequence[Cell]) -> dict[str, int]:
    return {key: n for n, cell in enumerate(cells) for example in cell.examples for key in example.demand.keys}
