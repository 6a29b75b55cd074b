"""Several tensors that became one, or one that became several: found by the fibres of the whole, decided exactly.

The fibres of a concatenated tensor are those of its parts one after the other; the fibre of a stacked one is the total
of a member. A whole is walked from its first fibre to its last, each time asking which unused tensor begins so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import replace
from itertools import accumulate, chain
from math import prod

from automatch.learning.arrangement import Arrangement, Quad, arrangements, quads, same, transposes, unwoven
from automatch.learning.forms import form_of
from automatch.learning.parts import MERGES, Member, Parts, nearest, parts_of, walks
from automatch.learning.relation import Relation
from automatch.learning.sides import Cut, Sides
from automatch.learning.sketch import Sketch, sketch
from automatch.spec import Shape

NUMBER = re.compile(r"\d+")


def find_joints(sides: Sides, sources: Sequence[str], targets: Sequence[str]) -> list[Relation]:
    """Every source that was cut into several of the targets, and every target that was joined from several sources.

    Args:
        sides: both sides, sketched.
        sources: keys of the original that nothing explains yet.
        targets: the same of the conversion.
    """
    out: list[Relation] = []
    known: dict[bool, set[str]] = {False: set(), True: set()}
    for merge in (None, *MERGES):
        for cutting in (False, True):
            wholes, others = (sources, targets) if cutting else (targets, sources)
            left = [key for key in wholes if key not in known[not cutting]]
            keys = _within(sides, cutting, [key for key in others if key not in known[cutting]], left, merge)
            parts = parts_of(sides, cutting, keys, merge)
            for whole in left if keys else ():
                found = _explain(parts, whole, known[cutting])
                if found is not None:
                    out.append(found)
                    known[False].update(found.sources)
                    known[True].update(found.targets)
    return out


def _within(
    sides: Sides, converted: bool, keys: Sequence[str], wholes: Sequence[str], merge: int | None
) -> Sequence[str]:
    """Those of the keys that may be parts of a whole; where dimensions are merged, of one with a dimension less."""
    if merge is None:
        return keys
    largest: dict[int, int] = {}
    for whole in wholes:
        shape = sides.spec(not converted).by_key[whole].shape
        largest[len(shape)] = max(largest.get(len(shape), 0), prod(shape))
    shapes = {key: sides.spec(converted).by_key[key].shape for key in keys}
    return [key for key in keys if 2 * prod(shapes[key]) <= largest.get(len(shapes[key]) - 1, -1)]


def _explain(parts: Parts, whole: str, known: Set[str]) -> Relation | None:
    """How a whole is made of parts, or cut into them; None where it is not."""
    sides, spec = parts.sides, parts.sides.spec(not parts.converted).by_key[whole]
    for dtype in parts.dtypes:
        form = form_of(spec.dtype, dtype) if parts.converted else form_of(dtype, spec.dtype)
        one = sides.sketches.get((not parts.converted, whole, form or ""))
        if form is None or one is None or one.size == 0 or one.is_even:
            continue  # zeros may be made of any zeros: nothing that values could tell
        ways = chain(
            _stacked(parts, whole, form, one, known),
            _concatenated(parts, whole, form, one, known),
            _stacked_of_concatenated(parts, whole, form, known),
        )
        found = next(ways, None)
        if found is not None:
            return found
    return None


def _stacked(parts: Parts, whole: str, form: str, one: Sketch, known: Set[str]) -> Iterator[Relation]:
    for dim, fibres in enumerate(one.fibres):
        size = one.size // max(1, len(fibres))
        if len(fibres) < 2 or size == 1:
            continue
        members: list[str] = []
        rivals: list[str] = []
        for total in fibres:
            options = [k for k in parts.totals.get((form, size, int(total)), ()) if k not in known and k not in members]
            if not options:
                break
            chosen, others = nearest(parts, options, members)
            members.append(chosen)
            rivals += others
        else:
            found = _pile(parts, whole, dim, members, rivals)
            if found is not None:
                yield found


def _pile(parts: Parts, whole: str, dim: int, members: Sequence[str], rivals: Sequence[str] = ()) -> Relation | None:
    """The relation of a whole and the members of a stack, if their values are equal."""
    shape = parts.sides.spec(not parts.converted).by_key[whole].shape
    piece = (*shape[:dim], *shape[dim + 1 :])
    before, after = _ends(parts, piece, members[0])
    cuts = [(slice(None),) * dim + (i,) for i in range(len(members))]
    if shape[dim] != len(members) or parts.merge is not None:
        return None  # a stack takes its members in any shape by itself
    if not parts.converted and not _numbered(members):
        return None  # rules order the members of a stack by a number
    how = _same_way(parts, whole, members, cuts, arrangements(before, after))
    return None if how is None else _relation(parts, whole, members, how, "stack", dim, rivals=rivals)


def _numbered(keys: Sequence[str]) -> bool:
    """Whether keys have each a number of its own at one place."""
    rows = [NUMBER.findall(key) for key in keys]
    return any(len({row[at] for row in rows}) == len(keys) for at in range(min(map(len, rows), default=0)))


def _ends(parts: Parts, piece: Shape, part: str) -> tuple[Shape, Shape]:
    """The shapes before and after what happens to a part."""
    return (piece, parts.shape(part)) if parts.converted else (parts.shape(part), piece)


def _concatenated(parts: Parts, whole: str, form: str, one: Sketch, known: Set[str]) -> Iterator[Relation]:
    for dim, fibres in enumerate(one.fibres):
        size = one.size // max(1, len(fibres))
        for members, rivals in walks(parts, fibres, form, size, known):
            found = _joined(parts, whole, dim, members, None, rivals)
            if found is not None:
                yield found
    size = one.size // max(1, len(one.fibres[0])) if one.fibres else 0
    if not one.fibres or (form, size, int(one.fibres[0][0])) not in parts.starts:
        return  # the first row stays the first in whatever order
    for quad in quads(len(one.fibres[0])):
        for members, rivals in walks(parts, unwoven(one.fibres[0], quad), form, size, known):
            found = _joined(parts, whole, 0, members, quad, rivals)
            if found is not None:
                yield found


def _joined(
    parts: Parts, whole: str, dim: int, members: Sequence[Member], quad: Quad | None, rivals: Sequence[str]
) -> Relation | None:
    """The relation of a whole and the members that its fibres speak of, if their values are equal."""
    shape = parts.sides.spec(not parts.converted).by_key[whole].shape
    lengths = tuple(parts.shape(key)[axis] for key, axis in members)
    ends = list(accumulate(lengths))
    if ends[-1] != shape[dim]:
        return None
    keys, axis = [key for key, _ in members], members[0][1]
    piece = (*shape[:dim], lengths[0], *shape[dim + 1 :])
    before, after = _ends(parts, piece, keys[0])
    if quad is not None:
        found = (
            parts.merge is None
            and len(before) == len(after)
            and parts.sides.equal_rows(parts.converted, whole, keys, quad, lengths)
        )
        return _relation(parts, whole, keys, same(len(before)), "concat", 0, lengths, quad, rivals) if found else None
    options = [same(len(before))] if before == after and dim == axis else []
    first, last = (dim, axis) if parts.converted else (axis, dim)
    options += [how for how in transposes(before, after) if how.order[last] == first]
    cuts = [(slice(None),) * dim + (slice(end - length, end),) for end, length in zip(ends, lengths, strict=True)]
    how = _same_way(parts, whole, keys, cuts, [parts.stored(option, keys[0]) for option in options])
    return None if how is None else _relation(parts, whole, keys, how, "concat", dim, lengths, None, rivals)


def _stacked_of_concatenated(parts: Parts, whole: str, form: str, known: Set[str]) -> Iterator[Relation]:
    """Members each of which is concatenated from parts: experts with gate and up in one."""
    tensor = parts.sides.spec(not parts.converted).by_key[whole]
    if len(tensor.shape) < 3 or tensor.shape[0] < 2:
        return
    values = parts.sides.arrays(not parts.converted)(whole)
    first = sketch(values[0], tensor.dtype, form)
    for dim, fibres in enumerate(first.fibres):
        size = first.size // max(1, len(fibres))
        rows: list[list[Member]] = []
        rivals: list[str] = []
        for i in range(tensor.shape[0]):
            one = first if i == 0 else sketch(values[i], tensor.dtype, form)
            taken = known | {key for row in rows for key, _ in row}
            walk = next(walks(parts, one.fibres[dim], form, size, taken), None)
            if walk is None:
                break
            rows.append(walk[0])
            rivals += walk[1]
        if len(rows) < tensor.shape[0] or len({tuple(_extents(parts, row)) for row in rows}) > 1:
            continue
        found = _grid(parts, whole, dim, rows, rivals)
        if found is not None:
            yield found


def _extents(parts: Parts, row: Sequence[Member]) -> list[tuple[int, int]]:
    """Which dimension of each part is joined, and its size."""
    return [(axis, parts.shape(key)[axis]) for key, axis in row]


def _grid(parts: Parts, whole: str, dim: int, rows: list[list[Member]], rivals: Sequence[str]) -> Relation | None:
    """The relation of a whole and rows of members, if their values are equal."""
    shape = parts.sides.spec(not parts.converted).by_key[whole].shape
    lengths = tuple(length for _, length in _extents(parts, rows[0]))
    ends = list(accumulate(lengths))
    # part by part, in each the members in their order
    keys = [row[k][0] for k in range(len(lengths)) for row in rows]
    cuts: list[Cut] = [
        (i, *(slice(None),) * dim, slice(ends[k] - lengths[k], ends[k]))
        for k in range(len(lengths))
        for i in range(len(rows))
    ]
    piece = (*shape[1 : dim + 1], lengths[0], *shape[dim + 2 :])
    before, after = _ends(parts, piece, keys[0])
    options = [same(len(before))] if before == after else []
    options += transposes(before, after)
    how = _same_way(parts, whole, keys, cuts, [parts.stored(option, keys[0]) for option in options])
    return None if how is None else _relation(parts, whole, keys, how, "stack+concat", dim + 1, lengths, None, rivals)


def joint_of(sides: Sides, whole: str, keys: Sequence[str], cutting: bool, like: Relation) -> Relation | None:
    """The relation of given keys, joined as another relation says, along whichever dimension their values tell.

    Args:
        sides: both sides.
        whole: key of the joined tensor.
        keys: its parts, in their order.
        cutting: whether the whole is the original's.
        like: the relation of their siblings.
    """
    plain = Parts(sides, cutting, {}, {}, {}, {})
    rank, ranks = len(sides.spec(not cutting).by_key[whole].shape), {len(plain.shape(key)) for key in keys}
    if len(ranks) > 1:
        return None
    (part_rank,) = ranks
    dims = sorted(range(rank), key=lambda dim: dim != like.dim)
    if like.join == "stack":
        return next((found for dim in dims if (found := _pile(plain, whole, dim, keys)) is not None), None)
    surplus = part_rank + (like.join == "stack+concat") - rank
    merges = {0: (None,), 1: MERGES[: part_rank - 1]}.get(surplus, ())
    for merge in merges:
        parts = replace(plain, merge=merge)
        for dim in dims:
            for axis in range(len(parts.shape(keys[0]))):
                found = _like(parts, whole, keys, dim, axis, like)
                if found is not None:
                    return found
    return None


def _like(parts: Parts, whole: str, keys: Sequence[str], dim: int, axis: int, like: Relation) -> Relation | None:
    """The keys joined along a dimension of the whole, which is another one of theirs."""
    count = len(like.lengths)
    if like.join == "stack+concat":
        members = len(keys) // count
        rows = [[(keys[k * members + i], axis) for k in range(count)] for i in range(members)]
        return _grid(parts, whole, dim - 1, rows, ()) if dim else None
    quad = like.quad if parts.converted or like.quad is None else _turned(like.quad)
    ways = (_joined(parts, whole, dim, [(key, axis) for key in keys], one, ()) for one in dict.fromkeys((quad, None)))
    return next((found for found in ways if found is not None), None)


def _turned(quad: Quad) -> Quad:
    """The interleaving that undoes it."""
    a, b, c, d = quad
    return a, c, b, d


def _same_way(
    parts: Parts, whole: str, keys: Sequence[str], cuts: Sequence[Cut], options: Iterable[Arrangement]
) -> Arrangement | None:
    """The first arrangement in which every part is its piece of the whole."""
    for option in options:
        pairs = zip(keys, cuts, strict=True)
        if parts.converted and all(parts.sides.first_equal(whole, key, [option], cut, ()) for key, cut in pairs):
            return option
        if not parts.converted and all(parts.sides.first_equal(key, whole, [option], (), cut) for key, cut in pairs):
            return option
    return None


def _relation(
    parts: Parts,
    whole: str,
    keys: Sequence[str],
    how: Arrangement,
    join: str,
    dim: int,
    lengths: tuple[int, ...] = (),
    quad: Quad | None = None,
    rivals: Sequence[str] = (),
) -> Relation:
    if quad is not None and not parts.converted:
        quad = _turned(quad)
    sources, targets = ((whole,), tuple(keys)) if parts.converted else (tuple(keys), (whole,))
    relation = Relation(sources, targets, how, join, dim, lengths, quad)
    # A rival that is another member is one as well: the two hold the same values, and might change places.
    return replace(relation, rivals=tuple(dict.fromkeys(rivals))) if rivals else relation
