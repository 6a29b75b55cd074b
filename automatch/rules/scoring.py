"""What a candidate rule does to every key of a sample: puts it right, makes it wrong, or passes it by.

Sets of keys are bits of one integer, so that the search can weigh thousands of rule lists.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from automatch.errors import RuleError
from automatch.rules.candidates import BASE_COST, Candidate, part_group, rule_of
from automatch.rules.demands import RENAME, Channel, Demand, Demands
from automatch.rules.holes import literal
from automatch.rules.members import literal_text
from automatch.rules.replacement import parse, quote
from automatch.rules.rule import Rule
from automatch.rules.tokens import BY, PART

_CELL = 4.0
MOST_OF_A_KEY = 2 * _CELL
"""What one key can cost at most, see `weight`."""
_LEANING, _MOST_LEANING = 0.3, 2.0


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


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate with what it does.

    Attributes:
        candidate: the rule and its cost.
        right: keys that it puts right.
        wrong: keys that it makes wrong.
        cells: the keys of every cell that it touches.
        cost: how long the rule reads, and how much it leans on rules before it.
    """

    candidate: Candidate
    right: int
    wrong: int
    cells: tuple[int, ...]
    cost: float

    @property
    def taken(self) -> int:
        """Keys that its pattern matches."""
        return self.right | self.wrong


class Sample:
    """The keys by which rules are judged."""

    def __init__(self, probes: Sequence[Probe], demands: Demands) -> None:
        self._probes = tuple(probes)
        self._demands = demands
        self._sorted = sorted((probe.key, i) for i, probe in enumerate(probes))
        self._scored: dict[Rule, Scored] = {}
        self.cells: dict[int, int] = {}
        self.bad = 0
        for i, probe in enumerate(probes):
            self.cells[probe.cell] = self.cells.get(probe.cell, 0) | 1 << i
            demand = probe.demand
            if demand is not None and (demand.goals != (probe.key,) or demand.channel != RENAME):
                self.bad |= 1 << i

        self.largest = max((cell.bit_count() for cell in self.cells.values()), default=1)

    def left(self, rules: Sequence[Scored]) -> int:
        """Keys that are wrong under an ordered list of rules."""
        bad = self.bad
        for scored in reversed(rules):
            bad = bad & ~scored.right | scored.wrong
        return bad

    def score(self, candidate: Candidate) -> Scored:
        """What a candidate does to every key."""
        if candidate.rule in self._scored:
            return self._scored[candidate.rule]
        pattern = re.compile(candidate.rule.pattern)
        start = _beginning(candidate.rule.pattern)
        low = bisect_left(self._sorted, (start, 0))
        high = bisect_left(self._sorted, (start + chr(0x10FFFF), 0))
        parsed = [parse(text) for text in candidate.rule.replacements]
        extra = {candidate.rule.by: BY} if candidate.rule.by is not None else {}
        right = wrong = 0
        touched: dict[int, None] = {}
        for _, i in self._sorted[low:high]:
            probe = self._probes[i]
            match = pattern.fullmatch(probe.key)
            if match is None:
                continue
            touched[self.cells[probe.cell]] = None
            groups = {**extra, **match.groupdict()}
            try:
                goals = tuple(text.expand(groups) for text in parsed)
            except RuleError:
                goals = ()
            if self._fits(probe, goals, candidate.channel):
                right |= 1 << i
            else:
                wrong |= 1 << i
        lean = min(_MOST_LEANING, _LEANING * sum(1 for own in touched if own & wrong))
        self._scored[candidate.rule] = Scored(candidate, right, wrong, tuple(touched), candidate.cost + lean)
        return self._scored[candidate.rule]

    def numbers_behind(self, start: str) -> set[int]:
        """The numbers that come behind a beginning, a pattern, in any key."""
        pattern = re.compile(start + r"([0-9]+)(?![0-9])")
        found = (pattern.match(probe.key) for probe in self._probes)
        return {int(match[match.re.groups]) for match in found if match is not None}

    def literal(self, bad: int) -> Scored:
        """A rule for the first of these keys alone."""
        first = bad & -bad
        probe = self._probes[first.bit_length() - 1]
        demand = probe.demand or staying(probe.key)
        scored = self.score(literal_candidate(demand))
        return replace(scored, right=scored.right | first, wrong=scored.wrong & ~first)

    def _fits(self, probe: Probe, goals: tuple[str, ...], channel: Channel) -> bool:
        if not goals:
            return False
        if probe.demand is not None:
            return probe.demand.goals == goals and probe.demand.channel == channel
        if channel != RENAME:
            return False
        return (
            goals[0] == probe.key
            or goals[0] not in self._demands.taboo
            or (probe.key, goals[0]) in self._demands.excused
        )


def staying(key: str) -> Demand:
    """The demand that a key stays as it is."""
    return Demand((key,), key, (key,))


def _beginning(pattern: str) -> str:
    """Text with which every key begins that a pattern matches."""
    text, end = literal_text(pattern)
    return "" if pattern[end : end + 1] in ("|", "?", "*", "{") else text


def weight(cell: int, bad: int) -> float:
    """What it costs to put the bad keys of a cell right."""
    left = (cell & bad).bit_count()
    return _CELL + _CELL * left / cell.bit_count() if left else 0.0


def literal_candidate(demand: Demand) -> Candidate:
    """A rule for one demand alone."""
    channel, part, by = demand.channel, None, None
    pattern = literal(demand.source)
    goals = tuple(map(quote, demand.goals))
    if channel.by:
        by = "e"
        pattern = pattern.replace(BY, r"(?P<e>\d+)")
        goals = tuple(goal.replace(BY, "{e}") for goal in goals)
    if channel.part is not None and isinstance(channel.part[0], str):
        part = "part"
        pattern = pattern.replace(PART, part_group(channel, part))
    return Candidate(rule_of(channel, pattern, goals, part, by), channel, BASE_COST + 3.0)
