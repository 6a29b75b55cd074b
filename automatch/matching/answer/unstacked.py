"""What happens to a stack of layers, or to a list of them, in the words of rules.

A stack is taken apart first, and then each layer is brought into its form; the way back is the opposite. Parts that are
laid on each other in a stack are cut before it is taken apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd, prod

from automatch.describing.tokens import split_key
from automatch.matching.assignment import Match
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.parts import role_in, said_order
from automatch.ops import relative_shape
from automatch.spec import Shape

Groups = list[list[int]]
"""For each dimension of the common form, the stored dimensions that it is made of, those of size 1 left out."""


@dataclass(frozen=True, slots=True)
class _Way:
    """What happens to one layer."""

    words: tuple[str, ...]
    perm: tuple[int, ...] | None
    shape: Shape | None

    def cost(self) -> tuple[int, int, bool]:
        """How many sizes it tells, which holds for one width only; how many words it needs; whether it reshapes."""
        return sum(size > 1 for size in self.shape or ()), len(self.words), "reshape" in self.words


@dataclass(frozen=True, slots=True)
class _Cut:
    """The dimension of a layer along which the parts lie, and in what proportion."""

    dim: int
    sizes: tuple[int, ...]


def said_of(s: Leaf, t: Leaf) -> Match | None:
    """The match of a stack of layers and a list of them, with nothing said of how sure it is.

    Args:
        s: the checkpoint's side.
        t: the model's side.

    Returns:
        None where no rule can say what happens.
    """
    stack, apart = (s, t) if len(s.keys) == 1 else (t, s)
    if len(stack.keys) != 1 or len(apart.keys) == 1 or (stack.ops and not stack.layers):
        return None
    joins = [op for op in apart.ops if op in ("stack", "concat")]
    if len(joins) > 1 or {"stack", "concat"} & set(stack.ops):
        return None
    split = apart is t
    if not joins:
        dims, raw = _of_a_layer(stack), apart.raw
        ways = [_way(dims, _groups(stack, dims), raw, _groups(apart, raw), split)]
        cut = None
    else:
        cut, ways = _parts(stack, apart, joins[0], split)
    if not ways or ways[0] is None or any(way != ways[0] for way in ways):
        return None
    way = ways[0]
    if split:
        words = (*(("chunk",) if cut else ()), "unstack", *way.words)
    else:
        words = (*way.words, "stack", *(("concat",) if cut else ()))
    keys = _in_order(apart, stack) if joins == ["concat"] else apart.keys
    return Match(
        keys if split else t.keys,
        s.keys if split else keys,
        "+".join(words),
        dim=cut.dim + 1 if cut else stack.axis,
        perm=way.perm,
        sizes=cut.sizes if cut and split else None,
        shape=way.shape,
    )


def _parts(stack: Leaf, apart: Leaf, join: str, split: bool) -> tuple[_Cut | None, list[_Way | None]]:
    """Where a stack is cut into parts, and what happens to each of these."""
    if stack.axis:
        return None, []  # where a rule cuts a stack it can only take it apart along the first dimension
    dims, count = _of_a_layer(stack), len(apart.keys) // apart.layers
    mine = _groups(stack, dims)
    if join == "stack":
        theirs = _groups(apart, (count, *apart.raw))
        at = next((i for i, group in enumerate(theirs or ()) if group == [0]), None)
        if mine is None or theirs is None or at is None or len(mine) != len(theirs) or len(mine[at]) != 1:
            return None, []
        (dim,) = mine[at]
        if dims[dim] != count:
            return None, []
        piece = (*dims[:dim], 1, *dims[dim + 1 :])
        inner = [[i - 1 for i in group] for k, group in enumerate(theirs) if k != at]
        outer = [group for k, group in enumerate(mine) if k != at]
        return _Cut(dim, (1,) * count), [_way(piece, outer, apart.raw, inner, split)]
    theirs = _groups(apart, apart.raw)
    if mine is None or theirs is None or apart.sizes is None or apart.dim is None or len(mine) != len(theirs):
        return None, []
    common = gcd(*apart.sizes)
    sizes = tuple(size // common for size in apart.sizes)
    dim, theirs_at = mine[apart.dim][0], theirs[apart.dim]
    if dims[dim] % sum(sizes) or len(theirs_at) != 1:
        return None, []
    ways = []
    for size, whole in zip(sizes, apart.sizes, strict=True):
        piece = (*dims[:dim], dims[dim] // sum(sizes) * size, *dims[dim + 1 :])
        raw = (*apart.raw[: theirs_at[0]], whole, *apart.raw[theirs_at[0] + 1 :])
        ways.append(_way(piece, mine, raw, theirs, split))
    return _Cut(dim, sizes), ways


def _of_a_layer(stack: Leaf) -> Shape:
    return (*stack.raw[: stack.axis], *stack.raw[stack.axis + 1 :])


def _in_order(apart: Leaf, stack: Leaf) -> tuple[str, ...]:
    """The keys of joined parts, part by part, in the order that the name of the stack says (`up_gate_proj`)."""
    each = apart.layers
    rows = [apart.keys[i : i + each] for i in range(0, len(apart.keys), each)]
    roles = [found[1] for row in rows if (found := role_in(split_key(row[0])))]
    said = next((order for token in stack.path[-2:] if set(order := said_order(token)) == set(roles)), ())
    if len(said) == len(roles) == len(rows) == len(set(roles)) and len(set(apart.sizes or ())) == 1:
        rows = [rows[roles.index(role)] for role in said]
    return tuple(key for row in rows for key in row)


def _groups(leaf: Leaf, dims: Shape) -> Groups | None:
    """Of which stored dimensions those of the common form are made; None where the operations do not tell."""
    laid = "stack" in leaf.ops  # the first of the dimensions is there from then on
    groups: Groups = [[i] for i, size in enumerate(dims) if size != 1 and not (laid and i == 0)]
    for op in leaf.ops:
        if op == "stack":
            groups = [[0], *groups]
        elif op == "transpose" and leaf.perm is not None and len(leaf.perm) == len(groups):
            groups = [groups[i] for i in leaf.perm]
        elif op == "reshape" and leaf.flat is not None:
            merged = _merged(groups, dims, leaf.flat)
            if merged is None:
                return None
            groups = merged
        elif op != "concat":
            return None
    return groups


def _merged(groups: Groups, dims: Shape, flat: Shape) -> Groups | None:
    """The groups with those brought together that make one size of a merged shape."""
    out: Groups = []
    at = 0
    for size in flat:
        one: list[int] = []
        while at < len(groups) and (not one or prod(dims[i] for i in one) < size):
            one = one + groups[at]
            at += 1
        if prod(dims[i] for i in one) != size:
            return None
        out.append(one)
    return out if at == len(groups) else None


def _way(dims: Shape, mine: Groups | None, raw: Shape, theirs: Groups | None, split: bool) -> _Way | None:
    """What brings a layer of a stack into the form of an item of the list, or an item into that of the stack."""
    if mine is None or theirs is None or len(mine) != len(theirs):
        return None
    ways = list(_ways(dims, mine, raw, theirs) if split else _ways(raw, theirs, dims, mine))
    return min(ways, key=_Way.cost, default=None)


def _ways(start: Shape, mine: Groups, end: Shape, theirs: Groups) -> Iterator[_Way]:
    """The ways from one shape to another: turned and then reshaped, or the other way round."""
    order = _stored(theirs)
    if order is not None:
        inner = [i for at in order for i in mine[at]]
        if inner == sorted(inner):
            yield _worded(("reshape",), None, start, end)
        perm = (*inner, *_ones(start, inner))
        yield _worded(("transpose", "reshape"), perm, tuple(start[i] for i in perm), end)
    order = _stored(mine)
    if order is not None:
        inner = [i for at in order for i in theirs[at]]
        between = (*inner, *_ones(end, inner))
        perm = tuple(sorted(range(len(between)), key=between.__getitem__))
        yield _worded(("reshape", "transpose"), perm, start, tuple(end[i] for i in between))


def _stored(groups: Groups) -> list[int] | None:
    """The groups in the order in which they are stored; None where one lies between the dimensions of another."""
    order = sorted(range(len(groups)), key=lambda at: groups[at][0])
    inner = [i for at in order for i in groups[at]]
    return order if inner == sorted(inner) else None


def _ones(shape: Shape, others: Sequence[int]) -> list[int]:
    """The dimensions that are in no group; they may stand anywhere, and at the end a reshape need not tell sizes."""
    return [i for i in range(len(shape)) if i not in others]


def _worded(words: tuple[str, ...], perm: tuple[int, ...] | None, before: Shape, after: Shape) -> _Way:
    """A way without the words that change nothing."""
    turned = perm is not None and perm != tuple(range(len(perm)))
    idle = {"transpose": not turned, "reshape": before == after}
    shape = None if before == after else relative_shape(before, after)
    return _Way(tuple(word for word in words if not idle[word]), perm if turned else None, shape)
