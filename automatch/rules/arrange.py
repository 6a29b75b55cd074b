"""The order in which rules are written down: that of the checkpoint, as far as it may be chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    later: list[dict[int, None]] = [{} for _ in taken]
    last: dict[int, int] = {}
    for i, keys in enumerate(taken):
        for key in _bits(keys):
            if key in last:
                later[last[key]][i] = None
            last[key] = i
    waits = [0] * len(taken)
    for own in later:
        for j in own:
            waits[j] += 1
    heap: list[tuple[bool, int, int]] = []
    for i, count in enumerate(waits):
        if not count:
            heappush(heap, (literal[i], first[i], i))
    out = []
    while heap:
        _, _, i = heappop(heap)
        out.append(i)
        for j in later[i]:
            waits[j] -= 1
            if not waits[j]:
                heappush(heap, (literal[j], first[j], j))
    return out


def _bits(number: int) -> Iterator[int]:
    """Places of the set bits."""
    while number:
        low = number & -number
        yield low.bit_length()
        number ^= low
