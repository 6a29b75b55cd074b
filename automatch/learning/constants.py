"""Tensors of one value throughout: values cannot tell how their elements were arranged; neighbours do, or a flag says.

A matrix of zeros is its own transpose, reshaped or turned; a bias of zeros stays what it is in whatever order its
entries are. The simplest arrangement that holds would do for this file, and be wrong for a trained one.
So it is with a symmetric matrix where others were transposed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from math import prod

from automatch.learning.arrangement import Arrangement, transposes
from automatch.learning.forms import WHOLE
from automatch.learning.relation import Relation
from automatch.learning.siblings import module_of
from automatch.learning.sides import Sides
from automatch.spec import Shape

DOUBT = "all of its values are equal, so that they do not tell how its elements were arranged"
SYMMETRIC = "it equals its own transpose, so that its values do not tell whether it was transposed, as others were"


class Neighbours:
    """What the tensors of many values tell of those of one.

    Attributes:
        silent: matrices of one value of which nothing tells whether their rows stayed where they were.
    """

    def __init__(self, sides: Sides, relations: Sequence[Relation]) -> None:
        """Sort what is known by the modules that it joins."""
        self._sides = sides
        self._told: dict[tuple[str, str], list[Arrangement]] = defaultdict(list)
        self._turned = False
        self._even = {
            key for (side, key, form), one in sides.sketches.items() if side and one.is_even and form != WHOLE
        }
        self.silent: list[str] = []
        for relation in relations:
            if relation.how.words and (relation.join or not self._is_constant(relation.targets[0])):
                self._turned |= "transpose" in relation.how.words
                if not relation.join:
                    self._told[_modules(relation)].append(relation.how)

    def settle(self, relation: Relation) -> Relation:
        """The relation as its neighbours are arranged, or with a doubt, if its values would look the same otherwise."""
        if relation.join:
            return relation
        if not self._is_constant(relation.targets[0]):
            return self._settle_symmetric(relation)
        before = self._sides.original.spec.by_key[relation.sources[0]].shape
        after = self._sides.converted.spec.by_key[relation.targets[0]].shape
        for how in self._told.get(_modules(relation), ()):
            like = _like(how, before, after)
            if like is not None:
                return replace(relation, how=like, why=relation.why or "its neighbours tell how it is arranged")
        wide, same = _wide(after), _wide(before) == _wide(after)
        if same and len(wide) < 2:
            return relation
        turned = next(transposes(before, after), None)
        if not same:
            return replace(relation, how=turned or relation.how, doubt=DOUBT)
        if self._turned and turned is not None:
            return replace(relation, doubt=DOUBT)
        self.silent.append(relation.targets[0])
        return relation

    def _settle_symmetric(self, relation: Relation) -> Relation:
        """A matrix that would be the same transposed, where others were: as its neighbours, or with a doubt."""
        source, target = relation.sources[0], relation.targets[0]
        form = self._sides.form(source, target)
        if not self._turned or relation.how.words or form is None or form == WHOLE:
            return relation
        fibres = self._sides.sketches[True, target, form].fibres
        shape = self._sides.converted.spec.by_key[target].shape
        turns = [
            how
            for how in transposes(shape, shape)
            if all(bool((fibre == fibres[at]).all()) for fibre, at in zip(fibres, how.order, strict=False))
        ]
        turned = self._sides.first_equal(source, target, turns)
        if turned is None:
            return relation
        told = next((how for how in self._told.get(_modules(relation), ()) if _like(how, shape, shape) == turned), None)
        if told is not None:
            return replace(relation, how=turned, why=relation.why or "its neighbours tell how it is arranged")
        return replace(relation, doubt=SYMMETRIC)

    def _is_constant(self, target: str) -> bool:
        """Whether a tensor of the conversion, no mask and no counter, has two elements or more, all of one value."""
        if target not in self._even or prod(self._sides.converted.spec.by_key[target].shape) < 2:
            return False
        flat = self._sides.converted(target).reshape(-1)
        return bool((flat == flat[0]).all())


def _modules(relation: Relation) -> tuple[str, str]:
    return module_of(relation.sources[0]), module_of(relation.targets[0])


def _wide(shape: Shape) -> Shape:
    """The dimensions that hold more than one."""
    return tuple(size for size in shape if size != 1)


def _like(how: Arrangement, before: Shape, after: Shape) -> Arrangement | None:
    """What happened to a neighbour, if it can have happened to a tensor of other shapes; None if not."""
    if how.words == ("transpose",) and len(before) == len(how.order):
        return how if tuple(before[i] for i in how.order) == after else None
    if len(before) != 1 or before != after or how.dim != 0 or how.view is None or how.shape is None:
        return None
    if how.words[-1] == "interleave" and prod(how.shape) == before[0]:
        return Arrangement(how.rank, ("interleave",), how.shape, (0, 2, 1, 3), None, how.shape, 0)
    if how.words[-1] == "flip" and how.flipped is not None:
        blocks = how.view[how.flipped : how.flipped + 2]
        if prod(blocks) == before[0]:
            return Arrangement(how.rank, ("flip",), blocks, (0, 1), None, how.shape, 0, 0)
    return None
