"""How far two networks are of one build: unrelated ones are not matched, and what little they share is flagged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from automatch.matching.completion import MOSTLY
from automatch.matching.evidence import Evidence, Found
from automatch.matching.identity import Identity
from automatch.matching.leaves import Leaf

DOUBTFUL = 0.55
"""Below this kinship all that is matched is flagged."""

PART = 0.33
"""Less than this share of the smaller network is a part that many networks have."""

NAMES_ALONE = 10.0
"""So many times the share of what is matched may names add at most."""


def kinship(found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf]) -> float:
    """How far two networks are of one build, in [0, 1]: by numbers of elements and of keys matched.

    The better side counts (one may be a part of the other); names agreeing adds up to half, but does not stand for
    tensors: every network has a `norm1`.
    """
    if not found:
        return 0.0
    best = max(_share([s for s, _, _ in found], source), _share([t for _, t, _ in found], target))
    alike = sum(max(0.0, e.name) for _, _, e in found) / len(found)
    return min(1.0, best + min(0.5 * alike, NAMES_ALONE * best))


def is_little(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], kin: float, identity: Identity
) -> bool:
    """Is so little of both networks matched that all of it is to be flagged?

    The last stage of a Swin has blocks that a ViT of its width might have; they are a seventh of either. What has equal
    keys is a part that both networks have, however small.
    """
    if kin < DOUBTFUL or len(found) >= PART * min(len(source), len(target)):
        return kin < DOUBTFUL
    return not are_namesakes(found, identity)


def are_namesakes(found: Sequence[Found], identity: Identity) -> bool:
    """Have nearly all pairs one key on both sides?"""
    return sum(s.path == t.path or identity(s.path, t.path) for s, t, _ in found) >= MOSTLY * max(1, len(found))


def _share(matched: Sequence[Leaf], side: Sequence[Leaf]) -> float:
    """Geometric mean of the shares of keys and of elements that are matched."""
    keys = sum(not leaf.integer for leaf in side)
    total = sum(math.prod(leaf.shape) for leaf in side if not leaf.integer)
    mine = {id(leaf): leaf for leaf in matched if not leaf.integer}
    done = sum(math.prod(leaf.shape) for leaf in mine.values())
    return math.sqrt(len(mine) / keys * done / total) if keys and total else 0.0


def flagged(evidence: Evidence, level: str) -> Evidence:
    """The same evidence, to be flagged whatever it says; what a person pinned stays."""
    return evidence if evidence.level == "pin" else replace(evidence, level=level)
