"""Tensors that are only numbered: `arr_0, arr_1, ...`, as lists of parameters are saved.

Their order is all that they have to say. Where it gives the shapes of the other side, one by one, in the order in which
a model declares its tensors or in that of their names, the pairs stand there.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from itertools import pairwise

from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf

FEWEST, VARIETY = 8, 3
"""Fewer tensors, or fewer different shapes, are in some order by chance."""

_NUMBER = re.compile(r"\d+")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def by_number(
    source: Sequence[Leaf], target: Sequence[Leaf], tied: Container[str] = (), silent: bool = False
) -> list[Found]:
    """The pairs, where one side is such a list and just one order of the other has its shapes; else none.

    Model keys that are `tied` to an earlier one have no tensor of their own, and stand in no list of tensors. Where
    names are `silent`, nothing is sorted by them.
    """
    owners = [leaf for leaf in target if leaf.keys[0] not in tied]
    ways = [(source, target), (source, owners)] if len(owners) < len(target) else [(source, target)]
    for lists, others in (*ways, (target, source)):
        if not _is_list(lists) or _is_list(others):
            continue
        shapes = [leaf.raw for leaf in lists]
        orders = (order for order in _orders(others, silent) if [leaf.raw for leaf in order] == shapes)
        fitting = {tuple(leaf.place for leaf in order): order for order in orders}
        if len(fitting) == 1 and len(set(shapes)) >= VARIETY:
            (order,) = fitting.values()
            pairs = zip(*((lists, order) if lists is source else (order, lists)), strict=True)
            return [(s, t, Evidence(level="listed")) for s, t in pairs]
    return []


def _is_list(leaves: Sequence[Leaf]) -> bool:
    """Do the keys differ in one number alone, which ends them and rises? `net.0.weight` is a module's."""
    if not leaves or not leaves[0].keys[0][-1:].isdecimal():
        return False
    if len(leaves) < FEWEST or len({_NUMBER.sub("#", leaf.keys[0]) for leaf in leaves[:: len(leaves) - 1]}) > 1:
        return False
    numbers = [_NUMBER.findall(leaf.keys[0]) for leaf in leaves]
    alike = len({_NUMBER.sub("#", leaf.keys[0]) for leaf in leaves}) == 1 and len(numbers[0]) == 1
    return alike and all(int(a[0]) < int(b[0]) for a, b in pairwise(numbers))


def _orders(leaves: Sequence[Leaf], silent: bool) -> Iterator[list[Leaf]]:
    """All tensors, those that are no counters, and parameters alone: as declared, and sorted by name."""
    whole = [leaf for leaf in leaves if not leaf.integer]
    learnt = [leaf for leaf in whole if leaf.path[-1] not in _STATISTICS]
    for kept in (list(leaves), whole, learnt):
        yield kept
        if not silent:
            yield sorted(kept, key=lambda leaf: leaf.keys)
