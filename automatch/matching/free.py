"""Which of the nodes below a pair of nodes may be put together next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence

from automatch.describing.tree import Node, descend

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
    """Do several nodes stand side by side, and are they nearly all of what is below `top`?"""
    return (
        len(nodes) > 1
        and len({id(node.parent) for node in nodes}) == 1
        and sum(node.count for node in nodes) >= NEARLY_ALL * top.count
    )


def may_take_turns(one: Sequence[tuple[str, ...]], several: Sequence[tuple[str, ...]]) -> bool:
    """Does one list stand against lists that lie beside each other? Then they fill it one after the other, or by turns.

    Not the `resnets` and `downsamplers` of stages, which a list of blocks holds in their order.

    Args:
        one: the paths of blocks, without their numbers.
        several: those of the blocks on the other side.
    """
    lists = Counter(several)
    if len(set(one)) > 1 or len(lists) < 2 or min(lists.values()) < 2:
        return False
    columns = [set(column) for column in zip(*lists, strict=False)]
    apart = [at for at, tokens in enumerate(columns) if len(tokens) > 1]
    return len(set(map(len, lists))) == len(apart) == 1 and {"#"} not in columns[: apart[0]]


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
