"""Choosing rules: the shortest ordered list that is right on every key of a sample.

The list grows as transformation lists do (Brill 1995): a rule is put in front of those already
there, so that an exception goes before what it excepts, or behind them, for the keys that they
leave. Each step takes the rule that shortens the description most: what it costs to read,
against what the cells cost that it puts right (each would need a rule of its own) less those
that it breaks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from automatch.rules.arrange import arranged
from automatch.rules.candidates import BASE_COST, Group, Shape
from automatch.rules.demands import Demands
from automatch.rules.refine import pruned, refined
from automatch.rules.rule import Rule
from automatch.rules.scoring import Probe, Sample, Scored, weight

_STEPS = 6
_ESCAPED = re.compile(r"\\\W")
_FREEDOM = re.compile(r"[(|+\[]")


def cover(probes: Sequence[Probe], demands: Demands, groups: Sequence[Group]) -> list[Rule]:
    """A short list of rules that is right on every probe.

    Args:
        probes: the sample.
        demands: the whole task.
        groups: where rules may come from.

    Returns:
        The rules in the order in which they are asked, arranged as the checkpoint is.
    """
    sample = Sample(probes, demands)
    pool = _Pool(sample, groups)
    chosen = _grown(sample, pool)
    chosen = refined(pruned(chosen, sample), pool.all, sample)
    rules = [_marked(scored.candidate.rule) for scored in chosen]
    order = arranged([scored.taken for scored in chosen], [bool(rule.note) for rule in rules])
    return [rules[i] for i in order]


def _grown(sample: Sample, pool: _Pool) -> list[Scored]:
    bad, taken = sample.bad, 0
    chosen: list[Scored] = []
    while bad:
        best, after, front = _best(pool.all, bad, taken)
        if best is None:
            best, front = sample.literal(bad), True
            after = bad & ~best.right | best.wrong & ~bad
        chosen.insert(0 if front else len(chosen), best)
        bad, taken = after, taken | best.taken
        pool.add_around(bad)
    return chosen


def _best(pool: Sequence[Scored], bad: int, taken: int) -> tuple[Scored | None, int, bool]:
    """The rule that gains most, what is wrong after it, and whether it goes to the front or the end."""
    best: tuple[Scored | None, int, bool] = (None, bad, True)
    gain = -BASE_COST
    for scored in pool:
        if not scored.right & bad:
            continue
        for front in (False, True):
            reach = -1 if front else ~taken
            after = bad & ~(scored.right & reach) | scored.wrong & reach
            less = sum(weight(own, bad) - weight(own, after) for own in scored.cells)
            if less > 0 and less - scored.cost > gain:
                best, gain = (scored, after, front), less - scored.cost
    return best


def _marked(rule: Rule) -> Rule:
    """The rule, with a note where it stands for one key alone."""
    alone = not _FREEDOM.search(_ESCAPED.sub("", rule.pattern))
    return replace(rule, note="literal") if alone and not rule.note else rule


class _Pool:
    """Candidates of all groups, with what they do."""

    def __init__(self, sample: Sample, groups: Sequence[Group]) -> None:
        self._sample = sample
        self._groups = groups
        self._seen: set[Rule] = set()
        self._explored: set[tuple[int, frozenset[int]]] = set()
        self.all: list[Scored] = []
        for group in groups:
            self._explore(group)

    def add_around(self, bad: int) -> None:
        """Adds rules for those cells of a group that are still wrong."""
        for number, group in enumerate(self._groups):
            left = [m for m in group.members if self._sample.cells.get(m.number, 0) & bad]
            if left and len(left) < len(group.members):
                key = (number, frozenset(m.number for m in left))
                if key not in self._explored:
                    self._explored.add(key)
                    self._explore(Group(left))

    def _explore(self, group: Group) -> None:
        """Adds rules for a whole group: the extremes, and stricter ones until nothing goes wrong."""
        for shape in group.extremes():
            self._descend(group, shape)

    def _descend(self, group: Group, shape: Shape) -> None:
        scored = self._try(group, shape)
        for _ in range(_STEPS):
            if scored is not None and not scored.wrong:
                return
            steps = [(s, own) for s in group.stricter(shape) if (own := self._try(group, s)) is not None]
            if not steps:
                return
            shape, after = min(steps, key=lambda step: (self._sample.weight(step[1].wrong), step[1].cost))
            if scored is not None and self._sample.weight(after.wrong) >= self._sample.weight(scored.wrong):
                return
            scored = after

    def _try(self, group: Group, shape: Shape) -> Scored | None:
        candidate = group.candidate(shape)
        if candidate is None:
            return None
        scored = self._sample.score(candidate)
        if candidate.rule not in self._seen:
            self._seen.add(candidate.rule)
            self.all.append(scored)
        return scored
