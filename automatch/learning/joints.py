"""Several tensors that became one, or one that became several: found by the fibres of the whole, decided exactly.

The fibres of a concatenated tensor are those of its parts one after the other; the fibre of a stacked one is the total
of a member. A whole is walked from its first fibre to its last, each time asking which unused tensor begins so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any

from automatch.learning.arrangement import Arrangement, Quad, arrangements, quads, same, transposes, unwoven
from automatch.learning.forms import form_of
from automatch.learning.relation import Relation
from automatch.learning.sides import Cut, Sides
from automatch.learning.sketch import Sketch, sketch
from automatch.spec import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_STEPS = 2_000
"""A walk that takes more steps than this is given up: too many tensors begin alike."""

Start = tuple[str, int, int]
Member = tuple[str, int]
"""A part, and its dimension along which it is joined."""


@dataclass(frozen=True)
class Parts:
    """The tensors of which wholes may be made.

    Attributes:
        sides: both sides.
        converted: whether the parts are the conversion's, so that wholes are cut.
        starts: (form, elements of a fibre, first fibre) -> parts that begin so.
        totals: (form, elements, total) -> parts.
        places: the position of each part in its state_dict.
        dtypes: those that parts have.
    """

    sides: Sides
    converted: bool
    starts: dict[Start, list[Member]]
    totals: dict[Start, list[str]]
    places: dict[str, int]
    dtypes: tuple[str, ...] = ()

    def shape(self, key: str) -> Shape:
        """The shape of a part."""
        return self.sides.spec(self.converted).by_key[key].shape


def find_joints(sides: Sides, sources: Sequence[str], targets: Sequence[str]) -> list[Relation]:
    """Every source that was cut into several of the targets, and every target that was joined from several sources.

    Args:
        sides: both sides, sketched.
        sources: keys of the original that nothing explains yet.
        targets: the same of the conversion.
    """
    out: list[Relation] = []
    for cutting in (False, True):
        wholes, others = (sources, targets) if cutting else (targets, sources)
        known = {key for one in out for key in (*one.sources, *one.targets)}
        parts = _parts(sides, cutting, [key for key in others if key not in known])
        for whole in wholes:
            if whole in known:
                continue
            found = _explain(parts, whole, known)
            if found is not None:
                out.append(found)
                known.update((*found.sources, *found.targets))
    return out


def _parts(sides: Sides, converted: bool, keys: Sequence[str]) -> Parts:
    starts: dict[Start, list[Member]] = defaultdict(list)
    totals: dict[Start, list[str]] = defaultdict(list)
    places = {key: i for i, key in enumerate(sides.spec(converted).keys)}
    wanted = set(keys)
    for (side, key, form), one in sides.sketches.items():
        if side is not converted or key not in wanted:
            continue
        totals[form, one.size, one.total].append(key)
        for dim, fibres in enumerate(one.fibres):
            if len(fibres) and one.size:
                starts[form, one.size // len(fibres), int(fibres[0])].append((key, dim))
    dtypes = tuple(dict.fromkeys(sides.spec(converted).by_key[key].dtype for key in keys))
    return Parts(sides, converted, dict(starts), dict(totals), places, dtypes)


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
            chosen, others = _nearest(parts, options, members)
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
    how = _same_way(parts, whole, members, cuts, arrangements(before, after)) if shape[dim] == len(members) else None
    return None if how is None else _relation(parts, whole, members, how, "stack", dim, rivals=rivals)


def _ends(parts: Parts, piece: Shape, part: str) -> tuple[Shape, Shape]:
    """The shapes before and after what happens to a part."""
    return (piece, parts.shape(part)) if parts.converted else (parts.shape(part), piece)


def _concatenated(parts: Parts, whole: str, form: str, one: Sketch, known: Set[str]) -> Iterator[Relation]:
    for dim, fibres in enumerate(one.fibres):
        size = one.size // max(1, len(fibres))
        for members, rivals in _walks(parts, fibres, form, size, known):
            found = _joined(parts, whole, dim, members, None, rivals)
            if found is not None:
                yield found
    size = one.size // max(1, len(one.fibres[0])) if one.fibres else 0
    if not one.fibres or (form, size, int(one.fibres[0][0])) not in parts.starts:
        return  # the first row stays the first in whatever order
    for quad in quads(len(one.fibres[0])):
        for members, rivals in _walks(parts, unwoven(one.fibres[0], quad), form, size, known):
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
        found = len(before) == len(after) and parts.sides.equal_rows(parts.converted, whole, keys, quad, lengths)
        return _relation(parts, whole, keys, same(len(before)), "concat", 0, lengths, quad, rivals) if found else None
    options = [same(len(before))] if before == after and dim == axis else []
    first, last = (dim, axis) if parts.converted else (axis, dim)
    options += [how for how in transposes(before, after) if how.order[last] == first]
    cuts = [(slice(None),) * dim + (slice(end - length, end),) for end, length in zip(ends, lengths, strict=True)]
    how = _same_way(parts, whole, keys, cuts, options)
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
            walk = next(_walks(parts, one.fibres[dim], form, size, taken), None)
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
    how = _same_way(parts, whole, keys, cuts, [*options, *transposes(before, after)])
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
    parts = Parts(sides, cutting, {}, {}, {})
    rank, part_rank = len(sides.spec(not cutting).by_key[whole].shape), len(parts.shape(keys[0]))
    if any(len(parts.shape(key)) != part_rank for key in keys):
        return None
    dims = sorted(range(rank), key=lambda dim: dim != like.dim)
    if like.join == "stack":
        return next((found for dim in dims if (found := _pile(parts, whole, dim, keys)) is not None), None)
    if rank != part_rank + (like.join == "stack+concat"):
        return None
    count = len(like.lengths)
    members = len(keys) // count
    for dim in dims:
        for axis in range(part_rank):
            for quad in dict.fromkeys((like.quad if cutting or like.quad is None else _turned(like.quad), None)):
                if like.join == "concat":
                    found = _joined(parts, whole, dim, [(key, axis) for key in keys], quad, ())
                else:
                    rows = [[(keys[k * members + i], axis) for k in range(count)] for i in range(members)]
                    found = _grid(parts, whole, dim - 1, rows, ()) if dim else None
                if found is not None:
                    return found
    return None


def _turned(quad: Quad) -> Quad:
    """The interleaving that undoes it."""
    a, b, c, d = quad
    return a, c, b, d


def _walks(
    parts: Parts, fibres: NDArray[Any], form: str, size: int, known: Set[str]
) -> Iterator[tuple[list[Member], list[str]]]:
    """Rows of two or more parts whose fibres are, one after the other, those given; with what would do as well."""
    import numpy as np

    steps = 0
    paths: list[tuple[list[Member], int, list[str]]] = [([], 0, [])]
    while paths and steps < MOST_STEPS:
        steps += 1
        members, at, rivals = paths.pop()
        if at == len(fibres):
            if len(members) > 1:
                yield members, rivals
            continue
        used = {key for key, _ in members}
        fitting: dict[tuple[int, int], list[str]] = defaultdict(list)
        for key, axis in parts.starts.get((form, size, int(fibres[at])), ()):
            own = parts.sides.sketches[parts.converted, key, form].fibres[axis]
            same_axis = not members or axis == members[0][1]
            fits = at + len(own) <= len(fibres) and np.array_equal(own, fibres[at : at + len(own)])
            if key not in used and key not in known and same_axis and fits:
                fitting[axis, len(own)].append(key)
        for (axis, length), keys in sorted(fitting.items(), reverse=True):
            chosen, others = _nearest(parts, keys, [key for key, _ in members])
            paths.append(([*members, (chosen, axis)], at + length, [*rivals, *others]))


def _nearest(parts: Parts, options: Sequence[str], members: Sequence[str]) -> tuple[str, list[str]]:
    """The part that stands nearest to the members so far, and those that stand as near: their values are equal."""
    if len(options) == 1:
        return options[0], []
    if not members:
        return options[0], list(options[1:])
    near = [max(_shared(key, member) for member in members) for key in options]
    best = [key for key, n in zip(options, near, strict=True) if n == max(near)]
    best.sort(key=lambda key: (parts.places[key] < parts.places[members[-1]], parts.places[key]))
    return best[0], best[1:]


def _shared(key: str, other: str) -> int:
    """How many modules two keys share."""
    count = 0
    for a, b in zip(key.split(".")[:-1], other.split(".")[:-1], strict=False):
        if a != b:
            break
        count += 1
    return count


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
    others = tuple(dict.fromkeys(key for key in rivals if key not in keys))
    return replace(relation, rivals=others) if others else relation
