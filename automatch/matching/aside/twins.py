"""Parts that one side registers twice, and the other holds once.

nnU-Net's decoder keeps a reference to the encoder, and its blocks a list of their own modules: every weight has up to
four keys. Such copies are left out before the matching; those of the model are served by what serves the first of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence

from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf, Path

Copies = dict[int, Leaf]
"""id of a leaf -> the leaf that it is a copy of."""

LEAST = 4
"""Fewer tensors of equal names and shapes are no part that is held twice."""


def held_twice(
    target: Sequence[Leaf], source: Sequence[Leaf], pinned: Container[str] = (), whole: bool = True
) -> Copies:
    """Leaves of one side that are there a second time, where the other has not so many of their shapes.

    Not those whose keys a person pinned; of containers that are there a second time as a whole only if `whole` says so.
    """
    copies = _lacking(_inside(target, {leaf.path for leaf in source}, whole), target, source)
    rest = without(target, copies)
    copies |= _lacking(_listed(rest), rest, source)
    told = {id(leaf) for leaf in target if id(leaf) in copies and leaf.keys[0] in pinned}
    return {leaf: original for leaf, original in copies.items() if leaf not in told}


def without(target: Sequence[Leaf], copies: Copies) -> list[Leaf]:
    """The leaves that are no copies."""
    return [leaf for leaf in target if id(leaf) not in copies]


def serve_copies(
    found: Sequence[Found], target: Iterable[Leaf], copies: Copies, tied: Mapping[str, str]
) -> list[Found]:
    """Pairs for the copies, by what serves their first; flagged unless the model itself says that they are one.

    `tied`: model key -> the first model key of the same tensor, as far as a live model says so.
    """
    serving = {id(t): s for s, t, _ in found if not t.ops}
    out: list[Found] = []
    for leaf in target:
        original = copies.get(id(leaf))
        while original is not None and id(original) in copies:
            original = copies[id(original)]
        if original is not None and id(original) in serving:
            roots = {tied.get(key, key) for key in (leaf.keys[0], original.keys[0])}
            out.append((serving[id(original)], leaf, Evidence(level="shared" if len(roots) == 1 else "echo")))
    return out


def _lacking(copies: Copies, target: Sequence[Leaf], source: Sequence[Leaf]) -> Copies:
    """The copies, if the checkpoint has no more tensors of their shapes than the model without them."""
    if not copies:
        return copies
    own = Counter(leaf.shape for leaf in target if id(leaf) in copies)
    theirs, mine = Counter(leaf.shape for leaf in target), Counter(leaf.shape for leaf in source)
    short = sum(n for shape, n in own.items() if mine[shape] <= theirs[shape] - n)
    return copies if short >= 0.8 * sum(own.values()) else {}


def _inside(target: Sequence[Leaf], known: Container[Path], whole: bool) -> Copies:
    """Containers that stand again inside one of their neighbours, under the same name: `decoder.encoder`, `encoder`.

    The outer one is the first, unless the checkpoint knows the keys of the inner one alone.
    """
    held = _held(target)
    copies: Copies = {}
    for path, leaves in held.items():
        holds_modules = any(len(leaf.path) > len(path) + 1 for leaf in leaves)  # a `bn1` in every block is another one
        if len(leaves) < LEAST or path[-1].isdecimal() or id(leaves[0]) in copies or not holds_modules:
            continue
        outer = ((*path[:depth], path[-1]) for depth in range(len(path) - 1))
        first = next((other for other in outer if other in held), None)
        if first is None or _relative(leaves, len(path)) != _relative(held[first], len(first)):
            continue
        around = held[first[:-1]] if first[:-1] else target
        if whole or not _is_copied_whole(held[path[:-1]], len(path) - 1, around, len(first) - 1):
            inner = leaves[0].path in known and held[first][0].path not in known
            copies |= {id(b) if inner else id(a): a if inner else b for a, b in zip(leaves, held[first], strict=True)}
    return copies


def _is_copied_whole(inside: Sequence[Leaf], depth: int, around: Iterable[Leaf], other: int) -> bool:
    """Is all of a container there outside of it, too? Then it is another network, and owns nothing of the first.

    `depth` and `other` say how long the paths of the container are, and of what holds all that is around it.
    """
    known = {(leaf.path[other:], leaf.shape) for leaf in around}
    return all((leaf.path[depth:], leaf.shape) in known for leaf in inside)


def _held(target: Sequence[Leaf]) -> dict[Path, list[Leaf]]:
    """What every container holds."""
    held: dict[Path, list[Leaf]] = defaultdict(list)
    for leaf in target:
        for depth in range(1, len(leaf.path)):
            held[leaf.path[:depth]].append(leaf)
    return held


def _relative(leaves: Sequence[Leaf], depth: int) -> list[tuple[Path, tuple[int, ...]]]:
    return [(leaf.path[depth:], leaf.shape) for leaf in leaves]


def _listed(target: Sequence[Leaf]) -> Copies:
    """Lists of one name that hold once more, in order, what stands beside them in numbered blocks."""
    held = _held(target)
    copies: Copies = {}
    names: Counter[str] = Counter()
    for path, items in held.items():
        is_list = all(leaf.path[len(path)].isdecimal() for leaf in items)
        if len(path) < 2 or path[-1].isdecimal() or not path[-2].isdecimal() or len(items) < LEAST or not is_list:
            continue
        inside = set(map(id, items))
        beside = [leaf for leaf in held[path[:-1]] if id(leaf) not in inside]
        if [(a.path[-1], a.shape) for a in items] == [(b.path[-1], b.shape) for b in beside]:
            copies |= {id(a): b for a, b in zip(items, beside, strict=True)}
            names[path[-1]] += 1
    return copies if len(names) == 1 and max(names.values()) > 1 else {}
