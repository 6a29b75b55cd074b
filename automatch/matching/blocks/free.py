"""Which of the nodes below a pair of nodes may be put together next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence

from automatch.describing.tokens import words_of
from automatch.describing.tree import Node, descend
from automatch.matching.basis.leaves import LETTERS, template

NEARLY_ALL = 0.8
"""The share of a side that makes several equal blocks whole networks."""


def by_kind(nodes: Sequence[Node]) -> dict[int, list[Node]]:
    """Nodes by what they hold, names and order included: equal ones together."""
    out: dict[int, list[Node]] = {}
    for node in nodes:
        out.setdefault(node.struct, []).append(node)
    return out


def outermost(nodes: list[Node]) -> list[Node]:
    """Without the nodes that lie inside others of the list, in order; wrappers are left for what they wrap."""
    out: list[Node] = []
    end = -1
    for node in sorted(nodes, key=lambda n: n.start):
        if node.start >= end:
            out.append(descend(node))
            end = node.end
    return out


def ranked(keys: Iterable[Hashable]) -> list[tuple[int, int]]:
    """Rank of each of some things among those with the same key, and how many these are."""
    keys = list(keys)
    sizes = Counter(keys)
    count: Counter[Hashable] = Counter()
    out: list[tuple[int, int]] = []
    for key in keys:
        out.append((count[key], sizes[key]))
        count[key] += 1
    return out


def are_networks(nodes: Sequence[Node], top: Node) -> bool:
    """Do several nodes stand side by side, and are they nearly all of what is below `top`?

    Wrappers that hold nothing else count for what they hold, right below `top`: `net1.model` and `net2.model`.
    """
    beside = len({id(node.parent) for node in nodes}) == 1 or all(_is_below(node, top) for node in nodes)
    return len(nodes) > 1 and beside and sum(node.count for node in nodes) >= NEARLY_ALL * top.count


def of_one_list(a: Node, b: Node) -> bool:
    """Are two nodes numbered items of one list, or all that such items hold, as `conv1.0` and `conv2`?

    Letters count as well: `conv_a` and `conv_b`.
    """
    a, b = _whole(a), _whole(b)
    if a.parent is None or a.parent is not b.parent:
        return False
    return (a.label.isdecimal() and b.label.isdecimal()) or _are_lettered(a, b)


def _are_lettered(a: Node, b: Node) -> bool:
    """Do letters count two nodes beside each other, from `a` on without a gap, in the order in which they were made?"""
    stem, runs = tuple(words_of(a.label)[:-1]), list[str]()
    for child in a.parent.children if a.parent is not None and stem else ():
        *own, letter = words_of(child.label) or ("",)
        if tuple(own) == stem:
            runs.append(letter)
    return tuple(words_of(b.label)[:-1]) == stem and len(runs) > 1 and tuple(runs) == LETTERS[: len(runs)]


def made_otherwise(item: Node) -> bool:
    """Is a block an item of a list that was not made in the order of its numbers, as `l3`, `l2`, `l1`?"""
    home = _whole(item).parent
    return home is not None and home.is_list and home.ways != 0 and all(child.ways == 0 for child in home.children)


def _whole(node: Node) -> Node:
    """The outermost node that holds nothing but this one."""
    while node.parent is not None and node.parent.count == node.count:
        node = node.parent
    return node


def _is_below(node: Node, top: Node) -> bool:
    node = _whole(node)
    around = node.parent
    if around is None or (around.is_list and not around.gathered):
        return False  # an item of a list
    return top in (around, around.parent if around.gathered else None)


def take_turns(sides: Sequence[Sequence[tuple[str, ...]]], order: Collection[frozenset[str]]) -> int | None:
    """Which of the two sides has several lists beside each other that one list of the other fills, maybe by turns?

    Not the `resnets` and `downsamplers` of several stages, which a list of blocks holds in their order; in one stage,
    it may hold `attentions` and `temp_attentions` by turns.

    Args:
        sides: the paths of as many blocks of either side.
        order: words of parts that run one after the other.

    Returns:
        0 or 1; None where neither has.
    """
    if len(sides[0]) != len(sides[1]):
        return None
    return next((side for side in (1, 0) if _fills(sides[1 - side], sides[side], order)), None)


def in_turns(paths: Sequence[tuple[str, ...]]) -> list[int]:
    """The order of the items of several lists that take turns: the first of each, the second of each, and so on."""
    ranks = ranked(map(template, paths))
    return sorted(range(len(paths)), key=lambda i: (ranks[i][0], i))


def _fills(
    one: Sequence[tuple[str, ...]], several: Sequence[tuple[str, ...]], order: Collection[frozenset[str]]
) -> bool:
    kinds = {template(path) for path in one}
    lists = Counter(map(template, several))
    if len(kinds) > 1 or len(lists) < 2 or min(lists.values()) < 2:
        return False
    if next(iter(kinds)).count("#") != next(iter(lists)).count("#"):
        return False  # a list of lists, whose numbers say what goes where
    columns = [set(column) for column in zip(*lists, strict=False)]
    apart = [at for at, tokens in enumerate(columns) if len(tokens) > 1]
    if not len(set(map(len, lists))) == len(apart) == 1:
        return False
    if any(
        column == {"#"} and len({path[at] for path in several}) > 1 for at, column in enumerate(columns[: apart[0]])
    ):
        return False
    called = [set(words_of(token)) for token in columns[apart[0]]]
    return not any(all(own & words for own in called) for words in order)


def beside(node: Node) -> list[Node]:
    """The modules and blocks around a node that are no larger than it."""
    home = node.parent
    while home is not None and home.is_list:
        home = home.parent
    if home is None:
        return []
    around = [item for child in home.children for item in (child.children if child.is_list else (child,))]
    return [other for other in around if other is not node and other.count <= node.count]


def within(node: Node, known: Collection[int]) -> bool:
    """Is a node, or one around it, known by its identity?"""
    at: Node | None = node
    while known and at is not None:
        if id(at) in known:
            return True
        at = at.parent
    return False


class Taken:
    """Which nodes of a side lie in, or around, a block that has been matched."""

    def __init__(self, top: Node) -> None:
        self._start = top.start
        self._marks = bytearray(top.end - top.start)

    def take(self, node: Node) -> None:
        """Mark a node as matched."""
        span = slice(node.start - self._start, node.end - self._start)
        self._marks[span] = b"\1" * (node.end - node.start)

    def release(self, node: Node) -> None:
        """Mark a node inside a matched block as not matched."""
        span = slice(node.start - self._start, node.end - self._start)
        self._marks[span] = b"\0" * (node.end - node.start)

    def free(self, node: Node) -> bool:
        """Is nothing in the node matched yet?"""
        return b"\1" not in self._marks[node.start - self._start : node.end - self._start]
