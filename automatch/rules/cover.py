"""Choosing rules: the shortest ordered list that is right on every key of a sample.

The list is built from its end, as transformation lists are (Brill 1995): every rule chosen is
put in front of those already there, so an exception goes before what it excepts. Each step
takes the rule that shortens the description most: what it costs to read, against what the
cells cost that it puts right (each would need a rule of its own) less those it breaks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from automatch.errors import RuleError
from automatch.rules.arrange import arranged
from automatch.rules.candidates import BASE_COST, Candidate, Group, Shape
from automatch.rules.demands import RENAME, Channel, Demand, Demands
from automatch.rules.holes import literal
from automatch.rules.replacement import parse, quote
from automatch.rules.rule import Rule
from automatch.rules.tokens import BY, PART

_CELL = 4.0
_STEPS = 6
_ESCAPED = re.compile(r"\\\W")
_FREEDOM = re.compile(r"[(|+\[]")


@dataclass(frozen=True, slots=True)
class Probe:
    """A key of the sample.

    Attributes:
        key: the checkpoint key.
        demand: what it must become; None for a key that belongs nowhere.
        cell: number of the cell or family that it stands for.
    """

    key: str
    demand: Demand | None
    cell: int


@dataclass
class _Scored:
    candidate: Candidate
    right: int
    wrong: int
    cells: tuple[int, ...]


class Cover:
    """The search over one sample."""

    def __init__(self, probes: Sequence[Probe], demands: Demands) -> None:
        self._probes = tuple(probes)
        self._demands = demands
        self._cells: dict[int, int] = {}
        for i, probe in enumerate(probes):
            self._cells[probe.cell] = self._cells.get(probe.cell, 0) | 1 << i
        self._scores: dict[Rule, tuple[int, int]] = {}

    def rules(self, groups: Sequence[Group]) -> list[Rule]:
        """The rules, in the order in which they are asked."""
        bad, taken = self._bad_at_first(), 0
        pool = [scored for group in groups for scored in self._explore(group)]
        chosen: list[_Scored] = []
        while bad:
            best, after, front = self._best(pool, bad, taken)
            if best is None:
                best, front = self._literal(bad), True
                after = bad & ~best.right
            chosen.insert(0 if front else len(chosen), best)
            bad, taken = after, taken | best.right | best.wrong
            pool += self._around(groups, bad)
        chosen = self._pruned(chosen)
        rules = [_marked(scored.candidate.rule) for scored in chosen]
        order = arranged([scored.right | scored.wrong for scored in chosen], [bool(rule.note) for rule in rules])
        return [rules[i] for i in order]

    def _best(self, pool: Sequence[_Scored], bad: int, taken: int) -> tuple[_Scored | None, int, bool]:
        """The rule that gains most, what is wrong after it, and whether it goes to the front or the end."""
        best: tuple[_Scored | None, int, bool] = (None, bad, True)
        gain = -BASE_COST
        for scored in pool:
            if not scored.right & bad:
                continue
            for front in (False, True):
                reach = -1 if front else ~taken
                after = bad & ~(scored.right & reach) | scored.wrong & reach
                less = sum(_weight(own, bad) - _weight(own, after) for own in scored.cells)
                if less > 0 and less - scored.candidate.cost > gain:
                    best, gain = (scored, after, front), less - scored.candidate.cost
        return best

    def _bad_at_first(self) -> int:
        bad = 0
        for i, probe in enumerate(self._probes):
            if probe.demand is not None and (probe.demand.goals != (probe.key,) or probe.demand.channel != RENAME):
                bad |= 1 << i
        return bad

    def _weight(self, bad: int) -> float:
        """What it costs to put these keys right, cell by cell."""
        return sum(_weight(own, bad) for own in self._cells.values() if own & bad)

    def _explore(self, group: Group) -> list[_Scored]:
        """Rules for a whole group: the extremes, and stricter ones until nothing goes wrong."""
        found: dict[str, _Scored] = {}
        for shape in group.extremes():
            self._descend(group, shape, found)
        return list(found.values())

    def _descend(self, group: Group, shape: Shape, found: dict[str, _Scored]) -> None:
        scored = self._try(group, shape, found)
        for _ in range(_STEPS):
            if scored is not None and not scored.wrong:
                return
            steps = [(s, own) for s in group.stricter(shape) if (own := self._try(group, s, found)) is not None]
            if not steps:
                return
            shape, after = min(steps, key=lambda step: (self._weight(step[1].wrong), step[1].candidate.cost))
            if scored is not None and self._weight(after.wrong) >= self._weight(scored.wrong):
                return
            scored = after

    def _try(self, group: Group, shape: Shape, found: dict[str, _Scored]) -> _Scored | None:
        candidate = group.candidate(shape)
        if candidate is None:
            return None
        if candidate.rule.pattern not in found:
            found[candidate.rule.pattern] = self._scored(candidate)
        return found[candidate.rule.pattern]

    def _around(self, groups: Sequence[Group], bad: int) -> list[_Scored]:
        """Rules for those cells of a group that are still wrong."""
        out = []
        for group in groups:
            left = [m for m in group.members if self._cells.get(m.number, 0) & bad]
            if left and len(left) < len(group.members):
                out += self._explore(Group(left))
        return out

    def _scored(self, candidate: Candidate) -> _Scored:
        right, wrong = self._score(candidate)
        touched = tuple(own for own in self._cells.values() if own & (right | wrong))
        return _Scored(candidate, right, wrong, touched)

    def _score(self, candidate: Candidate) -> tuple[int, int]:
        """Which probes a rule puts right, and which it makes wrong."""
        if candidate.rule in self._scores:
            return self._scores[candidate.rule]
        pattern = re.compile(candidate.rule.pattern)
        texts = candidate.rule.replacement
        parsed = [parse(text) for text in (texts if isinstance(texts, tuple) else (texts,))]
        extra = {candidate.rule.by: BY} if candidate.rule.by is not None else {}
        right = wrong = 0
        for i, probe in enumerate(self._probes):
            match = pattern.fullmatch(probe.key)
            if match is None:
                continue
            groups = {**extra, **match.groupdict()}
            try:
                goals = tuple(text.expand(groups) for text in parsed)
            except RuleError:
                wrong |= 1 << i
                continue
            if self._fits(probe, goals, candidate.channel):
                right |= 1 << i
            else:
                wrong |= 1 << i
        self._scores[candidate.rule] = right, wrong
        return right, wrong

    def _fits(self, probe: Probe, goals: tuple[str, ...], channel: Channel) -> bool:
        if probe.demand is not None:
            return probe.demand.goals == goals and probe.demand.channel == channel
        if channel != RENAME:
            return False
        return goals[0] not in self._demands.taboo or (probe.key, goals[0]) in self._demands.excused

    def _literal(self, bad: int) -> _Scored:
        """A rule for one key alone."""
        probe = self._probes[(bad & -bad).bit_length() - 1]
        assert probe.demand is not None  # a key that belongs nowhere is never wrong at first
        scored = self._scored(literal_candidate(probe.demand))
        return replace(scored, right=scored.right | bad & -bad, wrong=scored.wrong & ~(bad & -bad))

    def _pruned(self, chosen: list[_Scored]) -> list[_Scored]:
        """Without the rules whose work the others do."""
        for scored in list(chosen):
            rest = [other for other in chosen if other is not scored]
            if not self._left(rest):
                chosen = rest
        return chosen

    def _left(self, chosen: list[_Scored]) -> int:
        bad = self._bad_at_first()
        for scored in reversed(chosen):
            bad = bad & ~scored.right | scored.wrong
        return bad


def _weight(cell: int, bad: int) -> float:
    """What it costs to put the bad keys of a cell right."""
    left = (cell & bad).bit_count()
    return _CELL + _CELL * left / cell.bit_count() if left else 0.0


def _marked(rule: Rule) -> Rule:
    """The rule, with a note where it stands for one key alone."""
    alone = not _FREEDOM.search(_ESCAPED.sub("", rule.pattern))
    return replace(rule, note="literal") if alone and not rule.note else rule


def literal_candidate(demand: Demand) -> Candidate:
    """A rule for one demand alone."""
    law, part, by = demand.channel.law, demand.channel.part, "e" if demand.channel.by else None
    pattern = literal(demand.source)
    goals = tuple(map(quote, demand.goals))
    if by is not None:
        pattern = pattern.replace(BY, r"(?P<e>\d+)")
        goals = tuple(goal.replace(BY, "{e}") for goal in goals)
    if part is not None and isinstance(part[0], str):
        pattern = pattern.replace(PART, f"(?P<part>{'|'.join(literal(str(text)) for text in part)})")
    rule = Rule(
        pattern,
        goals[0] if len(goals) == 1 else goals,
        law.op,
        part=(int(part[0]), int(part[1]))
        if part is not None and PART not in demand.source
        else "part"
        if part
        else None,
        by=by,
        dim=law.dim,
        perm=law.perm,
        sizes=law.sizes,
        shape=law.shape,
    )
    return Candidate(rule, demand.channel, BASE_COST + 3.0)
