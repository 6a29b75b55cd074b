"""One tensor that became one: found by equal sums, decided by comparing element by element."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from automatch.learning.arrangement import Arrangement, arrangements, interleaved
from automatch.learning.relation import Relation
from automatch.learning.sides import Sides


@dataclass(frozen=True, slots=True)
class Equal:
    """Tensors that hold the same values on both sides, so that values do not tell which became which.

    Attributes:
        sources: keys of the original, two or more.
        targets: keys of the conversion.
        how: what happens to the values.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    how: Arrangement


def find_singles(sides: Sides, sources: Sequence[str], targets: Sequence[str]) -> tuple[list[Relation], list[Equal]]:
    """Every target that is one source in some arrangement.

    Args:
        sides: both sides, sketched.
        sources: keys of the original to choose from.
        targets: keys of the conversion to explain.

    Returns:
        What values decide; and what they leave open.
    """
    index = sides.by_total(False, sources)
    dtypes = tuple(dict.fromkeys(dtype for dtype, *_ in index))
    together: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for target in targets:
        found = _candidates(sides, target, dtypes, index)
        if found:
            together[found].append(target)
    relations: list[Relation] = []
    equal: list[Equal] = []
    for found, wanted in together.items():
        for own, targets_alike in _alike(sides, True, wanted):
            best = _best(sides, found, own)
            if best is None:
                continue
            how, chosen = best
            if len(chosen) == 1:
                relations += (Relation(chosen, (target,), how) for target in targets_alike)
            else:
                equal.append(Equal(chosen, tuple(targets_alike), how))
    return relations, equal


def _candidates(
    sides: Sides, target: str, dtypes: Sequence[str], index: dict[tuple[str, str, int, int], list[str]]
) -> tuple[str, ...]:
    """The sources that have the sums of a target, in their order."""
    found: dict[str, None] = {}
    for dtype in dtypes:
        form = sides.form_of_dtype(dtype, target)
        one = sides.sketches.get((True, target, form or ""))
        if form is not None and one is not None:
            found.update(dict.fromkeys(index.get((dtype, form, one.size, one.total), ())))
    return tuple(found)


def _alike(sides: Sides, converted: bool, keys: Sequence[str]) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Keys of one side in groups of equal shape and values, each with its first."""
    if len(keys) == 1:
        return [(keys[0], tuple(keys))]
    groups: dict[tuple[object, bytes], list[str]] = defaultdict(list)
    for key in keys:
        groups[sides.spec(converted).by_key[key].shape, sides.digest(converted, key)].append(key)
    return [(own[0], tuple(own)) for own in groups.values()]


def _best(sides: Sides, sources: Sequence[str], target: str) -> tuple[Arrangement, tuple[str, ...]] | None:
    """The simplest arrangement that makes the target, with all sources of which it does."""
    best: tuple[Arrangement, tuple[str, ...]] | None = None
    for first, own in _alike(sides, False, sources):
        how = fit(sides, first, target)
        if how is not None and (best is None or how.rank < best[0].rank):
            best = how, own
        elif best is not None and how == best[0]:
            best = how, (*best[1], *own)
    return best


def fit(sides: Sides, source: str, target: str) -> Arrangement | None:
    """The simplest arrangement that makes a target of a source; None where there is none."""
    form = sides.form(source, target)
    if form is None:
        return None
    before, after = sides.sketches[False, source, form], sides.sketches[True, target, form]
    shapes = sides.spec(False).by_key[source].shape, sides.spec(True).by_key[target].shape
    return sides.first_equal(source, target, chain(arrangements(*shapes), interleaved(*shapes, before, after)))
