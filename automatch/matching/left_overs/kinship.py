"""How far two networks are of one build: unrelated ones are not matched, and what little they share is flagged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from automatch.describing.tokens import words_of
from automatch.matching.basis.evidence import Evidence, Found, Level
from automatch.matching.basis.identity import Identity
from automatch.matching.basis.leaves import Leaf, numbered, template
from automatch.matching.left_overs.named import MOSTLY

UNRELATED = 0.4
"""Below this kinship nothing is matched."""

OTHER_INPUTS = 0.67
"""Below this kinship nothing is matched of networks that read inputs of other kinds, such as words and pixels."""

DOUBTFUL = 0.55
"""Below this kinship all that is matched is flagged."""

PART = 0.33
"""Less than this share of the smaller network is a part that many networks have."""

NAMES_ALONE = 10.0
"""So many times the share of what is matched may names add at most."""

KINDS = 6
"""So many kinds of names have two networks in common only if they are two sizes of one model."""

NEARLY_ALL = 0.9
"""Of a part of another network, so much fits it."""

_PLACES, _TOKENS = (
    frozenset({"pos", "position", "positional", "relative"}),
    frozenset({"token", "tokens", "cls", "mask"}),
)
"""Words of what is learnt beside the input: tables of positions; class and mask tokens, which are no weights."""


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
    """Have nearly all pairs one key on both sides, wrappers apart?"""
    same = sum(s.path == t.path or identity.bare(s.path, 0) == identity.bare(t.path, 1) for s, t, _ in found)
    return same >= MOSTLY * max(1, len(found))


def is_called_the_same(source: Sequence[Leaf], target: Sequence[Leaf], identity: Identity) -> bool:
    """Are nearly all names of the smaller side names of the other, as in two sizes of one model, wrappers apart?

    And are they of several kinds: every network has a `features.0`.
    """
    mine, theirs = ({identity.bare(leaf.path, n) for leaf in side} for n, side in enumerate((source, target)))
    both = mine & theirs
    return len(both) >= MOSTLY * min(len(mine), len(theirs)) and len(set(map(template, both))) >= KINDS


def _share(matched: Sequence[Leaf], side: Sequence[Leaf]) -> float:
    """Geometric mean of the shares of keys and of elements that are matched."""
    keys = sum(not leaf.integer for leaf in side)
    total = sum(math.prod(leaf.shape) for leaf in side if not leaf.integer)
    mine = {id(leaf): leaf for leaf in matched if not leaf.integer}
    done = sum(math.prod(leaf.shape) for leaf in mine.values())
    return math.sqrt(len(mine) / keys * done / total) if keys and total else 0.0


def read_otherwise(found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf]) -> bool:
    """Do two networks read inputs of other kinds: a table of words here, a convolution over pixels or sound there?

    The layers of a speech encoder fit those of a language model of its width. So where neither side's first layer is
    matched, the other side must have one of its kind that is left over: for another vocabulary, or one more channel.
    Unless nothing else is left over outside the lists of a side that is nearly all matched: then the first layer is
    missing, or was made anew.
    """
    used = {id(leaf) for s, t, _ in found for leaf in (s, t)}
    first, other = _first_layer(source), _first_layer(target)
    if first is None or other is None or id(first) in used or id(other) in used:
        return False
    if (len(first.shape) > 2) == (len(other.shape) > 2) or any(len(s.shape) > 2 for s, _, _ in found):
        return False  # convolutions that fit read of the same
    left = [[leaf for leaf in side if id(leaf) not in used] for side in (source, target)]
    ends = {id(leaf) for leaf in (first, other) if len(leaf.shape) > 2}  # of sound, the first convolution of a list
    outside = [[leaf for leaf in side if id(leaf) in ends or not numbered(leaf.path)] for side in left]
    fewest = min(sum(map(_is_layer, side)) for side in outside)
    matched = max(1 - len(rest) / len(side) for rest, side in zip(left, (source, target), strict=True))
    if fewest < 2 and (fewest == 0 or matched >= NEARLY_ALL):
        return False
    return not (
        any(_of_a_kind(first, leaf) for leaf in outside[1]) and any(_of_a_kind(other, leaf) for leaf in outside[0])
    )


def _first_layer(side: Sequence[Leaf]) -> Leaf | None:
    """The first matrix or kernel of a side in state_dict order that is no table of positions, masks or the like."""
    return min(filter(_is_layer, side), key=lambda leaf: leaf.place, default=None)


def _is_layer(leaf: Leaf) -> bool:
    """Is a tensor a matrix or a kernel that something goes through?"""
    if len(leaf.shape) < 2 or leaf.integer or leaf.whole:
        return False
    words = _words(leaf)
    token = leaf.path[-1] != "weight" and not _TOKENS.isdisjoint(words)
    return not token and (len(leaf.shape) > 2 or _PLACES.isdisjoint(words))


def _words(leaf: Leaf) -> set[str]:
    return {word for token in leaf.path for word in words_of(token)}


def _of_a_kind(a: Leaf, b: Leaf) -> bool:
    """May one be the other with more rows, more columns or more channels, or a part of a stack?"""
    if a.shape[1:] == b.shape or a.shape == b.shape[1:]:
        return True
    if len(a.shape) == 2 == len(b.shape):
        return a.shape[0] == b.shape[0] or a.shape[1] == b.shape[1] or a.shape == b.shape[::-1]
    return len(a.shape) > 2 and len(b.shape) > 2


def flagged(evidence: Evidence, level: Level) -> Evidence:
    """The same evidence, to be flagged whatever it says; what a person pinned stays."""
    return evidence if evidence.level == "pin" else replace(evidence, level=level)


def believed(
    found: list[Found],
    source: Sequence[Leaf],
    target: Sequence[Leaf],
    identity: Identity,
    undecided: bool,
    pinned: bool,
) -> list[Found]:
    """The pairs of two networks of one build: none of others, and flagged where they are too few, or of a copy.

    Of one model in two sizes, whose keys are the same, what has one shape in both is kept, however little it is.
    """
    kin = kinship(found, source, target)
    parted = any(leaf.path[-1] == "weight_g" for leaf in (*source, *target))  # weight norm leaves but the biases
    related = (parted and identity.holds) or is_called_the_same(source, target, identity)
    related = related and are_namesakes(found, identity)
    if kin < UNRELATED and not (pinned or related):
        return []
    if not related and is_little(found, source, target, kin, identity) and identity.of_the_model < MOSTLY:
        return [(s, t, flagged(e, "doubtful")) for s, t, e in found]
    if not related and not are_namesakes(found, identity) and read_otherwise(found, source, target):
        return [(s, t, flagged(e, "inputs")) for s, t, e in found] if kin >= OTHER_INPUTS or pinned else []
    return [(s, t, flagged(e, "copies")) for s, t, e in found] if undecided else found
