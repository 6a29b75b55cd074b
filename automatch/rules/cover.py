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
from heapq import heappop, heappush

from automatch.rules.arrange import arranged
from automatch.rules.candidates import BASE_COST, Group, Shape
from automatch.rules.demands import Demands
from automatch.rules.refine import opened, pruned, refined
from automatch.rules.rule import Rule
from automatch.rules.scoring import MOST_OF_A_KEY, Probe, Sample, Scored, weight

_STEPS = 6
_LEAST = -2 * BASE_COST
"""Rules that gain less are not looked at; one that gains nothing may still save many literal ones."""
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
    chosen = opened(refined(pruned(chosen, sample), pool.all, sample), sample)
    rules = [_marked(scored.candidate.rule) for scored in chosen]
    order = arranged([scored.taken for scored in chosen], [bool(rule.note) for rule in rules])
    return [rules[i] for i in order]


def _grown(sample: Sample, pool: _Pool) -> list[Scored]:
    bad, taken = sample.bad, 0
    front: list[Scored] = []
    end: list[Scored] = []
    while bad:
        best = pool.best(bad, taken)
        if best is None or _loses(best[2], sample, bad, taken):
            scored = sample.literal(bad)
            front.append(scored)
            after = bad & ~scored.right | scored.wrong & ~bad
        else:
            scored, ahead, _ = best
            (front if ahead else end).append(scored)
            reach = -1 if ahead else ~taken
            after = bad & ~(scored.right & reach) | scored.wrong & reach
        bad, taken = after, taken | scored.taken
        pool.changed(scored, bad)
    return [*reversed(front), *end]


def _loses(gain: float, sample: Sample, bad: int, taken: int) -> bool:
    """Whether a rule that hardly gains anything gains less than the literal one for the next key."""
    return gain <= -BASE_COST and gain < _gain(sample.literal(bad), bad, taken, sample.largest)[0]


def _gain(scored: Scored, bad: int, taken: int, largest: int) -> tuple[float, bool]:
    """By how much a rule shortens the description, and whether it does so at the front or at the end.

    `largest`: of how many keys the largest cell is; a key that goes wrong costs more in a smaller one.
    """
    best = (_LEAST, True)
    for ahead in (False, True):
        reach = -1 if ahead else ~taken
        after = bad & ~(scored.right & reach) | scored.wrong & reach
        right, wrong = (bad & ~after).bit_count(), (after & ~bad).bit_count()
        if MOST_OF_A_KEY * (right - wrong / (2 * largest)) - scored.cost <= best[0]:
            continue  # whatever cells these keys are of, it cannot gain more
        changed = bad ^ after
        less = sum(weight(own, bad) - weight(own, after) for own in scored.cells if own & changed)
        if less > 0 and less - scored.cost > best[0]:
            best = (less - scored.cost, ahead)
    return best


def _harm(scored: Scored) -> float:
    """What it costs to put the keys right that a rule makes wrong."""
    return sum(weight(own, scored.wrong) for own in scored.cells)


def _marked(rule: Rule) -> Rule:
    """The rule, with a note where it stands for one key alone."""
    alone = not _FREEDOM.search(_ESCAPED.sub("", rule.pattern))
    return replace(rule, note="literal") if alone and not rule.note else rule


class _Pool:
    """Candidates of all groups, with what they do and what they gain.

    A gain depends only on the cells that a candidate touches, so it is reckoned again only for
    those that share one with the rule chosen last.
    """

    def __init__(self, sample: Sample, groups: Sequence[Group]) -> None:
        self._sample = sample
        self._groups = groups
        self._seen: set[Rule] = set()
        self._explored: set[tuple[int, frozenset[int]]] = set()
        self._touching: dict[int, list[int]] = {}
        self._stale: dict[int, None] = {}
        self._gains: list[tuple[float, bool]] = []
        self._heap: list[tuple[float, int]] = []
        self._around: dict[int, list[int]] = {}
        self.all: list[Scored] = []
        for number, group in enumerate(groups):
            for member in group.members:
                self._around.setdefault(sample.cells.get(member.number, 0), []).append(number)
            self._explore(group)

    def best(self, bad: int, taken: int) -> tuple[Scored, bool, float] | None:
        """The rule that gains most, whether it goes to the front or to the end, and what it gains."""
        for number in self._stale:
            gain, ahead = _gain(self.all[number], bad, taken, self._sample.largest)
            self._gains[number] = gain, ahead
            if gain > _LEAST:
                heappush(self._heap, (-gain, number))
        self._stale.clear()
        while self._heap:
            gain, number = self._heap[0]
            if self._gains[number][0] == -gain:
                return self.all[number], self._gains[number][1], -gain
            heappop(self._heap)
        return None

    def changed(self, chosen: Scored, bad: int) -> None:
        """Takes note of a choice; adds rules for those cells of a group that are still wrong."""
        groups: dict[int, None] = {}
        for own in chosen.cells:
            self._stale.update(dict.fromkeys(self._touching.get(own, ())))
            groups.update(dict.fromkeys(self._around.get(own, ())))
        for number in groups:
            members = self._groups[number].members
            left = [m for m in members if self._sample.cells.get(m.number, 0) & bad]
            if left and len(left) < len(members):
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
            shape, after = min(steps, key=lambda step: (_harm(step[1]), step[1].cost))
            if scored is not None and _harm(after) >= _harm(scored):
                return
            scored = after

    def _try(self, group: Group, shape: Shape) -> Scored | None:
        candidate = group.candidate(shape)
        if candidate is None:
            return None
        scored = self._sample.score(candidate)
        if candidate.rule not in self._seen:
            self._seen.add(candidate.rule)
            self._stale[len(self.all)] = None
            for own in scored.cells:
                self._touching.setdefault(own, []).append(len(self.all))
            self.all.append(scored)
            self._gains.append((_LEAST, True))
        return scored
