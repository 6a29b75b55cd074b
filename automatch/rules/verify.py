"""Rules on every key of the checkpoint, while they are looked for: what goes wrong joins the sample.

The proof that users are shown is made elsewhere, by `replay`, from the matches alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from automatch.errors import RuleError
from automatch.rules.demands import RENAME, Demand, Demands
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet
from automatch.rules.scoring import Probe, literal_candidate, staying
from automatch.rules.tensors import Move
from automatch.rules.tokens import BY, PART

_ROUNDS = 6


def check(rules: Sequence[Rule], demands: Demands, checkpoint_keys: Sequence[str]) -> tuple[list[Probe], list[int]]:
    """Asks the rules about every key.

    Returns:
        The keys that do not become what they must, or that come in the way of another one (they
        have to stay as they are); and how many keys each rule takes.
    """
    ruleset = RuleSet(tuple(rules))
    wanted = {key: demand for demand in demands.wanted for key in demand.keys}
    hits = [0] * len(rules)
    landed = {demand.goals[0]: "" for demand in demands.wanted}
    wrong: dict[str, Probe] = {}
    for key in checkpoint_keys:
        demand = wanted.get(key)
        try:
            move = ruleset.move(key)
        except RuleError:  # what a rule calculates of this key is no number of a key
            wrong[key] = Probe(key, demand or staying(key), -1)
            continue
        if move is not None:
            hits[move.rule - 1] += 1
        if demand is not None:
            if not _right(key, move, demand):
                wrong[key] = Probe(key, demand, -1)
            continue
        target = key if move is None else move.targets[0]
        if move is not None and (move.law.op != "rename" or _intrudes(key, target, demands)):
            wrong[key] = Probe(key, staying(key), -1)
        elif landed.setdefault(target, key) != key:
            wrong[key] = Probe(key, staying(key), -1)
            if landed[target]:
                wrong[landed[target]] = Probe(landed[target], staying(landed[target]), -1)
    return list(wrong.values()), hits


def patched(rules: Sequence[Rule], demands: Demands, checkpoint_keys: Sequence[str]) -> list[Rule]:
    """The rules with literal ones in front for what still goes wrong."""
    out = list(rules)
    for _ in range(_ROUNDS):
        wrong, _ = check(out, demands, checkpoint_keys)
        if not wrong:
            break
        own = dict.fromkeys(literal_candidate(probe.demand).rule for probe in wrong if probe.demand is not None)
        out = [*own, *out]
    return out


def _right(key: str, move: Move | None, demand: Demand) -> bool:
    """Whether a key becomes what it must, in the place that it must have among the members."""
    channel = demand.channel
    if move is None:
        return channel == RENAME and demand.goals == (key,)
    if move.law != channel.law:
        return False
    if move.members is not None:
        return move.targets == tuple(goal.replace(BY, "0") for goal in demand.goals)
    if move.targets != demand.goals or (move.part is None) != (channel.part is None):
        return False
    source = demand.source
    if channel.part is not None and move.part is not None:
        if not isinstance(channel.part[0], str):
            if move.part != channel.part:
                return False
        elif move.part[1] != len(channel.part):
            return False
        else:
            source = source.replace(PART, str(channel.part[move.part[0]]))
    if channel.by and move.order is not None:
        before, _, after = source.partition(BY)
        number = key[len(before) : len(key) - len(after)]
        return key == before + number + after and number.isdigit() and int(number) == move.order
    return not channel.by and source == key


def _intrudes(key: str, target: str, demands: Demands) -> bool:
    return target != key and target in demands.taboo and (key, target) not in demands.excused
