"""What the statistics of a norm's vectors say: a variance is never negative, a weight lies around one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

from automatch.learning.arrays import Arrays
from automatch.learning.forms import floats_of
from automatch.learning.likeness import SURE
from automatch.matching.assignment import Match
from automatch.rules.tokens import template
from automatch.spec import StateDictSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = {
    "running_var": "variance", "moving_variance": "variance", "running_mean": "mean", "moving_mean": "mean",
    "weight": "weight", "gamma": "weight", "scale": "weight", "bias": "bias", "beta": "bias",
}  # fmt: skip
"""What the vectors of a norm are called, and what they are."""

NARROW = 0.4
"""A spread below this share of the mean is that of a norm's weight; variances of channels differ more."""

FEWEST = 32
"""So many elements of a family at least: fewer are all positive by chance."""

MOST_ROLES = 6
"""More vectors than these are not tried in all orders."""

TURNED, LEFT_OVER, REFUTED = 0.6, 0.3, 0.1
"""Confidence where values speak for a pair, where nothing does, and where they speak against it."""


def left_over(
    flagged: Iterable[Match],
    missing: Iterable[str],
    unexpected: Iterable[str],
    given: StateDictSpec,
    wanted: StateDictSpec,
) -> list[Match]:
    """What is left over on both sides in modules that flagged matches put together, as many on each.

    Args:
        flagged: the matches.
        missing: model keys that nothing serves.
        unexpected: checkpoint keys that serve nothing.
        given: the checkpoint's keys and shapes.
        wanted: the model's.

    Returns:
        Pairs that might be matches, in the order of both sides.
    """
    modules = {cut_key(m.model_keys[0])[0]: cut_key(m.checkpoint_keys[0])[0] for m in flagged}
    mine, theirs = defaultdict(list), defaultdict(list)
    for key in unexpected:
        mine[cut_key(key)[0], given.by_key[key].shape].append(key)
    for key in missing:
        if cut_key(key)[0] in modules and cut_key(key)[1] in NAMES:
            theirs[cut_key(key)[0], wanted.by_key[key].shape].append(key)
    return [
        Match((target,), (source,), "rename", LEFT_OVER, True, (), "left over in their modules")
        for (module, shape), targets in theirs.items()
        if len(sources := mine[modules[module], shape]) == len(targets)
        for source, target in zip(sources, targets, strict=True)
    ]


@dataclass
class _Statistics:
    """What is known of the tensors of one name in all blocks."""

    count: int = 0
    positive: int = 0
    negative: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, values: NDArray[Any]) -> None:
        """Count the elements of one more tensor."""
        wide = values.astype("f8")
        self.count += wide.size
        self.positive += int((wide > 0).sum())
        self.negative += int((wide < 0).sum())
        self.total += float(wide.sum())
        self.squares += float((wide * wide).sum())

    @property
    def mean(self) -> float:
        """The mean of all elements."""
        return self.total / max(1, self.count)

    @property
    def spread(self) -> float:
        """The standard deviation of all elements."""
        return math.sqrt(max(0.0, self.squares / max(1, self.count) - self.mean**2))

    def speaks_for(self, role: str) -> float:
        """How well they fit a role: below 0 where they cannot have it."""
        sides = min(self.positive, self.negative) / max(1, self.count)
        narrow = self.spread < NARROW * abs(self.mean)
        if role == "variance":
            return -1.0 if self.negative else 0.5 if narrow else 0.75
        if role == "weight":
            return (1.0 if narrow else 0.5) if sides < 0.1 and 0.3 < self.mean < 3 else 0.0
        return 1.0 if sides > 0.15 or self.positive == self.negative == 0 else 0.0

    def words(self) -> str:
        """What a person would look at."""
        return f"mean {self.mean:.2f}, spread {self.spread:.2f}, {'some' if self.negative else 'none'} negative"


def by_roles(matches: Iterable[Match], checkpoint: Arrays) -> dict[str, Match]:
    """Flagged vectors of norms whose values tell which is which; decided for all blocks of a family at once.

    Args:
        matches: the flagged ones, and pairs of left-overs that might be matches.
        checkpoint: the values of the checkpoint.

    Returns:
        Model key -> the match as values would have it, for those that they speak of.
    """
    families: dict[tuple[str, str], list[Match]] = defaultdict(list)
    for match in matches:
        (source, _), (target, leaf) = cut_key(match.checkpoint_keys[0]), cut_key(match.model_keys[0])
        if leaf in NAMES and len(checkpoint.spec.by_key[match.checkpoint_keys[0]].shape) == 1:
            families[template(source), template(target)].append(match)
    out: dict[str, Match] = {}
    for family in families.values():
        out.update(_roles_of(family, checkpoint))
    return out


def cut_key(key: str) -> tuple[str, str]:
    """Module and name of a tensor."""
    module, _, leaf = key.rpartition(".")
    return module, leaf


def _roles_of(family: Sequence[Match], checkpoint: Arrays) -> dict[str, Match]:
    """The matches of one family of modules as values would have them."""
    given = list(dict.fromkeys(cut_key(m.checkpoint_keys[0])[1] for m in family))
    wanted = list(dict.fromkeys(cut_key(m.model_keys[0])[1] for m in family))
    now = {cut_key(m.model_keys[0])[1]: cut_key(m.checkpoint_keys[0])[1] for m in family}
    if len(given) != len(wanted) or not 2 <= len(given) <= MOST_ROLES or not _is_regular(family, given):
        return {}
    known = {leaf: _Statistics() for leaf in given}
    for match in family:
        key = match.checkpoint_keys[0]
        known[cut_key(key)[1]].add(floats_of(checkpoint(key), checkpoint.spec.by_key[key].dtype))
    marks = {(s, t): known[s].speaks_for(NAMES[t]) for s in given for t in wanted}
    scores = {
        order: sum(min(marks[s, t], 1.0) if marks[s, t] >= 0 else -9.0 for s, t in zip(order, wanted, strict=True))
        for order in permutations(given)
    }
    best = max(scores.values())
    winners = [order for order, score in scores.items() if score == best]
    if best < 0:
        return _refuted(family, now, marks, known)
    # Of those that values like alike, the one that is nearest to what the matching said.
    nearest = max(winners, key=lambda order: sum(now[t] == s for s, t in zip(order, wanted, strict=True)))
    chosen = dict(zip(wanted, nearest, strict=True))
    told = {t for i, t in enumerate(wanted) if len({order[i] for order in winners}) == 1}
    certain = {t for t in told if NAMES[t] == "variance" and [s for s in given if marks[s, t] >= 0] == [chosen[t]]}
    if not told:
        return {}
    if len(wanted) == 2 and certain:
        certain = set(wanted)  # for the other one, one place is left
    return {m.model_keys[0]: _turned(m, chosen, told, certain, known) for m in family}


def _is_regular(family: Sequence[Match], given: Sequence[str]) -> bool:
    """Whether every module of the model gets all of these from one module of the checkpoint."""
    blocks: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for match in family:
        blocks[cut_key(match.model_keys[0])[0]].append(cut_key(match.checkpoint_keys[0]))
    return all(
        len({module for module, _ in own}) == 1 and sorted(leaf for _, leaf in own) == sorted(given)
        for own in blocks.values()
    )


def _turned(
    match: Match, chosen: Mapping[str, str], told: set[str], certain: set[str], known: Mapping[str, _Statistics]
) -> Match:
    """The match with the source that values choose, or leave for it."""
    (module, _), leaf = cut_key(match.checkpoint_keys[0]), cut_key(match.model_keys[0])[1]
    source = f"{module}.{chosen[leaf]}" if module else chosen[leaf]
    if leaf not in told:
        said, sure = "values do not tell it from the others that are left", False
    else:
        sure = leaf in certain and known[chosen[leaf]].count >= FEWEST
        said = f"values: {known[chosen[leaf]].words()}, as a {leaf}"
        only = "which no other can be" if NAMES[leaf] == "variance" else "the one place left"
        said += f", {only}: this decides" if sure else ""
    confidence = SURE if sure else TURNED if leaf in told else match.confidence
    rivals = () if sure else tuple(key for key in match.alternatives if key != source)
    return match._replace(
        checkpoint_keys=(source,),
        confidence=confidence,
        ambiguous=not sure,
        alternatives=rivals,
        reason=f"{said}; without values: {match.reason}",
    )


def _refuted(
    family: Sequence[Match],
    now: Mapping[str, str],
    marks: Mapping[tuple[str, str], float],
    known: Mapping[str, _Statistics],
) -> dict[str, Match]:
    """Matches that values speak against, without saying which would be right."""
    out = {}
    for match in family:
        leaf = cut_key(match.model_keys[0])[1]
        if marks[now[leaf], leaf] < 0:
            reason = f"values: {known[now[leaf]].words()}, which a {leaf} never is; without values: {match.reason}"
            out[match.model_keys[0]] = match._replace(confidence=REFUTED, reason=reason)
    return out
