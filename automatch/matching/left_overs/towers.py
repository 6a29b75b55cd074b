"""One network of the checkpoint for two equal ones of the model, as a pretrained encoder begins a bi-encoder."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.names import Names

NETWORK = 12
"""A network has so many tensors at least."""

NEARLY_ALL = 0.8
"""The share of the model that two networks have which are all of it; and that of a network which is served."""

NAMED = 0.1
"""By this much more the checkpoint's network is called as one of the two: then it is that one, and no other."""


def in_both_towers(found: list[Found], target: Sequence[Leaf], names: Names) -> list[Found]:
    """The pairs, with what serves one of two equal networks serving the other one as well; flagged.

    Only where next to nothing serves the other one, and nothing for sure, and no name says which of the two the
    checkpoint holds: a `critic` is the critic, and the actor beside it is missing.
    """
    towers = _towers(target)
    serving = {t.path: (s, t, e) for s, t, e in found if not t.ops}
    for own, other in (towers, towers[::-1]) if towers else ():
        pairs = [serving[leaf.path] for leaf in own if leaf.path in serving]
        there = [serving[leaf.path][2] for leaf in other if leaf.path in serving]
        few = len(there) <= (1 - NEARLY_ALL) * len(other) and all(judge(evidence).ambiguous for evidence in there)
        if len(pairs) < NEARLY_ALL * len(own) or not few:
            continue
        homes = Counter(s.path[:1] for s, _, _ in pairs)
        home = max(homes, key=homes.__getitem__)
        words = names.path_words(home)
        called = [names.compare(words, names.path_words(side[0].path[:1]), {}) for side in (own, other)]
        if abs(called[0] - called[1]) >= NAMED:
            return found
        partner = {leaf.path[1:]: leaf for leaf in other}
        ids = set(map(id, other))
        kept = [pair for pair in found if id(pair[1]) not in ids]
        return kept + [(s, partner[t.path[1:]], Evidence(level="echo")) for s, t, _ in pairs]
    return found


def _towers(target: Sequence[Leaf]) -> tuple[list[Leaf], list[Leaf]] | None:
    """Two equal networks that are nearly all of the model."""
    held: dict[Path, list[Leaf]] = defaultdict(list)
    for leaf in target:
        if len(leaf.path) > 1 and not leaf.path[0].isdecimal():
            held[leaf.path[:1]].append(leaf)
    alike: dict[object, list[list[Leaf]]] = defaultdict(list)
    for leaves in held.values():
        if len(leaves) >= NETWORK:
            alike[tuple((leaf.path[1:], leaf.shape) for leaf in leaves)].append(leaves)
    for two in alike.values():
        if len(two) == 2 and sum(map(len, two)) >= NEARLY_ALL * len(target):
            return two[0], two[1]
    return None
