"""The order in which rules are written down: that of the checkpoint, as far as it may be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush


def arranged(taken: Sequence[int], literal: Sequence[bool]) -> list[int]:
    """A reading order that leaves every pair of rules that meet in a key as it is.

    Args:
        taken: for every rule, in the order in which they are asked, the keys that its pattern
            matches, as bits.
        literal: which rules stand for one key; they are put last where they may be.

    Returns:
        Numbers of the rules in their new order: by the first key that they match.
    """
    first = [(keys & -keys).bit_length() for keys in taken]
    waits = [sum(1 for j in range(i) if taken[j] & taken[i]) for i in range(len(taken))]
    heap: list[tuple[bool, int, int]] = []
    for i, count in enumerate(waits):
        if not count:
            heappush(heap, (literal[i], first[i], i))
    out = []
    while heap:
        _, _, i = heappop(heap)
        out.append(i)
        for j in range(i + 1, len(taken)):
            if taken[i] & taken[j]:
                waits[j] -= 1
                if not waits[j]:
                    heappush(heap, (literal[j], first[j], j))
    return out
