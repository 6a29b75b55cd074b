"""From the answer to a miniature to that of the whole: what is said of every item that was kept is said of all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from math import prod
from typing import NamedTuple

from automatch.matching.assignment import Assignment, Match
from automatch.matching.miniature.cutting import Half, Ranks


class _Side(NamedTuple):
    """One side of a match of the miniature.

    Attributes:
        half: where its keys are from.
        keys: its keys; of a list that the other side stacks, those of the first item.
        by_item: of such a list with several keys an item: item by item, not key by key.
        height: how many items of the list were kept, 0 where it is none.
    """

    half: Half
    keys: tuple[str, ...]
    by_item: bool = False
    height: int = 0

    def family(self) -> tuple[object, ...]:
        """What all keys have in common that the match is said of."""
        places = self.half.places
        return (self.by_item, self.height, *(places[key].family() if key in places else key for key in self.keys))

    def outer(self) -> set[tuple[tuple[int, ...], Ranks, int]]:
        """How its keys are cut outside the stacks, and the ranks of their items: lengths, ranks, how many are kept."""
        out = set()
        for key in self.keys:
            place = self.half.places.get(key)
            pairs = zip(place.axes, place.ranks, strict=True) if place else ()
            own = [(axis, rank) for axis, rank in pairs if not axis.stacked]
            lengths = tuple(axis.length for axis, _ in own)
            out.add((lengths, tuple(rank for _, rank in own), prod(axis.kept for axis, _ in own)))
        return out

    def grown(self) -> list[tuple[str, ...]]:
        """The keys of all matches of the whole, by the ranks of their items."""
        like = [self.half.keys_like(key) for key in self.keys]
        if not self.height:
            return list(zip(*like, strict=True))
        length = self.half.places[self.keys[0]].axes[-1].length
        items = [[keys[at : at + length] for keys in like] for at in range(0, len(like[0]), length)]
        return [tuple(chain.from_iterable(zip(*one, strict=True) if self.by_item else one)) for one in items]


def enlarged(small: Assignment, mine: Half, theirs: Half) -> list[Match] | None:
    """The matches of the whole.

    Args:
        small: the assignment of the miniature.
        mine: the checkpoint's side.
        theirs: the model's side.

    Returns:
        Matches in no particular order; None where the miniature does not say the same of every item.
    """
    torn = any(theirs.is_cut(pair.key) or mine.is_cut(pair.checkpoint_key) for pair in small.mismatched)
    if not small.matches or small.notes or torn or _missed(small, mine, theirs):
        return None
    out: list[Match] = []
    families: dict[object, list[tuple[Ranks, int, tuple[_Side, _Side], Match]]] = defaultdict(list)
    for match in small.matches:
        if not (any(map(theirs.is_cut, match.model_keys)) or any(map(mine.is_cut, match.checkpoint_keys))):
            out.append(match)
            continue
        served, serving = _side(theirs, match.model_keys), _side(mine, match.checkpoint_keys)
        if match.ambiguous or served is None or serving is None or not _go_together(served, serving, match):
            return None
        outer = served.outer() | serving.outer()
        if len(outer) > 1:
            return None
        _, ranks, kept = outer.pop()
        said = match._replace(model_keys=(), checkpoint_keys=())
        families[said, served.family(), serving.family()].append((ranks, kept, (served, serving), match))
    for members in families.values():
        _, kept, sides, match = members[0]
        if not len(members) == len({ranks for ranks, *_ in members}) == kept:
            return None
        keys = zip(*(side.grown() for side in sides), strict=True)
        out += [Match._make((*pair, *match[2:])) for pair in keys]
    return out


def _missed(small: Assignment, mine: Half, theirs: Half) -> bool:
    """Is anything that was cut left over on both sides in one shape? Then the cut may be why it was not matched."""
    left = [
        {half.spec.by_key[key].shape for key in keys if half.is_cut(key)}
        for half, keys in ((mine, small.unexpected_keys), (theirs, small.missing_keys))
    ]
    return not left[0].isdisjoint(left[1])


def _side(half: Half, keys: Sequence[str]) -> _Side | None:
    """One side of a match; None where it has some items of a list that the other side stacks, and not all in order."""
    places = [half.places.get(key) for key in keys]
    if not any(place is not None and any(axis.stacked for axis in place.axes) for place in places):
        return _Side(half, tuple(keys))
    ranks: list[int] = []
    families = []
    for place in places:
        if place is None or not place.axes[-1].stacked or any(axis.stacked for axis in place.axes[:-1]):
            return None
        ranks.append(place.ranks[-1])
        families.append((place.family(), place.ranks[:-1]))
    height = place.axes[-1].kept if place else 0
    parts, rest = divmod(len(keys), height)
    if rest or not parts:
        return None
    for by_item in (False, True):
        step, apart = (parts, 1) if by_item else (1, height)
        first = [part * apart for part in range(parts)]
        order = [(at, rank, at + rank * step) for at in first for rank in range(height)]
        if all(ranks[place] == rank and families[place] == families[at] for at, rank, place in order):
            return _Side(half, tuple(keys[at] for at in first), by_item and parts > 1, height)
    return None


def _go_together(served: _Side, serving: _Side, match: Match) -> bool:
    """Do stacks that were cut, and they alone, meet lists that were, and does no number of the operation tell so?"""
    height = max(served.height, serving.height)
    for side, other in ((served, serving), (serving, served)):
        stacks = {side.half.stacks.get(key, 0) for key in side.keys}
        if stacks != {other.height if not side.height else 0}:
            return False
    return not height or height not in (*(match.sizes or ()), *(match.shape or ()))
