"""Tensors of a list that the other side keeps as the rows of one: the heads of an attention, the tables of features."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

from automatch.matching.basis.leaves import Leaf, template
from automatch.matching.basis.parts import joined_shape
from automatch.matching.folds.stacks import lists_of
from automatch.spec import Shape

QKV = 3
"""So many lists may be parts of one tensor: the heads' queries, keys and values."""


def fold_rows(leaves: list[Leaf], others: list[Leaf]) -> list[Leaf]:
    """Fold the items of lists into virtual leaves where the other side has all of their rows in one tensor.

    Only where it has none of the shapes in the list (what it shares with the other side are layers), and one such
    tensor more, and no other, for each of the lists of one name.
    """
    mine = Counter(leaf.shape for leaf in leaves)
    theirs = Counter(leaf.shape for leaf in others)
    families: dict[tuple[int, tuple[str, ...]], list[Leaf]] = defaultdict(list)
    layers: set[tuple[str, ...]] = set()
    for leaf in leaves:
        for hole, token in enumerate(leaf.path):
            if token.isdecimal() and leaf.shape and not leaf.integer:
                families[hole, template(leaf.path)].append(leaf)
                if theirs[leaf.shape]:
                    layers.add(template(leaf.path[:hole]))
    gone: dict[int, Leaf | None] = {}
    for (hole, _), members in sorted(families.items(), key=lambda item: -item[0][0]):  # the innermost list first
        if template(members[0].path[:hole]) in layers or any(id(leaf) in gone for leaf in members):
            continue
        lists = lists_of(members, hole)
        if not lists or any(len(own) < 2 for own in lists):
            continue
        joined = [joined_shape([leaf.shape for leaf in own], 0) for own in lists]
        if not _are_known(joined, mine, theirs):
            continue
        gone.update((id(leaf), None) for leaf in members)
        for own, shape in zip(lists, joined, strict=True):
            first = min(own, key=lambda leaf: leaf.place)
            gone[id(first)] = replace(
                first,
                path=(*first.path[:hole], *first.path[hole + 1 :]),
                shape=shape or (),
                keys=tuple(key for leaf in own for key in leaf.keys),
                ops=(*first.ops, "concat"),
                dim=0,
                sizes=tuple(leaf.shape[0] for leaf in own),
            )
    return [kept for leaf in leaves if (kept := gone.get(id(leaf), leaf)) is not None] if gone else leaves


def _are_known(joined: list[Shape | None], mine: Counter[Shape], theirs: Counter[Shape]) -> bool:
    """Has the other side such tensors, alone or as one of the parts of a tensor, for every list?"""
    shapes = [shape for shape in joined if shape is not None]
    wanted = Counter(shapes), Counter((QKV * shape[0], *shape[1:]) for shape in shapes)
    return len(shapes) == len(joined) and any(
        all(theirs[form] - mine[form] == n for form, n in forms.items()) for forms in wanted
    )
