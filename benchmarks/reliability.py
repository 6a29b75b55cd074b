"""How far confidences can be believed: fitted to some families of cases, held against the others.

A case counts once, however many keys it has: its layers are right or wrong together.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, sqrt
from typing import NamedTuple

from cases import Case, Entry

ALIKE = 0.5
"""Two cases are of one family where either side shares at least this of its names, numbers apart (Jaccard index)."""

EDGES = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)
"""Lower edges of the bins of confidence."""

SURE = 0.95

Z = 1.96
"""Of the normal distribution: intervals hold 95 %."""


class Reason(NamedTuple):
    """What is said of a match: how sure, whether it is flagged, in which words."""

    confidence: float
    flagged: bool
    words: str


@dataclass(frozen=True)
class Sample:
    """The matches of one case that are given one reason.

    Attributes:
        case: its id, and how it was changed.
        family: number of its family.
        reason: what is said.
        right: how many are right.
        of: how many there are.
    """

    case: str
    family: int
    reason: Reason
    right: int
    of: int

    @property
    def share(self) -> float:
        """The share that is right."""
        return self.right / self.of


@dataclass(frozen=True)
class Fitted:
    """One reason, measured.

    Attributes:
        value: the fitted confidence: share of right matches, a case counting as one draw (with Jeffreys' prior).
        low: lower end of Wilson's interval of the share, a family counting as one draw.
        high: its upper end.
        keys: how many matches were given the reason.
        right: how many of them are right.
        cases: in how many cases.
        families: in how many families.
    """

    value: float
    low: float
    high: float
    keys: int
    right: int
    cases: int
    families: int


def families(cases: Sequence[Case]) -> dict[str, int]:
    """The number of each case's family, by case id: variants, and models that share a library's names."""
    names = [(_names(case.source), _names(case.target)) for case in cases]
    number = list(range(len(cases)))
    for i, mine in enumerate(names):
        for j in range(i):
            if number[i] != number[j] and any(len(a & b) >= ALIKE * len(a | b) for a in mine for b in names[j]):
                gone, kept = number[i], number[j]
                number = [kept if n == gone else n for n in number]
    return {case.id: n for case, n in zip(cases, number, strict=True)}


def _names(side: Iterable[Entry]) -> frozenset[str]:
    return frozenset(re.sub(r"\d+", "#", key) for key, _, _ in side)


def folds(samples: Sequence[Sample], count: int) -> dict[int, int]:
    """The fold of each family: the largest families first, each into the fold that has the fewest cases so far."""
    cases: dict[int, set[str]] = defaultdict(set)
    for sample in samples:
        cases[sample.family].add(sample.case)
    sizes = [0] * count
    out: dict[int, int] = {}
    for family in sorted(cases, key=lambda f: (-len(cases[f]), f)):
        out[family] = sizes.index(min(sizes))
        sizes[out[family]] += len(cases[family])
    return out


def fit(samples: Iterable[Sample]) -> dict[Reason, Fitted]:
    """A confidence for each reason, from what was right."""
    by_reason: dict[Reason, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_reason[sample.reason].append(sample)
    out = {}
    for reason, group in by_reason.items():
        shares: dict[int, list[float]] = defaultdict(list)
        for sample in group:
            shares[sample.family].append(sample.share)
        low, high = wilson(_mean([_mean(own) for own in shares.values()]), len(shares))
        value = (sum(s.share for s in group) + 0.5) / (len(group) + 1)
        keys, right = sum(s.of for s in group), sum(s.right for s in group)
        out[reason] = Fitted(value, low, high, keys, right, len(group), len(shares))
    return out


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def wilson(share: float, count: int) -> tuple[float, float]:
    """The interval of a share over `count` draws that holds 95 % (Wilson 1927)."""
    middle = share + Z * Z / (2 * count)
    half = Z * sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    return (middle - half) / (1 + Z * Z / count), (middle + half) / (1 + Z * Z / count)


def held_out(samples: Sequence[Sample], count: int) -> list[float]:
    """For each sample, the confidence that the families outside of its fold give its reason."""
    fold = folds(samples, count)
    fitted = [fit(s for s in samples if fold[s.family] != i) for i in range(count)]
    others = [_mean([f.value for reason, f in one.items() if not reason.flagged]) for one in fitted]
    out = []
    for sample in samples:
        i = fold[sample.family]
        found = fitted[i].get(sample.reason)
        out.append(found.value if found else others[i])
    return out


@dataclass(frozen=True)
class Bin:
    """One bin of confidences.

    Attributes:
        low: its lower edge.
        keys: matches in it.
        cases: cases that have any.
        said: mean confidence over these cases.
        right: mean share of right matches over these cases.
    """

    low: float
    keys: int
    cases: int
    said: float
    right: float


def bins(samples: Sequence[Sample], said: Sequence[float]) -> list[Bin]:
    """The reliability table; empty bins are left out."""
    out = []
    for low, high in pairwise((*EDGES, inf)):
        inside = [(s, p) for s, p in zip(samples, said, strict=True) if low <= p < high]
        if inside:
            keys, cases = sum(s.of for s, _ in inside), len({s.case for s, _ in inside})
            weights = _weights([s for s, _ in inside])
            whole = sum(weights)
            mean = sum(w * p for w, (_, p) in zip(weights, inside, strict=True)) / whole
            right = sum(w * s.share for w, (s, _) in zip(weights, inside, strict=True)) / whole
            out.append(Bin(low, keys, cases, mean, right))
    return out


def _weights(samples: Sequence[Sample]) -> list[float]:
    """What each sample counts, so that all its case's samples count 1 together."""
    keys: dict[str, int] = defaultdict(int)
    for sample in samples:
        keys[sample.case] += sample.of
    return [sample.of / keys[sample.case] for sample in samples]


class Quality(NamedTuple):
    """How good confidences are.

    Attributes:
        brier: mean squared distance to what came out (0: wholly right), mean over the cases.
        ece: mean distance between confidence and share over the bins (expected calibration error).
        precision: share of right matches among those that are sure (>= 0.95) and not flagged, by keys.
        cover: the right ones of these as a share of the keys that have a counterpart.
    """

    brier: float
    ece: float
    precision: float
    cover: float


def quality(samples: Sequence[Sample], said: Sequence[float], asked: Mapping[str, int]) -> Quality:
    """Judges confidences.

    Args:
        samples: what was asked.
        said: the confidence of each.
        asked: case -> how many of its keys have a true counterpart.
    """
    weights = _weights(samples)
    squares = [s.share * (1 - p) ** 2 + (1 - s.share) * p**2 for s, p in zip(samples, said, strict=True)]
    table = bins(samples, said)
    whole = sum(b.cases for b in table)
    sure = [s for s, p in zip(samples, said, strict=True) if p >= SURE and not s.reason.flagged]
    right = sum(s.right for s in sure)
    return Quality(
        sum(w * q for w, q in zip(weights, squares, strict=True)) / max(1.0, sum(weights)),
        sum(b.cases * abs(b.said - b.right) for b in table) / max(1, whole),
        right / max(1, sum(s.of for s in sure)),
        right / max(1, sum(asked.values())),
    )
