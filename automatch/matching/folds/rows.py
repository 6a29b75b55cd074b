"""Tensors of a list that the other side keeps as the rows of one: the heads of an attention, the tables of features."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

from automatch.matching.basis.leaves import Leaf, template
from automatch.matching.basis.parts import PARTS, joined_shape, role_in
from automatch.matching.folds.stacks import lists_of
from automatch.spec import Shape

_ODD = 0.1
"""Of a list's shapes the other side may have so few, beside what the list has of them, without having its items."""

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
    for leaf in leaves:
        for hole, token in enumerate(leaf.path):
            if token.isdecimal() and leaf.shape and not leaf.integer:
                families[hole, template(leaf.path)].append(leaf)
    layers = {
        name[:hole]
        for (hole, name), members in families.items()
        if any(theirs[shape] > _ODD * n for shape, n in Counter(leaf.shape for leaf in members).items())
    }
    listed = {
        (hole, name): lists
        for (hole, name), members in families.items()
        if name[:hole] not in layers and (lists := lists_of(members, hole)) and all(len(own) > 1 for own in lists)
    }
    beside: dict[tuple[int, tuple[str, ...]], list[Shape | None]] = defaultdict(list)
    for (hole, name), lists in listed.items():
        if _is_qkv(name, hole):
            beside[hole, name[:hole]] += map(_rows_of, lists)
    gone: dict[int, Leaf | None] = {}
    folded: set[tuple[int, tuple[str, ...]]] = set()
    # the innermost list first, and weights before their biases
    for (hole, name), lists in sorted(listed.items(), key=lambda item: (-item[0][0], -len(item[1][0][0].shape))):
        members = families[hole, name]
        if any(id(leaf) in gone for leaf in members):
            continue
        joined = [*map(_rows_of, lists)]
        alike = [shape for shape in beside[hole, name[:hole]] if shape in joined] if _is_qkv(name, hole) else joined
        with_weight = (hole, name[:-1]) in folded and all(theirs[shape or ()] for shape in joined)
        if not (with_weight or _are_known(joined, mine, theirs) or _are_known(alike, mine, theirs)):
            continue
        folded.add((hole, name[:-1]))
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


def _is_qkv(name: tuple[str, ...], hole: int) -> bool:
    """Is a family called q, k or v, in a list inside of layers, as the parts of every head are?"""
    found = role_in(name)
    return found is not None and found[1] in PARTS[0] and "#" in name[:hole]


def _rows_of(items: list[Leaf]) -> Shape | None:
    return joined_shape([leaf.shape for leaf in items], 0)


def _are_known(joined: list[Shape | None], mine: Counter[Shape], theirs: Counter[Shape]) -> bool:
    """Has the other side such tensors, alone or as one of the parts of a tensor, for every list?"""
    shapes = [shape for shape in joined if shape is not None]
    wanted = Counter(shapes), Counter((QKV * shape[0], *shape[1:]) for shape in shapes)
    return len(shapes) == len(joined) and any(
        all(theirs[form] - mine[form] == n for form, n in forms.items()) for forms in wanted
    )
