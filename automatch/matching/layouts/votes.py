"""What speaks for and against a kind of tensors being stored transposed: names, numbers of shapes, biases."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from automatch.matching.basis.leaves import Leaf, Path, without_digits
from automatch.matching.layouts.heads import permuted
from automatch.matching.layouts.matrices import Families
from automatch.matching.layouts.orders import OF_MLX, fitting_orders, perms_of, shows_nothing
from automatch.matching.layouts.stored import STACK, Kind, kind_of, orientations, tail
from automatch.spec import Shape

BY_BIAS = 20
"""Votes that the lengths of the biases are worth: a Linear's bias is as long as its first dimension."""


def votes_on(
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


def _cut(shape: Shape, mine: Counter[Shape], theirs: Counter[Shape]) -> bool:
    """May tensors of this shape be pieces of what the first side holds as one, and the second does not?"""
    whole = [(n * shape[0], *shape[1:]) for n in (2, 3)] if len(shape) == 2 else []
    return any(mine[joined] > theirs[joined] for joined in whole)
