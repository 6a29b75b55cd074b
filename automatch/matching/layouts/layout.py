"""Layouts: kernels that one side stores transposed.

A square kernel cannot show that it is transposed. So the decision is taken for a kind of tensor
(what its leaf is called, inside the repeated blocks or outside) by the members that can show it,
and holds for all of them. TensorFlow, Keras and flax call such tensors `kernel` and store
[in, out]; GPT-2's Conv1D calls them `weight`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import product

from automatch.matching.basis.leaves import Leaf
from automatch.matching.layouts.heads import APART, permuted
from automatch.matching.layouts.matrices import (
    Families,
    but_tables,
    families_of,
    halved_of,
    has_heads,
    is_embedding,
    is_gated,
    is_square,
    is_table,
    left_bare,
    stacks_of,
)
from automatch.matching.layouts.orders import (
    Perm,
    fitting_orders,
    in_space,
    is_kernel,
    known_order,
    perms_of,
)
from automatch.matching.layouts.stored import Kind, kind_of, lying, named, orientations, tail
from automatch.matching.layouts.votes import votes_on
from automatch.spec import Shape

CONVENTION = 100
"""Votes for a transposition that the name `kernel` is worth: nothing but [in, out] is called so."""

_OWN_WEIGHT = re.compile(r"(?:^|[./])weight$")
"""A module's weight, not a parameter whose name ends so."""

Shown = defaultdict[tuple[Kind, Shape], set[Perm]]


def _guessed(members: list[Leaf], kernels_here: bool) -> int:
    """Mark bare matrices as stored in a layout that nothing shows; 1 where [in, out] is the better guess, else 0.

    PyTorch Geometric has `x @ self.root`. Square weights of the layers are marked as well where only weights outside of
    the layers show that they are transposed, or the other way round.
    """
    table = is_table(members[0])
    for leaf in members if kernels_here or not table else ():
        leaf.guessed = True
    return 0 if table else 1


def unify_layouts(source: list[Leaf], target: list[Leaf]) -> None:
    """Bring both sides into one layout (in place).

    Either may be the one that stores [in, out]. One that calls its tensors `kernel` is turned first: what the shapes
    show of the other is judged against what these are in truth.
    """
    sides = [(source, target), (target, source)]
    for leaves, others in sorted(sides, key=lambda side: not any(is_kernel(x) or has_heads(x) for x in side[0])):
        _unify(leaves, others)


def _unify(leaves: list[Leaf], others: list[Leaf]) -> None:
    """Put the kernels of `leaves` that are stored transposed into the layout of `others`."""
    families = families_of(leaves)
    here, called = orientations(leaves), named(others)
    theirs = Counter(leaf.shape for leaf in others)
    stacks = stacks_of(others, leaves)
    halved = halved_of(others, {leaf.shape for leaf in leaves})
    votes, by_loss = votes_on(leaves, others, families, here, called, stacks, halved)
    whole = halved_of(leaves, set(theirs))
    kernels_here = any(is_kernel(leaf) for leaf in leaves)
    bare_there = any(kind_of(leaf)[0] == "projection" for leaf in others)
    kernels_there = any(is_kernel(leaf) for leaf in others)
    heads = {kind_of(own[0]) for own in families.values() if has_heads(own[0])}
    experts = {kind for kind in heads if votes[kind] < 0}  # brought together, of a kind that lies as a Linear's
    mixed = not kernels_here and any(n > 0 for n in here.values())
    upright = _upright(leaves, here) if mixed else set()
    bare = left_bare(leaves, others)
    shown = _shown(families, theirs, stacks)
    for kind in heads - experts:  # [heads, in, size] is [in, heads * size], square or not
        votes[kind] = max(votes[kind], CONVENTION)
    for shape, members in but_tables(families, others):
        perms = perms_of(shape, stacks)
        kind = kind_of(members[0], perms)
        prior = CONVENTION if is_kernel(members[0]) and kernels_here and not kernels_there else 0
        if heads and not votes[kind] and len(set(shape[-2:])) == 1 and not is_embedding(members[0]):
            prior = CONVENTION  # the file stores [in, out], and a square matrix of it does not show it
        if kind in experts and has_heads(members[0]):
            prior = CONVENTION - votes[kind]
        if kind[0] == "projection" and len(shape) == 2 and len(members) == 1 and not bare_there:
            prior = 1  # `x @ self.proj` against a Linear: CLIP's way, and a square one cannot show it
        if not prior and not votes[kind] and (members[0].path[-1], shape) in bare:
            prior = _guessed(members, kernels_here)
        elsewhere = (kind[0], not kind[1])
        if not prior and not votes[kind] and votes[elsewhere] > 0 and is_square(members[0]) and not kernels_there:
            prior = _guessed(members, kernels_here)
        same_name = called.get(tail(members[0].path), set())
        if (
            mixed
            and len(set(shape)) > 1
            and shape in same_name
            and not any(permuted(shape, p) in same_name for p in perms)
        ):
            continue
        if votes[kind] + prior <= 0 or not perms or shape in whole:
            continue  # or the other side is the one to be turned
        fitting = fitting_orders(members[0], perms, theirs)
        known = known_order(members, fitting, *_shown_by(shown, kind, in_space(shape, fitting)))
        if known is None and theirs[shape] and not (shape in halved and is_gated(members[0])):
            continue  # turned it would fit nothing, and as it is it fits
        if known is None and len(shape) == 3 and min(theirs[shape[1:]], theirs[shape[:0:-1]]) >= shape[0]:
            continue  # the other side has its items one by one: experts, and no kernel over a line
        perm = known or perms[0]
        for leaf in members:
            if id(leaf) in upright:
                continue  # a Linear beside GPT-2's Conv1D
            leaf.guessed = leaf.guessed or (not prior and kind in by_loss)
            _turn(leaf, perm)
    _turn_cubes(leaves)


def _turn_cubes(leaves: Sequence[Leaf]) -> None:
    """Turn kernels like [out, 3, 3, in] of three channels as all others of the side that show it (in place).

    MLX keeps the channels last: its first convolution has the shape of torch's. A parameter such as
    `input_gate_weight`, [heads, size, size], is turned with others of its kind alone, and not with modules' weights.
    """
    weights = [leaf for leaf in leaves if len(leaf.shape) > 2 and leaf.path[-1] == "weight"]
    own = {id(leaf) for leaf in weights if _OWN_WEIGHT.search(leaf.keys[0])}
    for rank, of_module in product((3, 4, 5), (True, False)):
        last = (0, rank - 1, *range(1, rank - 1))
        kernels = [leaf for leaf in weights if len(leaf.shape) == rank and (id(leaf) in own) == of_module]
        kernels = [leaf for leaf in kernels if leaf.perm != (rank - 1, 0, *range(1, rank - 1))]  # transposed ones
        cubes = [leaf for leaf in kernels if not leaf.ops and permuted(leaf.shape, last) == leaf.shape]
        turned = sum(leaf.perm == last for leaf in kernels)
        if turned and turned + len(cubes) == len(kernels):
            for leaf in cubes:
                _turn(leaf, last)


def _turn(leaf: Leaf, perm: tuple[int, ...]) -> None:
    leaf.shape = permuted(leaf.shape, perm)
    if leaf.perm in APART and leaf.ops[-1:] == ("reshape",):
        leaf.perm, leaf.flat = APART[leaf.perm], leaf.shape
    else:
        leaf.perm = perm
        leaf.ops += ("transpose",)


def _shown(families: Families, theirs: Counter[Shape], stacks: set[Shape]) -> Shown:
    """For each kind of tensor, the orders of three or four dimensions that its members show, of which only one fits."""
    out: Shown = defaultdict(set)
    for (_, shape), members in families.items():
        perms = perms_of(shape, stacks)
        fitting = fitting_orders(members[0], perms, theirs)
        if len(fitting) == 1 < len(perms) and len(shape) in (3, 4) and 1 not in shape[-2:]:
            out[kind_of(members[0], perms), in_space(shape, fitting)].add(fitting[0])
    return out


def _shown_by(shown: Shown, kind: Kind, space: Shape) -> tuple[set[Perm], set[Perm]]:
    """The orders that the kernels of a kind show that are of one size in space, and those that all of the kind show."""
    every = set[Perm]().union(*(orders for (other, _), orders in shown.items() if other == kind))
    return shown.get((kind, space), set()), every


def _upright(leaves: list[Leaf], here: Counter[Kind]) -> set[int]:
    """Linear layers in a file that holds GPT-2's Conv1D as well: their biases show it, or those around a square one."""
    upright: set[int] = set()
    around: dict[tuple[str, ...], set[bool]] = defaultdict(set)
    for leaf, lies in lying(leaves):
        if not lies and here[kind_of(leaf)] > 0:
            upright.add(id(leaf))
        for depth in range(len(leaf.path) - 1):
            around[leaf.path[:depth]].add(lies)
    for leaf in leaves:
        if len(leaf.raw) > 2 and set(leaf.raw[2:]) == {1}:
            upright.add(id(leaf))  # a convolution of size 1
        elif len(leaf.shape) == 2 and leaf.shape[0] == leaf.shape[1]:
            depths = range(len(leaf.path) - 2, -1, -1)
            if next((around[leaf.path[:d]] for d in depths if leaf.path[:d] in around), {True}) == {False}:
                upright.add(id(leaf))
    return upright
