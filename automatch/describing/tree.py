"""The module tree behind a list of keys, with a signature for every subtree.

Two numbers describe a subtree. `signature` is the multiset of its tensor shapes, whatever they
are called and however they are nested (equal for a block and its renamed twin). `struct` also
knows names, order and nesting (equal for layers of one model), so that what was found out about
one layer holds for all of them and is worked out once. A third, `skeleton`, knows of every module
only its main tensor, so that a norm without its bias is the same norm. `ways` tells whether lists stand in another
order than that of their numbers. Hash-consing as in Merkle trees; the
plan (equal subtrees first, then similar ones) is that of GumTree (Falleri et al., ASE 2014).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from automatch.describing.tokens import stem_index

_MASK = (1 << 61) - 1


class Node:
    """One dotted level. Leaves lie in `tree.order[start:end]`."""

    __slots__ = (
        "children",
        "count",
        "end",
        "gathered",
        "is_list",
        "label",
        "leaf",
        "of_equals",
        "parent",
        "signature",
        "skeleton",
        "start",
        "struct",
        "table",
        "ways",
    )

    def __init__(self, label: str, parent: Node | None) -> None:
        self.label = label
        self.parent = parent
        self.children: list[Node] = []
        self.leaf = -1
        self.start = 0
        self.end = 0
        self.count = 0
        self.signature = 0
        self.skeleton = 0
        self.struct = 0
        self.ways = 0  # 0: all lists from here on stand in the order of their numbers
        self.is_list = False
        self.of_equals = False  # an item of a list of equal blocks
        self.gathered = False  # no module: the list `layer` of `layer1 .. layer4`
        self.table: dict[str, Node] | None = None  # children by label, while the tree grows

    def tokens(self, top: Node | None = None) -> list[str]:
        """Labels on the way down from `top` (not included)."""
        out: list[str] = []
        node: Node | None = self
        while node is not None and node is not top and node.parent is not None:
            out.append(node.label)
            node = node.parent
        return out[::-1]

    def spelt(self, top: Node | None = None) -> list[str]:
        """The same with the items of gathered lists as they were written: `attn1`, not `attn`, `1`."""
        out: list[str] = []
        node: Node | None = self
        while node is not None and node is not top and node.parent is not None:
            gathered = node.parent.gathered and node.parent is not top
            out.append(node.parent.label + node.label if gathered else node.label)
            node = node.parent.parent if gathered else node.parent
        return out[::-1]


class Interner:
    """Numbers for equal things, in order of first appearance (deterministic), shared by both sides."""

    __slots__ = ("ids",)

    def __init__(self) -> None:
        self.ids: dict[object, int] = {}

    def __call__(self, thing: object) -> int:
        """The number of a thing."""
        return self.ids.setdefault(thing, len(self.ids))


def scramble(number: int) -> int:
    """A fixed pseudo-random image of a small number (splitmix64): sums of these rarely collide."""
    z = (number + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return (z ^ (z >> 31)) & _MASK


class Tree:
    """The tree of one side.

    Attributes:
        root: the node above all keys.
        order: leaf numbers in depth-first order.
        shapes: per leaf, the number of its comparable shape; negative for leaves that follow
            their module and do not count (integer counters).
        node_of: leaf number -> its node.

    `weights` says what a shape counts in a comparison (1 where it is not named).
    """

    __slots__ = ("_bags", "_weights", "node_of", "order", "root", "shapes")

    def __init__(
        self,
        paths: Sequence[tuple[str, ...]],
        shapes: Sequence[int],
        structs: Interner,
        weights: dict[int, float] | None = None,
    ) -> None:
        self.shapes = shapes
        self._weights = weights or {}
        self.root = Node("", None)
        self.order: list[int] = []
        self.node_of: list[Node] = []
        self._bags: dict[int, tuple[Counter[int], float]] = {}
        self._grow(paths)
        _insert_lists(self.root)
        self._finish(structs)

    def _grow(self, paths: Sequence[tuple[str, ...]]) -> None:
        for number, path in enumerate(paths):
            node = self.root
            for token in path:
                child = node.table.get(token) if node.table is not None else None
                if child is None:
                    child = Node(token, node)
                    if node.table is None:
                        node.table = {}
                    node.table[token] = child
                    node.children.append(child)
                node = child
            if node.leaf >= 0:  # two keys with one path ("a.b" and "a/b"): keep both, side by side
                twin = Node(node.label, node.parent)
                assert node.parent is not None
                node.parent.children.append(twin)
                node = twin
            node.leaf = number
            self.node_of.append(node)

    def _finish(self, structs: Interner) -> None:
        stack: list[tuple[Node, bool]] = [(self.root, False)]
        while stack:
            node, seen = stack.pop()
            if not seen:
                node.start = len(self.order)
                if node.leaf >= 0:
                    self.order.append(node.leaf)
                stack.append((node, True))
                stack.extend((child, False) for child in reversed(node.children))
                continue
            node.end = len(self.order)
            node.table = None
            own = self.shapes[node.leaf] if node.leaf >= 0 else -1
            signature, count = (scramble(own), 1) if own >= 0 else (0, 0)
            parts: list[object] = [node.is_list, self.shapes[node.leaf] if node.leaf >= 0 else None]
            main, skeleton = -1, 0
            for child in node.children:
                signature += child.signature
                count += child.count
                parts.append((child.label, child.struct))
                if child.leaf >= 0:
                    held = self.shapes[child.leaf]
                    if held >= 0 and (main < 0 or self._weights.get(held, 1.0) > self._weights.get(main, 1.0)):
                        main = held
                else:
                    skeleton += child.skeleton
            node.signature, node.count = signature & _MASK, count
            node.skeleton = (skeleton + scramble(main) if main >= 0 else skeleton) & _MASK
            node.struct = structs(tuple(parts))
            node.ways = self._ways(node, structs)
            if node.is_list and len(node.children) > 1 and len({child.struct for child in node.children}) == 1:
                for child in node.children:
                    child.of_equals = True

    def _ways(self, node: Node, structs: Interner) -> int:
        """A number for which lists below a node, itself included, do not stand in the order of their numbers."""
        own: tuple[bool, ...] = ()
        if node.is_list:
            firsts = [self.order[child.start] for child in node.children]
            own = tuple(x < y for x, y in pairwise(firsts))
        inner = tuple(child.ways for child in node.children)
        return 0 if all(own) and not any(inner) else structs(("ways", own, inner))

    def bag(self, node: Node) -> tuple[Counter[int], float]:
        """The multiset of shapes below a node, and its weight."""
        found = self._bags.get(node.struct)
        if found is None:
            shapes, weights = self.shapes, self._weights
            bag = Counter(s for leaf in self.order[node.start : node.end] if (s := shapes[leaf]) >= 0)
            found = self._bags[node.struct] = (bag, sum(n * weights.get(s, 1.0) for s, n in bag.items()))
        return found

    def similarity(self, node: Node, other: Tree, theirs: Node) -> float:
        """Share of the weight of two subtrees that they have in common (Dice coefficient), in [0, 1]."""
        if node.signature == theirs.signature and node.count == theirs.count:
            return 1.0
        (a, weight_a), (b, weight_b) = self.bag(node), other.bag(theirs)
        if len(a) > len(b):
            a, b = b, a
        weights = self._weights
        shared = sum(min(n, b[s]) * weights.get(s, 1.0) for s, n in a.items() if s in b)
        return 2.0 * shared / (weight_a + weight_b) if shared else 0.0

    def similarity_without(self, node: Node, part: Node, other: Tree, theirs: Node) -> float:
        """The same for what `node` holds beside a `part` of it."""
        (whole, weight), (inner, weight_inner), (b, weight_b) = self.bag(node), self.bag(part), other.bag(theirs)
        weights = self._weights
        shared = sum(min(n - inner[s], b[s]) * weights.get(s, 1.0) for s, n in whole.items() if s in b)
        return 2.0 * shared / (weight - weight_inner + weight_b) if shared else 0.0


def below(node: Node) -> list[Node]:
    """The nodes under `node` in depth-first order, without the leaves."""
    out: list[Node] = []
    stack = [c for c in reversed(node.children) if c.children]
    while stack:
        current = stack.pop()
        out.append(current)
        stack.extend(c for c in reversed(current.children) if c.children)
    return out


def _insert_lists(root: Node) -> None:
    """Mark numbered children as lists, and gather `layer1 .. layer4` under a list `layer`.

    Only numbered children that hold modules are gathered: `conv1` and `conv2` are names.
    """
    stack = [root]
    while stack:
        node = stack.pop()
        if node.children and all(c.label.isdecimal() for c in node.children):
            node.is_list = True
            node.children.sort(key=lambda c: int(c.label))
        else:
            stems: dict[str, list[Node]] = {}
            for child in node.children:
                found = stem_index(child.label)
                if found and any(grandchild.children for grandchild in child.children):
                    stems.setdefault(found[0], []).append(child)
            for stem, members in stems.items():
                if len(members) < 2 or any(c.label == stem for c in node.children):
                    continue
                virtual = Node(stem, node)
                virtual.is_list = virtual.gathered = True
                node.children[node.children.index(members[0])] = virtual
                gathered = set(map(id, members))
                node.children = [c for c in node.children if id(c) not in gathered]
                for member in members:
                    member.parent = virtual
                    member.label = member.label[len(stem) :]
                    virtual.children.append(member)
                virtual.children.sort(key=lambda c: int(c.label))
        stack.extend(c for c in node.children if c.children)


def descend(node: Node) -> Node:
    """Past wrappers: down while there is a single child and nothing else."""
    while len(node.children) == 1 and node.leaf < 0 and node.children[0].children:
        node = node.children[0]
    return node


def is_module(node: Node) -> bool:
    """Is a node one module (weight, bias, statistics), perhaps inside wrappers?"""
    return not any(child.children for child in descend(node).children)


def is_block(node: Node | None) -> bool:
    """Does a node hold several modules (a whole block can have moved elsewhere)?"""
    return node is not None and sum(bool(child.children) for child in node.children) >= 2
