"""What is left of modules that lost tensors on one of the two sides: biases without their weights."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.exchange import Refuses
from automatch.matching.basis.leaves import Leaf, Path, numbered, without_digits
from automatch.matching.basis.names import Names
from automatch.matching.basis.units import module_path, role_of
from automatch.matching.left_overs.homes import home_of, partners_of_homes
from automatch.spec import Shape

NORM, MATRIX = 0.3, 0.6
"""Names that are as alike as this are those of one norm, and of one matrix: a head may be another one."""

Held = Mapping[str, Leaf]
"""The tensors of a module by their roles."""

Kept = tuple[tuple[str, Shape], ...]
"""What a module holds: roles and shapes."""


def of_damaged_modules(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names, refuses: Refuses
) -> list[Found]:
    """Further pairs: modules left over on both sides of which one lacks tensors that the other has; always flagged.

    A weight that is missing does not make its bias another module's. Both sides must have as many left-over modules
    that hold what is kept, and then these are taken in their order, each in the block that the others of its block say.
    """
    mine = _untouched(source, {id(s) for s, _, _ in found})
    theirs = _untouched(target, {id(t) for _, t, _ in found})
    if not mine or not theirs:
        return []
    homes = partners_of_homes(found)
    holding = _holding(mine), _holding(theirs)
    out: list[Found] = []
    for kept in sorted({_kept(held) for side in (mine, theirs) for held in side.values() if not _may_be_whole(held)}):
        ours, others = (
            [path for path in own.get(kept[0], ()) if _holds(side[path], kept)]
            for own, side in zip(holding, (mine, theirs), strict=True)
        )
        damaged = [
            any(len(side[path]) == len(kept) for path in paths) for side, paths in ((mine, ours), (theirs, others))
        ]
        if len(ours) != len(others) or sum(damaged) != 1:
            continue
        for a, b in zip(ours, others, strict=True):
            pairs = [(mine[a][role], theirs[b][role]) for role, _ in kept]
            at_home = homes.get(home_of(a), home_of(b)) == home_of(b)
            if at_home and not _against(a, b, names) and not any(refuses(s, t) for s, t in pairs):
                out += [(s, t, Evidence(level="remains")) for s, t in pairs]
    return out


def of_no_layer(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names, refuses: Refuses
) -> list[Found]:
    """Further pairs: whole modules beside the layers, left over on both sides, the only ones there that hold the same.

    What the layers lost is no rival of the norm behind them. Always flagged, and only where names are alike.
    """
    mine = _beside_layers(_untouched(source, {id(s) for s, _, _ in found}, bare=True))
    theirs = _beside_layers(_untouched(target, {id(t) for _, t, _ in found}, bare=True))
    out: list[Found] = []
    for kept, a in mine.items():
        b = theirs.get(kept)
        if a is None or b is None:
            continue
        words = [names.path_words(path) for path in (a[0], b[0])]
        pairs = [(leaf, b[1][role]) for role, leaf in a[1].items()]
        least = MATRIX if any(len(s.shape) > 1 for s, _ in pairs) else NORM
        if names.compare(words[0], words[1], {}) >= least and not any(refuses(s, t) for s, t in pairs):
            out += [(s, t, Evidence(level="outside")) for s, t in pairs]
    return out


def _beside_layers(modules: Mapping[Path, Held]) -> dict[Kept, tuple[Path, Held] | None]:
    """The modules that no number leads to, by what they hold; None for what several hold."""
    out: dict[Kept, tuple[Path, Held] | None] = {}
    for path, held in modules.items():
        if not numbered(path):
            kept = _kept(held)
            out[kept] = None if kept in out else (path, held)
    return out


_PARTS = frozenset({"weight_v", "weight_orig"})
"""What is left of a weight whose norm or mask stands beside it."""


def of_one_shape(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names, refuses: Refuses
) -> list[Found]:
    """Further pairs: matrices left over on both sides that are the only ones of their shape there; always flagged.

    Or as many, if those of either side have one name but for their numbers, by which they are put together.
    """
    used, served = {id(s) for s, _, _ in found}, {id(t) for _, t, _ in found}
    mine, theirs = (_alone(side, taken) for side, taken in ((source, used), (target, served)))
    pairs = [
        pair
        for shape, own in mine.items()
        if len(own) == len(theirs.get(shape, ()))
        for pair in zip(own, theirs[shape], strict=True)
    ]
    return [
        (s, t, Evidence(level="only"))
        for s, t in pairs
        if s.raw == t.raw and s.whole == t.whole and (s.path[-1] in _PARTS) == (t.path[-1] in _PARTS)
        if not refuses(s, t)
        if not _against(module_path(s.path), module_path(t.path), names)
        if names.is_table(module_path(s.path)) == names.is_table(module_path(t.path))
    ]


def _alone(side: Sequence[Leaf], matched: set[int]) -> dict[Shape, list[Leaf]]:
    """The matrices of a side of whose shape none is matched, where they have one name, by their numbers."""
    of_shape: dict[Shape, list[Leaf]] = defaultdict(list)
    for leaf in side:
        of_shape[leaf.shape].append(leaf)
    return {
        shape: sorted(own, key=lambda leaf: _numbers(leaf.path))
        for shape, own in of_shape.items()
        if len(set(shape)) > 1 and matched.isdisjoint(map(id, own))
        if len({without_digits(leaf.path) for leaf in own}) == 1
    }


def _numbers(path: Path) -> list[int]:
    return [int(number) for token in path for number in re.findall(r"\d+", token)]


def _against(a: Path, b: Path, names: Names) -> bool:
    return names.contradiction(names.path_words(a), names.path_words(b)) > 0


def _untouched(leaves: Iterable[Leaf], matched: set[int], bare: bool = False) -> dict[Path, dict[str, Leaf]]:
    """The modules of which nothing is matched, in their order; those that are one parameter if `bare` says so."""
    modules: dict[Path, dict[str, Leaf]] = defaultdict(dict)
    touched: set[Path] = set()
    for leaf in sorted(leaves, key=lambda leaf: leaf.place):
        length, role = role_of(leaf.path)
        if id(leaf) in matched or (role == "*" and not bare):
            touched.add(leaf.path[:length])
        elif not leaf.integer:
            modules[leaf.path[:length]]["weight" if role == "*" else role] = leaf
    return {path: held for path, held in modules.items() if path not in touched}


def _may_be_whole(held: Held) -> bool:
    """Is it a matrix alone? An embedding is no linear layer that lost its bias."""
    return "weight" in held and len(held["weight"].raw) > 1


def _kept(held: Held) -> Kept:
    return tuple(sorted((role, leaf.shape) for role, leaf in held.items()))


def _holds(held: Held, kept: Kept) -> bool:
    return all(role in held and held[role].shape == shape for role, shape in kept)


def _holding(modules: Mapping[Path, Held]) -> dict[tuple[str, Shape], list[Path]]:
    """The modules that hold a tensor of a role and a shape, in their order."""
    out: dict[tuple[str, Shape], list[Path]] = defaultdict(list)
    for path, held in modules.items():
        for one in _kept(held):
            out[one].append(path)
    return out
