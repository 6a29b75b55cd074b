"""How much two blocks have in common, and which kinds of blocks are tried together, best first."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from automatch.describing.tree import Node, Tree, below, is_block, is_module

CLOSE = 0.75
"""Blocks that are not items of corresponding lists must share at least this."""

LAYERS_ALIKE, MAINLY = 0.5, 0.6
"""The layers of two networks may be less alike, where both have as many and these are so much of either."""

EXACT = 12
"""Of so many tensors, a block has its equal not by chance."""

SAME_LABEL = 1.2
"""What an equal name is worth when similar blocks are put in order."""

Kinds = Mapping[int, Sequence[Node]]
"""Blocks of one side by their struct."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The trees of the two sides; `x` stands for a node of the checkpoint, `y` for one of the model."""

    source: Tree
    target: Tree

    def similar(self, x: Node, y: Node) -> float:
        """Share of their tensors, by weight, that two blocks have in common, in [0, 1]."""
        return self.source.similarity(x, self.target, y)

    def shared(self, x: Node, y: Node) -> float:
        """The weight of what they have in common."""
        return self.similar(x, y) * (self.source.bag(x)[1] + self.target.bag(y)[1]) / 2

    def are_several(self, x: Node, y: Node) -> bool:
        """Holds one of two blocks equal ones that are each more like the other block than it is itself?

        An `actor` and a `critic` in a `base` are not the critic alone that stands beside an actor there.
        """
        whole = self.similar(x, y)
        return any(self.similar(part, y) > whole for part in _twins(x)) or any(
            self.similar(x, part) > whole for part in _twins(y)
        )

    def rest(self, x: Node, y: Node, top_a: Node, top_b: Node) -> float:
        """How similar a whole side is to what the other holds beside the block that it is held against; else 0."""
        if (x is top_a) == (y is top_b):
            return 0.0
        if x is top_a:
            return self.target.similarity_without(top_b, y, self.source, x)
        return self.source.similarity_without(top_a, x, self.target, y)


def surplus(tree: Tree, node: Node, other: Tree, theirs: Node, least: int) -> list[Node]:
    """The largest blocks below a node, of `least` tensors or more, that hold nothing the other node has a use for.

    One of several equal blocks is none of them where the other node has some: nothing says which. Of equal blocks of
    which one is too many it is the outermost: an item of a list, and not a part of another item.
    """
    more = tree.bag(node)[0] - other.bag(theirs)[0]
    known = {(n.signature, n.count) for n in below(theirs)}
    out: list[Node] = []
    inside: set[int] = set()
    level = [child for child in node.children if child.children]
    while level:  # outer blocks first: an item too many of a list, and not a part of another item
        for part in level:
            if id(part.parent) in inside:
                inside.add(id(part))
            elif part.count >= least and not is_module(part) and (part.signature, part.count) not in known:
                held = tree.bag(part)[0]
                if all(more[shape] >= n for shape, n in held.items()):
                    more -= held
                    inside.add(id(part))
                    out.append(part)
        level = [child for part in level for child in part.children if child.children]
    return out


def kinds_to_try(
    compared: Compared, kinds: tuple[Kinds, Kinds], tops: tuple[Node, Node], whole: float
) -> list[tuple[list[int], list[int]]]:
    """Pairs of kinds of blocks (structs) to try, best first; kinds of equal shapes go together.

    `tops` are the nodes that all blocks lie below, `whole` says how similar these are. Smaller blocks that all have
    their equals elsewhere do not count for what two blocks share.
    """
    mine, theirs = kinds
    top_a, top_b = tops
    classes = _by_signature(mine), _by_signature(theirs)
    exact_ones = _whole_elsewhere(classes, kinds)
    lists = _items_of_lists(mine), _items_of_lists(theirs)
    scored: list[tuple[float, int, int, list[int], list[int]]] = []
    for key, structs in classes[0].items():
        if key in classes[1]:
            others = classes[1][key]
            first = (mine[structs[0]][0].start, theirs[others[0]][0].start)
            scored.append((float(key[1]), *first, structs, others))
    for key_a, structs in classes[0].items():
        x = mine[structs[0]][0]
        for key_b, others in classes[1].items():
            exact = key_a in classes[1] or key_b in classes[0]
            y = theirs[others[0]][0]
            small, large = sorted((key_a[1], key_b[1]))
            if key_a == key_b or small * 3 < large or (exact and small < EXACT):
                continue
            if (x is top_a and y is top_b) or _are_unlike(x, y):
                continue
            dice = compared.similar(x, y)
            if (x is top_a or y is top_b) and dice <= max(whole, compared.rest(x, y, top_a, top_b)):
                continue
            if 1.0 > dice >= CLOSE and (compared.are_several(x, y) or _is_split(x, y, lists)):
                continue
            if dice >= CLOSE:
                size = (key_a[1] + key_b[1]) / 2
                shared = dice * size - _elsewhere(exact_ones, x, y)
                dice = shared / size
                if x.label == y.label and not x.label.isdecimal():
                    shared *= SAME_LABEL
                if dice >= CLOSE:
                    scored.append((shared * dice**4, x.start, y.start, structs, others))
    scored.sort(key=lambda item: (-item[0], item[1], item[2]))
    return [(s, t) for _, _, _, s, t in scored]


def _are_unlike(x: Node, y: Node) -> bool:
    """Shows how they are built that two blocks are not one, whatever they have in common?"""
    return any(other(*pair) for other in (_is_list_against_item, _is_list_against_several) for pair in ((x, y), (y, x)))


def _is_list_against_item(a: Node, b: Node) -> bool:
    """Is one a list of blocks, and the other a block of a list that holds no list of blocks itself?

    Two layers are not one of twice the size.
    """
    if not a.is_list or b.is_list or b.parent is None or not b.parent.is_list or len(b.parent.children) < 2:
        return False
    holds_lists = any(node.is_list and any(map(is_block, node.children)) for node in below(b))
    return sum(map(is_block, a.children)) > 1 and not holds_lists


def _is_list_against_several(a: Node, b: Node) -> bool:
    """Is one a list of equal blocks, and does the other hold such a list, and a list of other blocks beside it?

    More layers of the one kind are not the layers of the other kind.
    """
    if not a.is_list or b.is_list or len({(n.signature, n.count) for n in a.children}) > 1:
        return False
    like = a.children[0].signature, a.children[0].count
    lists = [child.children for child in b.children if child.is_list and any(map(is_block, child.children))]
    same = [any((n.signature, n.count) == like for n in items) for items in lists]
    return any(same) and not all(same)


def alike_layers(
    compared: Compared, kinds: tuple[Kinds, Kinds], tops: tuple[Node, Node]
) -> tuple[list[int], list[int]] | None:
    """The kinds of the layers of either side, where these are not equal.

    Only where both have as many and they make most of what lies below the tops: gate and up may be one tensor here,
    and two there whose names do not say so, or an attention is lost. Where they have enough in common to be put
    together as blocks, and were not, what crosses their numbers is flagged.
    """
    layers = [_layers(_by_signature(side), side, top) for side, top in zip(kinds, tops, strict=True)]
    counts = {sum(len(side[k]) for k in own) for own, side in zip(layers, kinds, strict=True)}
    if not all(layers) or len(counts) > 1:
        return None
    x, y = (side[own[0]][0] for own, side in zip(layers, kinds, strict=True))
    return (layers[0], layers[1]) if LAYERS_ALIKE <= compared.similar(x, y) < 1.0 else None


def _layers(classes: Mapping[tuple[int, int], list[int]], kinds: Kinds, top: Node) -> list[int]:
    """The kinds of the equal items that make most of what lies below a node; [] where there are none."""
    items = {tuple(own): [n for k in own for n in kinds[k]] for own in classes.values()}
    shares = {
        own: len(nodes) * nodes[0].count / top.count
        for own, nodes in items.items()
        if len(nodes) > 1 and nodes[0].label.isdecimal()
    }
    most = max(shares, key=shares.__getitem__, default=())
    return list(most) if most and shares[most] >= MAINLY else []


def _whole_elsewhere(
    classes: tuple[Mapping[tuple[int, int], list[int]], ...], kinds: tuple[Kinds, Kinds]
) -> list[tuple[int, list[Node], list[Node]]]:
    """Blocks of some size that stand as often on both sides: how large they are, and where they and their like are.

    Blocks of the same modules of which some lost tensors are alike.
    """
    skeletons: tuple[dict[int, list[Node]], dict[int, list[Node]]] = (defaultdict(list), defaultdict(list))
    for own, kind in zip(skeletons, kinds, strict=True):
        for node in (n for nodes in kind.values() for n in nodes):
            own[node.skeleton].append(node)
    out: list[tuple[int, list[Node], list[Node]]] = []
    for key in classes[0].keys() & classes[1].keys():
        sides = [[n for struct in own[key] for n in kind[struct]] for own, kind in zip(classes, kinds, strict=True)]
        if key[1] >= EXACT and len(sides[0]) == len(sides[1]):
            mine, theirs = (own[nodes[0].skeleton] for own, nodes in zip(skeletons, sides, strict=True))
            out.append((key[1], mine, theirs))
    return out


def _elsewhere(whole: Sequence[tuple[int, list[Node], list[Node]]], x: Node, y: Node) -> int:
    """How many tensors of two blocks stand in smaller blocks that have all of their equals outside of the other one."""
    most = 0
    for size, mine, theirs in whole:
        inside = [sum(top.start <= n.start and n.end <= top.end for n in own) for top, own in ((x, mine), (y, theirs))]
        if not min(inside):
            most = max(most, size * max(inside))
    return most


def _items_of_lists(kinds: Kinds) -> Counter[tuple[int, int]]:
    """How many items of a kind all lists of one side hold, of those whose items are all alike."""
    out: Counter[tuple[int, int]] = Counter()
    for node in (node for nodes in kinds.values() for node in nodes):
        item = _item(node)
        if item is not None:
            out[item] += len(node.children)
    return out


def _item(node: Node) -> tuple[int, int] | None:
    """What all items of a list hold; None for what is no list, or one of different items."""
    held = {(child.signature, child.count) for child in node.children} if node.is_list else set()
    return held.pop() if len(held) == 1 else None


def _is_split(x: Node, y: Node, lists: tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]]) -> bool:
    """Has one side in several lists what the other has in one? Then none of them is that one: items go to items."""
    item = _item(x)
    if item is None or item != _item(y) or len(x.children) == len(y.children):
        return False
    return lists[0][item] == lists[1][item] == max(len(x.children), len(y.children))


def _twins(node: Node) -> list[Node]:
    """One each of the equal blocks that stand directly below a node."""
    equal: dict[tuple[int, int], list[Node]] = defaultdict(list)
    for child in node.children:
        if child.count > 1 and not is_module(child):
            equal[child.signature, child.count].append(child)
    return [own[0] for own in equal.values() if len(own) > 1]


def _by_signature(kinds: Kinds) -> dict[tuple[int, int], list[int]]:
    out: dict[tuple[int, int], list[int]] = defaultdict(list)
    for struct, nodes in kinds.items():
        out[nodes[0].signature, nodes[0].count].append(struct)
    return out
