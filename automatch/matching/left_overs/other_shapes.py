"""Left-overs that belong together and differ in shape: a head of other classes, a layer that was widened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence

from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.exchange import Refuses
from automatch.matching.basis.identity import Identity
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.names import Names, contrast
from automatch.matching.basis.units import module_path, role_of
from automatch.matching.left_overs.named import same_names

MOST_PAIRS = 4_000
"""More pairs of left-overs than these are not compared by their names."""


def mismatches(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names, identity: Identity
) -> list[tuple[Leaf, Leaf]]:
    """Left-over leaves that belong together by name or place but differ in shape."""
    used = {id(s) for s, _, _ in found}
    served = {id(t) for _, t, _ in found}
    left = [s for s in source if id(s) not in used]
    right = [t for t in target if id(t) not in served]
    out = same_names(left, right, identity)
    if len(left) * len(right) <= MOST_PAIRS:
        out += _alike(found, left, right, names, {id(x) for pair in out for x in pair})
        kernels = [_kernels(side) for side in (source, target)]
        gone = used | served | {id(x) for pair in out for x in pair}
        out += _reading_other_channels(kernels, gone, names)
    return [(s, t) for s, t in out if s.raw != t.raw]


def _alike(
    found: Sequence[Found], left: Sequence[Leaf], right: Sequence[Leaf], names: Names, taken: set[int]
) -> list[tuple[Leaf, Leaf]]:
    """Leaves of one role whose names are alike, or whose modules belong together."""
    out: list[tuple[Leaf, Leaf]] = []
    by_role: dict[tuple[str, int], list[Leaf]] = defaultdict(list)
    for leaf in left:
        if id(leaf) not in taken:
            by_role[role_of(leaf.path)[1], len(leaf.raw)].append(leaf)
    modules = {(module_path(s.path), module_path(t.path)) for s, t, _ in found}
    for t in right:
        if id(t) in taken:
            continue
        options = [s for s in by_role[role_of(t.path)[1], len(t.raw)] if id(s) not in taken]
        if not options:
            continue
        words = [[names.path_words(module_path(s.path)) for s in options], [names.path_words(module_path(t.path))]]
        weights = contrast(words[0], words[1])
        scored = [
            (names.compare(w, words[1][0], weights) + ((module_path(s.path), module_path(t.path)) in modules), -i)
            for i, (s, w) in enumerate(zip(options, words[0], strict=True))
        ]
        best = max(scored)
        if best[0] >= 0.75:
            out.append((options[-best[1]], t))
            taken.add(id(options[-best[1]]))
    return out


def _reading_other_channels(
    kernels: Sequence[Sequence[Leaf]], gone: Container[int], names: Names
) -> list[tuple[Leaf, Leaf]]:
    """The kernels with which both sides begin, where they alone are left, and read other channels: one lead, twelve."""
    left = [[leaf for leaf in side if id(leaf) not in gone] for side in kernels]
    if [len(side) for side in left] != [1, 1]:
        return []
    ((s,), (t,)) = left
    if s is not kernels[0][0] or t is not kernels[1][0] or s.raw[:1] + s.raw[2:] != t.raw[:1] + t.raw[2:]:
        return []
    one, other = (names.path_words(module_path(leaf.path)) for leaf in (s, t))
    return [(s, t)] if names.contradiction(one, other) <= 0 else []


def _kernels(leaves: Sequence[Leaf]) -> list[Leaf]:
    """The kernels of a side, in state_dict order."""
    return sorted((leaf for leaf in leaves if len(leaf.raw) > 2), key=lambda leaf: leaf.place)


def beside_mismatches(
    pairs: Sequence[tuple[Leaf, Leaf]],
    found: Sequence[Found],
    source: Sequence[Leaf],
    target: Sequence[Leaf],
    refuses: Refuses,
) -> list[Found]:
    """The biases of modules whose weights belong together but differ in shape: of another input, and the same output.

    Always flagged: what is learnt for another input may be of no use. None where nothing else of the two is alike.
    """
    if not found:
        return []
    taken = {id(leaf) for s, t, _ in found for leaf in (s, t)} | {id(leaf) for pair in pairs for leaf in pair}
    sides = [
        {module_path(leaf.path): leaf for leaf in side if id(leaf) not in taken and role_of(leaf.path)[1] == "bias"}
        for side in (source, target)
    ]
    out: list[Found] = []
    for s, t in pairs:
        biases = [side.get(module_path(leaf.path)) for side, leaf in zip(sides, (s, t), strict=True)]
        weights = {role_of(leaf.path)[1] for leaf in (s, t)} == {"weight"}
        mine, theirs = biases
        if (
            mine is not None
            and theirs is not None
            and weights
            and mine.shape == theirs.shape
            and not refuses(mine, theirs)
        ):
            out.append((mine, theirs, Evidence(level="widened")))
    return out
