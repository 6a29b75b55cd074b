"""Second copies whose names are one token each: mmcv keeps its averages as `ema_backbone_conv1_weight`.

They stand beside the keys that they are copies of, `backbone.conv1.weight`, in the same dict.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from automatch.averages import AVERAGES
from automatch.matching.basis.leaves import Leaf
from automatch.spec import Shape

_WITHOUT = str.maketrans("", "", "._/")


def joined_copies(
    leaves: Sequence[Leaf], spoken: Collection[str], expected: int, least: int, share: float
) -> dict[str, set[int]]:
    """The places of tensors that are copies of others, whose names they spell without dots, by what stands before.

    Args:
        leaves: one side.
        spoken: the words of the other side: what it calls so itself is no copy.
        expected: how many tensors the other side has; where it has room for the copies as well, they are none.
        least: fewer tensors are no copy of a network.
        share: so many of those that are called so must have a like, of the same shape.

    Returns:
        `state_dict.ema_` -> the places of the copies.
    """
    # other words for copies may stand before a part of a layer: `k_proj`, `key_conv`
    begin = tuple(f"{word}_" for word in (*AVERAGES, "avg") if word not in spoken)
    groups: dict[str, list[tuple[int, str]]] = defaultdict(list)
    known: set[tuple[str, Shape]] = set()
    for place, leaf in enumerate(leaves):
        key = leaf.keys[0]
        front, dot, last = key.rpartition(".")
        if last.startswith(begin) and last.count("_") > 1:
            word, _, rest = last.partition("_")
            groups[f"{front}{dot}{word}_"].append((place, f"{front}{rest}"))
        else:
            known.add((key.translate(_WITHOUT), leaf.raw))
    out = {}
    for before, members in groups.items():
        copies = {place for place, name in members if (name.translate(_WITHOUT), leaves[place].raw) in known}
        if len(copies) >= max(least, share * len(members)) and expected <= len(leaves) - len(copies) / 2:
            out[before] = copies
    return out
