"""Parts that one side lays on each other: JAX' einsum weights `kv_einsum` [2, heads, width, size], `gating` [2, a, b].

The other side keeps them apart, so that a whole family of them is folded into virtual stacks. This comes before heads
are merged and layouts compared: what the stack holds, in whatever order of dimensions, is seen by its sizes alone.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace

from automatch.matching.basis.leaves import Leaf, see_as, template
from automatch.matching.basis.parts import PARTS, Hole, filled, groups_of
from automatch.spec import Shape


def fold_laid(leaves: list[Leaf], others: list[Leaf]) -> list[Leaf]:
    """Fold q, k, v (k, v; gate, up) into virtual stacks where the other side has them in one tensor more.

    Returns the leaves with each folded group replaced by one leaf at the place of its first member.
    """
    tall = Counter(leaf.shape for leaf in others if len(leaf.shape) >= 2 and not leaf.integer)
    mine = Counter(leaf.shape for leaf in leaves)
    kernels = {tuple(sorted(shape)) for shape in mine if len(shape) > 2}
    for shape in list(tall):
        turned = tuple(sorted(shape)) in kernels  # a kernel of [2, 2, a, b] in another layout
        if mine[shape] or turned or not any(shape[0] == len(parts) for parts in PARTS):
            del tall[shape]
    gone: dict[int, Leaf | None] = {}
    for parts in PARTS:
        if not any(shape[0] == len(parts) and len(shape) > 2 for shape in tall):
            continue
        families: dict[tuple[Hole, Shape], list[Hole]] = defaultdict(list)
        groups = groups_of([leaf for leaf in leaves if id(leaf) not in gone], parts)
        for name, group in groups.items():
            families[template(name), group[parts[0]].shape].append(name)
        modules: set[Hole] = set()
        for (name, shape), names in sorted(families.items(), key=lambda item: -len(item[0][1])):
            if any(m.shape != shape for n in names for m in groups[n].values()):
                continue
            if len(shape) < 2 and name[:-1] not in modules:  # a bias follows its weight
                continue
            known = next(
                (s for s in tall if s[0] == len(parts) and _lies_in(shape, s[1:]) and tall[s] >= len(names)), None
            )
            if known is None:
                continue
            modules.add(name[:-1])
            tall[known] -= len(names)
            flat = len(shape) == 1 and 1 in known[1:]  # [2, 1, 1, d] is two vectors in a row
            if flat:
                _flatten(others, known)
            for own in names:
                _lay([groups[own][part] for part in parts], filled(own, "".join(parts)), gone, flat)
    return [kept for leaf in leaves if (kept := gone.get(id(leaf), leaf)) is not None]


def _flatten(leaves: list[Leaf], shape: Shape) -> None:
    for leaf in leaves:
        if leaf.shape == shape and not leaf.ops:
            see_as(leaf, (math.prod(shape),))


def _lay(members: list[Leaf], path: Hole, gone: dict[int, Leaf | None], flat: bool) -> None:
    first = min(members, key=lambda m: m.place)
    keys = tuple(key for m in members for key in m.keys)
    gone.update((id(m), None) for m in members)
    laid = replace(first, path=path, keys=keys, dim=0)
    if flat:
        laid.shape, laid.ops = (len(members) * first.shape[0],), (*first.ops, "concat")
        laid.sizes = tuple(m.shape[0] for m in members)
    else:
        laid.shape, laid.ops = (len(members), *first.shape), (*first.ops, "stack")
    gone[id(first)] = laid


def _lies_in(shape: Shape, inner: Shape) -> bool:
    """Is a tensor of one shape what is left of a stack of another one, heads merged and dimensions in any order?"""
    return sorted(shape) in (sorted(form) for form in (inner, (math.prod(inner),), *_merges(inner)))


def _merges(shape: Shape) -> Iterator[Shape]:
    """Three dimensions with two of them made one."""
    if len(shape) == 3:
        a, b, c = shape
        yield from ((a * b, c), (a, b * c), (b, a * c))
