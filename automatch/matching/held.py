"""Modules that a checkpoint holds under two names, because one of its modules keeps another in two places.

nnU-Net's blocks keep `conv` and `norm`, and both again in `all_modules`; its decoder keeps the encoder. A file cannot
show that two tensors are one, but what is equal in all blocks, and what is called alike and equal in whole, is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from automatch.matching.cleaned import Cleaned
from automatch.matching.leaves import Leaf

FEWEST, LEAVES = 3, 8
"""In so many modules a list must hold what stands beside it; and so many tensors a module held elsewhere must have."""

DEPTH = 4
"""Modules that hold another network stand near the top."""

Path = tuple[str, ...]


def drop_held(leaves: list[Leaf], others: Sequence[Leaf], pinned: Collection[str] = ()) -> Cleaned:
    """Leave out what is held a second time, where the other side has nothing of the kind and no pin speaks of it."""
    known = {pair for leaf in others for pair in zip(("", *leaf.path), leaf.path, strict=False)}
    tokens = {token for leaf in others for token in leaf.path}
    groups = [*_listed_again(leaves, tokens), *_kept_inside(leaves, known)]
    again = [leaf for group in groups for leaf in group]
    if not again or any(key in pinned for leaf in again for key in leaf.keys):
        return Cleaned(leaves, {})
    dropped = {key: "held a second time by another module" for leaf in again for key in leaf.keys}
    notes = (f"{len(dropped)} tensors that a second module holds as well are left out, as {next(iter(dropped))}",)
    return Cleaned([leaf for leaf in leaves if leaf.keys[0] not in dropped], dropped, notes)


def _listed_again(leaves: Sequence[Leaf], known: Collection[str]) -> Iterator[list[Leaf]]:
    """The tensors of lists, called alike in several modules, that hold in order what stands beside them."""
    lists: dict[tuple[Path, str], list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        for i in range(1, len(leaf.path) - 1):
            if leaf.path[i + 1].isdecimal() and not leaf.path[i].isdecimal() and leaf.path[i] not in known:
                lists[leaf.path[:i], leaf.path[i]].append(leaf)
    beside: dict[Path, list[Leaf]] = {home: [] for home, _ in lists}
    for leaf in leaves if beside else ():
        for i in range(1, len(leaf.path)):
            if leaf.path[:i] in beside:
                beside[leaf.path[:i]].append(leaf)
    called: dict[str, list[list[Leaf] | None]] = defaultdict(list)
    for (home, name), own in lists.items():
        at = len(home)
        rest = [leaf for leaf in beside[home] if leaf.path[at] != name and len(leaf.path) > at + 1]
        single = len({leaf.path[at] for leaf in rest}) > 1 and not any(leaf.path[at + 1].isdecimal() for leaf in rest)
        same = single and [(x.path[-1], x.shape) for x in own] == [(x.path[-1], x.shape) for x in rest]
        called[name].append(own if same else None)
    for groups in called.values():
        if len(groups) >= FEWEST and None not in groups:
            yield from (group for group in groups if group is not None)


def _kept_inside(leaves: Sequence[Leaf], known: Collection[tuple[str, str]]) -> Iterator[list[Leaf]]:
    """The tensors of modules that stand in another one and are called and built like one outside of it."""
    inside: dict[Path, list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        for depth in range(1, min(DEPTH, len(leaf.path) - 1) + 1):
            inside[leaf.path[:depth]].append(leaf)
    alike: dict[tuple[str, int], list[Path]] = defaultdict(list)
    for path, own in inside.items():
        if len(own) >= LEAVES and not path[-1].isdecimal():
            alike[path[-1], len(own)].append(path)
    for paths in alike.values():
        first, *more = sorted(paths, key=len)
        for path in more:
            if len(path) > len(first) and path[:-2] == first[:-1] and (path[-2], path[-1]) not in known:
                both = ([(x.path[len(p) :], x.shape) for x in inside[p]] for p in (path, first))
                if next(both) == next(both):
                    yield inside[path]
