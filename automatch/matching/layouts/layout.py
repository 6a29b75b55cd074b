"""Layouts: kernels that one side stores transposed.

A square kernel cannot show that it is transposed. So the decision is taken for a kind of tensor
(what its leaf is called, inside the repeated blocks or outside) by the members that can show it,
and holds for all of them. TensorFlow, Keras and flax call such tensors `kernel` and store
[in, out]; GPT-2's Conv1D calls them `weight`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from automatch.describing.tokens import ROLES, split_key, words_of
from automatch.matching.basis.leaves import Leaf, Path, template, without_digits
from automatch.matching.basis.parts import GATED, role_in
from automatch.matching.layouts.heads import APART, permuted
from automatch.matching.layouts.orders import (
    OF_MLX,
    Perm,
    fitting_orders,
    in_space,
    is_kernel,
    known_order,
    perms_of,
    shows_nothing,
)
from automatch.matching.layouts.stored import STACK, Kind, kind_of, lying, named, orientations, tail
from automatch.spec import Shape

CONVENTION = 100
"""Votes for a transposition that the name `kernel` is worth: nothing but [in, out] is called so."""

BY_BIAS = 20
"""Votes that the lengths of the biases are worth: a Linear's bias is as long as its first dimension."""

_WEIGHT = re.compile(r"^weight|(weight|kernel)$|^\d+$|^lora_")

_OWN_WEIGHT = re.compile(r"(?:^|[./])weight$")
"""A module's weight, not a parameter whose name ends so."""

_TABLES = {"pos", "position", "positional", "token", "tokens", "queries", "prompt", "mask", "bias", "table"}
"""Bare parameters called so are no linear layers."""

Shown = defaultdict[tuple[Kind, Shape], set[Perm]]
Families = dict[tuple[tuple[str, ...], Shape], list[Leaf]]


def _stacks(leaves: Iterable[Leaf], others: Iterable[Leaf]) -> set[Shape]:
    """The shapes of stacks: folded ones, and the other side's of which only one with each item turned is known."""
    theirs = {leaf.shape for leaf in others}
    return _halved(leaves, theirs) | {
        leaf.shape
        for leaf in leaves
        if len(leaf.shape) == 3
        and (
            "stack" in leaf.ops
            or (
                permuted(leaf.shape, (0, 2, 1)) in theirs
                and leaf.shape[1] != leaf.shape[2]
                and not {leaf.shape, leaf.shape[::-1]} & theirs
            )
        )
    }


def _is_gated(leaf: Leaf) -> bool:
    """Is a tensor called a gate's or an up-projection's?"""
    found = role_in(leaf.path)
    return found is not None and found[1] in GATED


def _halved(leaves: Iterable[Leaf], theirs: set[Shape]) -> set[Shape]:
    """The shapes of stacks that hold two of the other side's stacks beside each other, once their items are turned.

    Experts' gate and up: [experts, in, 2 * out] here, and twice [experts, out, in] there. What leads down has the shape
    of those before they are turned.
    """
    mine = {leaf.shape for leaf in leaves if len(leaf.shape) == 3}
    out: set[Shape] = set()
    for many, width, both in mine - theirs:
        half = both // 2
        if both % 2 == 0 and (many, half, width) in theirs and (many, both, width) not in mine:
            out |= {(many, width, half), (many, half, width)}
    return out


def _has_heads(leaf: Leaf) -> bool:
    """Were heads brought together that stood on both sides of the input's dimension?"""
    return leaf.perm in APART and leaf.flat is not None


def _is_embedding(leaf: Leaf, near: int = 0) -> bool:
    """Is a tensor called one, or what holds it; by so many of its last tokens, or (0) by any."""
    return any(word.startswith("embed") for token in leaf.path[-near:] for word in words_of(token))


def _is_bare(leaf: Leaf) -> bool:
    """Is a matrix a parameter of its own, and not called a weight?"""
    last = _bare_name(leaf)
    return len(leaf.shape) == 2 and len(leaf.path) > 1 and last not in ROLES and not _WEIGHT.search(last)


def _is_square(leaf: Leaf) -> bool:
    """Is a matrix a weight that does not show how it is stored?"""
    square = len(leaf.shape) == 2 and leaf.shape[0] == leaf.shape[1]
    return square and leaf.path[-1] == "weight" and not _is_embedding(leaf)


def _bare_name(leaf: Leaf) -> str:
    """What a parameter is called itself: `w1` as well where its bias `b1` made a module of the two."""
    return split_key(leaf.keys[0])[-1] if leaf.path[-1] == "w" else leaf.path[-1]


def _left_bare(leaves: list[Leaf], others: list[Leaf]) -> set[tuple[str, Shape]]:
    """What bare matrices are called, and their shapes, of which the other side has more Linears, in either layout."""
    linear = Counter(leaf.shape for leaf in others if leaf.path[-1] == "weight")
    linear.subtract(leaf.shape for leaf in leaves if leaf.path[-1] == "weight")
    bare = Counter(leaf.shape for leaf in leaves if _is_bare(leaf))
    bare.subtract(leaf.shape for leaf in others if _is_bare(leaf))
    there = {_bare_name(leaf) for leaf in others}
    return {
        (leaf.path[-1], leaf.shape)
        for leaf in leaves
        if _is_bare(leaf)
        and _bare_name(leaf) not in there
        and all(min(linear[form], bare[form]) > 0 for form in (leaf.shape, leaf.shape[::-1]))
    }


def _guessed(members: list[Leaf], kernels_here: bool) -> int:
    """Mark bare matrices as stored in a layout that nothing shows; 1 where [in, out] is the better guess, else 0.

    PyTorch Geometric has `x @ self.root`. Square weights of the layers are marked as well where only weights outside of
    the layers show that they are transposed, or the other way round.
    """
    table = _is_table(members[0])
    for leaf in members if kernels_here or not table else ():
        leaf.guessed = True
    return 0 if table else 1


def _is_table(leaf: Leaf) -> bool:
    words = words_of(leaf.path[-1])
    return any(word.startswith("embed") for word in words) or not _TABLES.isdisjoint(words)


_PACKED = frozenset({"qweight", "qzeros", "scales"})
"""How AWQ and GPTQ call what they keep of a quantized matrix: packed along one dimension, and turned by nobody."""


def _families(leaves: Iterable[Leaf]) -> Families:
    out: dict[tuple[tuple[str, ...], Shape], list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        if len(leaf.shape) >= 2 and leaf.path[-1] not in _PACKED:
            out[(template(leaf.path), leaf.shape)].append(leaf)
    return out


def _but_tables(families: Families, others: Iterable[Leaf]) -> Iterator[tuple[Shape, list[Leaf]]]:
    """The families without embeddings that the other side has in the same shape: tables lie by rows everywhere."""
    tables = {leaf.shape for leaf in others if _is_embedding(leaf, near=2)}
    for (_, shape), members in families.items():
        if shape not in tables or not _is_embedding(members[0], near=2):
            yield shape, members


def unify_layouts(source: list[Leaf], target: list[Leaf]) -> None:
    """Bring both sides into one layout (in place).

    Either may be the one that stores [in, out]. One that calls its tensors `kernel` is turned first: what the shapes
    show of the other is judged against what these are in truth.
    """
    sides = [(source, target), (target, source)]
    for leaves, others in sorted(sides, key=lambda side: not any(is_kernel(x) or _has_heads(x) for x in side[0])):
        _unify(leaves, others)


def _unify(leaves: list[Leaf], others: list[Leaf]) -> None:
    """Put the kernels of `leaves` that are stored transposed into the layout of `others`."""
    families = _families(leaves)
    here, called = orientations(leaves), named(others)
    theirs = Counter(leaf.shape for leaf in others)
    stacks = _stacks(others, leaves)
    halved = _halved(others, {leaf.shape for leaf in leaves})
    votes, by_loss = _votes(leaves, others, families, here, called, stacks, halved)
    whole = _halved(leaves, set(theirs))
    kernels_here = any(is_kernel(leaf) for leaf in leaves)
    bare_there = any(kind_of(leaf)[0] == "projection" for leaf in others)
    kernels_there = any(is_kernel(leaf) for leaf in others)
    heads = {kind_of(own[0]) for own in families.values() if _has_heads(own[0])}
    experts = {kind for kind in heads if votes[kind] < 0}  # brought together, of a kind that lies as a Linear's
    mixed = not kernels_here and any(n > 0 for n in here.values())
    upright = _upright(leaves, here) if mixed else set()
    bare = _left_bare(leaves, others)
    shown = _shown(families, theirs, stacks)
    for shape, members in _but_tables(families, others):
        perms = perms_of(shape, stacks)
        kind = kind_of(members[0], perms)
        if kind in heads and kind not in experts:  # [heads, in, size] is [in, heads * size], square or not
            votes[kind] = max(votes[kind], CONVENTION)
        elif heads and not votes[kind] and len(set(shape[-2:])) == 1 and not _is_embedding(members[0]):
            votes[kind] = CONVENTION  # the file stores [in, out], and a square matrix of it does not show it
        prior = CONVENTION if is_kernel(members[0]) and kernels_here and not kernels_there else 0
        if kind in experts and _has_heads(members[0]):
            prior = CONVENTION - votes[kind]
        if kind[0] == "projection" and len(shape) == 2 and len(members) == 1 and not bare_there:
            prior = 1  # `x @ self.proj` against a Linear: CLIP's way, and a square one cannot show it
        if not prior and not votes[kind] and (members[0].path[-1], shape) in bare:
            prior = _guessed(members, kernels_here)
        elsewhere = (kind[0], not kind[1])
        if not prior and not votes[kind] and votes[elsewhere] > 0 and _is_square(members[0]) and not kernels_there:
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
        if known is None and theirs[shape] and not (shape in halved and _is_gated(members[0])):
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


def _votes(
    leaves: list[Leaf],
    others: list[Leaf],
    families: Families,
    here: Counter[Kind],
    called: Mapping[Path, set[Shape]],
    stacks: set[Shape],
    halved: set[Shape],
) -> tuple[Counter[Kind], set[Kind]]:
    """For each kind of tensor, what speaks for (positive) and against its being transposed.

    And the kinds for which only tensors of one shape speak, more or fewer than there are of it turned: this might as
    well come of losses, of a projection that leads up here, and is not there, and of the one that leads down there.
    Those that are turned are marked as guessed.
    """
    mine = Counter(leaf.shape for leaf in leaves)
    theirs = Counter(leaf.shape for leaf in others)
    votes: Counter[Kind] = Counter()
    by_loss: dict[Kind, Counter[Shape]] = defaultdict(Counter)
    alike = {(without_digits(name), shape): members for (name, shape), members in families.items()}
    of_mlx = {permuted(shape, p) for shape in theirs if len(shape) == 4 for p in OF_MLX} - theirs.keys()
    of_torch = all(leaf.path[-1] == "weight" for leaf in (*leaves, *others) if len(leaf.shape) == 4)
    for (_, shape), members in alike.items():
        perms = perms_of(shape, stacks)
        if of_torch and shape in of_mlx:  # [3, 8, 3, 3] is what MLX has as [3, 3, 3, 8], and no kernel of TensorFlow's
            continue
        turned = permuted(shape, next(iter(fitting_orders(members[0], perms, theirs)), perms[0])) if perms else shape
        kind = kind_of(members[0], perms)
        if shape in halved:
            votes[kind] += 4
        if turned == shape or shows_nothing(shape, perms):
            continue
        same_name = called.get(tail(members[0].path), set())
        if turned in same_name and shape not in same_name:
            votes[kind] += 4
        elif shape in same_name and turned not in same_name:
            votes[kind] -= 4
        lack, excess = mine[shape] - theirs[shape], theirs[turned] - mine[turned]
        as_it_is = abs(lack) + abs(excess)  # how far the numbers of tensors are from those of the other side
        crosswise = abs(mine[shape] - theirs[turned]) + abs(mine[turned] - theirs[shape])
        pieces = _cut(turned, mine, theirs) or _cut(shape, theirs, mine)
        if lack > 0 and excess > 0 and 2 * theirs[shape] <= mine[shape] and not pieces:
            votes[kind] += 2
            if lack != excess and len(shape) == 2:
                by_loss[kind][shape] += 1
        elif theirs[shape] and as_it_is < crosswise:
            votes[kind] -= 2
    there = orientations(others)
    for kind, lies in here.items():
        standing = there[kind] if kind in there or kind[0] == STACK else sum(there.values())
        if lies > 0 >= standing:
            votes[kind] += BY_BIAS
        elif lies < 0 and (kind[0] != STACK or standing < 0):
            votes[kind] -= BY_BIAS  # upright; what lies on the other side is turned there
    return votes, {kind for kind, shapes in by_loss.items() if len(shapes) == 1 and votes[kind] <= 2 * shapes.total()}


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


def _cut(shape: Shape, mine: Counter[Shape], theirs: Counter[Shape]) -> bool:
    """May tensors of this shape be pieces of what the first side holds as one, and the second does not?"""
    whole = [(n * shape[0], *shape[1:]) for n in (2, 3)] if len(shape) == 2 else []
    return any(mine[joined] > theirs[joined] for joined in whole)
