"""Lists of blocks, item by item, and what their numbers count from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from automatch.describing.tree import Node, below, is_block

SIMILAR = 0.5
"""Items that share less than this are not put together."""

SAME_NUMBER, SAME_NUMBER_OF_FEWER = 0.01, 0.1
"""What an equal number is worth, and where one list is shorter: as a rule its last items are missing, not its first."""

NUMBERS = 0.5
"""What all equal numbers together are worth at most: less than an item that has no partner, as one side may count
from 1."""


def align_lists(a: Node, b: Node, similar: Callable[[Node, Node], float], turn: bool = True) -> list[tuple[Node, Node]]:
    """Items of two lists in corresponding order; [] where they do not look like the same list.

    `turn`: one of them may run backwards.
    """
    left, right = a.children, b.children  # a list's items stand in the order of their numbers
    if not all(n.children for n in left + right):
        return []
    shorter, longer = sorted((a, b), key=lambda node: len(node.children))
    fewer = 0.0 if _has_odd_one(shorter, longer) else min(SAME_NUMBER_OF_FEWER, NUMBERS / len(shorter.children))
    total, pairs = _align(similar, left, right, SAME_NUMBER if len(left) == len(right) else fewer)
    if turn and len(left) > 1:
        # an odd first item is no reason to turn the list round
        forwards = total if len(left) == len(right) else _align(similar, left, right, SAME_NUMBER)[0]
        perfect = min(len(left), len(right)) - 1e-6
        if forwards < perfect and not _run_forwards(left, right):
            backwards = _align(similar, left, right[::-1], SAME_NUMBER)
            if backwards[0] >= perfect or backwards[0] > forwards + 0.05 * max(1, len(pairs)):
                total, pairs = backwards
    if not pairs or total < 0.8 * len(pairs) or len(pairs) < 0.5 * min(len(left), len(right)):
        return []
    return pairs


def same_numbers(left: Sequence[Node], right: Sequence[Node]) -> Callable[[int, int], bool]:
    """Says of two blocks, by their places here, whether they have one number in their lists.

    Lists of other names are each counted from their first block: `block1` is `layers.0`. Where two lists have
    one name the numbers themselves count, as the first items may be what is missing, unless what stands before these
    shows that they are not.
    """
    own, other = (_in_lists(side) for side in (left, right))

    def same(i: int, j: int) -> bool:
        mine, theirs = own[i], other[j]
        if mine is None or theirs is None:
            return left[i].label == right[j].label
        from_first = mine.list != theirs.list or (mine.before == theirs.before is not None)
        from_first = from_first and (min(mine.alike, theirs.alike) > 1 or mine.length == theirs.length)
        return mine.at == theirs.at if from_first else mine.number == theirs.number

    return same


def are_in_doubt(left: Sequence[Node], right: Sequence[Node]) -> list[bool]:
    """Says of aligned items whether their lists may have to be laid against each other in another way."""
    return [a or b for a, b in zip(_count_from_elsewhere(left, right), _stand_among_others(left, right), strict=True)]


def _count_from_elsewhere(left: Sequence[Node], right: Sequence[Node]) -> list[bool]:
    """Says of pairs of blocks whether their lists begin with other numbers, and one of the two has more of such items.

    Then the first may be missing, or it has another number: nothing shows which. That the longer one counts from 1 and
    the other from 0 is no doubt, unless both lists have one name, nor is it where other blocks stand before both.
    """
    return [
        mine is not None and theirs is not None and _begin_elsewhere(mine, theirs)
        for mine, theirs in zip(_in_lists(left), _in_lists(right), strict=True)
    ]


def _stand_among_others(left: Sequence[Node], right: Sequence[Node]) -> Iterator[bool]:
    """Says of pairs of blocks whether both stand behind items that only their own list has, where one list is longer.

    Of layers and layers with cross-attention, one library counts both, and another puts the one into the other.
    """
    known: dict[tuple[int, int], tuple[int, int] | None] = {}
    for items in zip(map(item_of, left), map(item_of, right), strict=True):
        tops = [item.parent for item in items if item.parent is not None and item.parent.is_list]
        if len(tops) < 2 or items[0].count != items[1].count:
            yield False
            continue
        key = id(tops[0]), id(tops[1])
        if key not in known:
            known[key] = _firsts_of_their_own(*tops)
        firsts = known[key]
        yield firsts is not None and all(item.start > first for item, first in zip(items, firsts, strict=True))


def _firsts_of_their_own(a: Node, b: Node) -> tuple[int, int] | None:
    """Where in the trees the first items of two lists stand that hold as many tensors as none of the other list's do.

    None where one has no two such, as one may have lost a tensor, or both are as long.
    """
    counts = [{item.count for item in top.children} for top in (a, b)]
    mine, theirs = (
        [item.start for item in top.children if item.count not in other]
        for top, other in zip((a, b), counts[::-1], strict=True)
    )
    apart = len(a.children) != len(b.children) and min(len(mine), len(theirs)) > 1
    return (mine[0], theirs[0]) if apart else None


def _begin_elsewhere(mine: _Place, theirs: _Place) -> bool:
    if mine.length == theirs.length or mine.alike == theirs.alike or min(mine.alike, theirs.alike) < 2:
        return False
    firsts = {mine.first, theirs.first}
    if len(firsts) == 1 or (mine.list == theirs.list and mine.number == theirs.number):
        return False
    shorter = min(mine, theirs, key=lambda place: place.alike)
    if mine.list != theirs.list and firsts == {0, 1} and shorter.first == 0:
        return False
    return mine.leads or theirs.leads


def item_of(node: Node) -> Node:
    """The item of a list that a block is, wrappers that hold nothing else apart; the block itself where it is none."""
    while node.parent is not None and not node.parent.is_list and node.parent.count == node.count:
        node = node.parent
    return node


class _Place(NamedTuple):
    """Where a block stands in a list.

    Attributes:
        list: the name of the list.
        length: how many items it has.
        number: the block's number.
        at: its number from that of the first block there.
        before: how the item before that first block is built; None where none is.
        alike: how many items are built as the block is.
        first: the number of the first of these.
        leads: nothing stands before the first of these.
    """

    list: str
    length: int
    number: int
    at: int
    before: tuple[int, int] | None
    alike: int
    first: int
    leads: bool


def _in_lists(nodes: Sequence[Node]) -> list[_Place | None]:
    """Where each of some blocks stands in its list, which is looked through once; None for those that are in none."""
    known: dict[int, dict[int, _Place]] = {}
    out: list[_Place | None] = []
    for item in map(item_of, nodes):
        if item.parent is None or not item.parent.is_list or not item.label.isdecimal():
            out.append(None)
            continue
        if id(item.parent) not in known:
            known[id(item.parent)] = dict(_places(item.parent))
        out.append(known[id(item.parent)].get(id(item)))
    return out


def _places(top: Node) -> Iterator[tuple[int, _Place]]:
    """The places of a list's items, by identity."""
    items = [item for item in top.children if item.label.isdecimal()]
    builds = [_build(item) for item in items]
    counts = Counter(builds)
    firsts = {build: at for at, build in reversed([*enumerate(builds)])}
    heads = {is_block(item): at for at, item in reversed([*enumerate(items)])}
    # Keras' first `block` has no number, and stands beside the list of the others
    bare = top.parent is not None and any(
        n is not top and n.label == top.label.rstrip("_") for n in top.parent.children
    )
    for item, build in zip(items, builds, strict=True):
        number, first, head = int(item.label), firsts[build], 0 if bare else heads[is_block(item)]
        at = number - (0 if bare else int(items[head].label))
        before = builds[head - 1] if head else None
        leads = first == 0
        yield id(item), _Place(top.label, len(items), number, at, before, counts[build], int(items[first].label), leads)


def _has_odd_one(shorter: Node, longer: Node) -> bool:
    """Has the longer list an item that the shorter has not, and that side has elsewhere?

    Then that is the odd one, and none of the others is missing.
    """
    odd = {_build(item) for item in longer.children} - {_build(item) for item in shorter.children}
    return len(shorter.children) < len(longer.children) and any(_build(node) in odd for node in below(_root(shorter)))


def _build(node: Node) -> tuple[int, int]:
    return node.signature, node.count


def _root(node: Node) -> Node:
    while node.parent is not None:
        node = node.parent
    return node


def _run_forwards(left: Sequence[Node], right: Sequence[Node]) -> bool:
    """Do parts that stand once in either list stand in one order, though maybe in the items beside?

    Swin's `downsample` ends a stage in one library and begins the next in another: what the last stage has there, the
    first has here.
    """
    places: list[dict[tuple[int, int], list[int]]] = []
    for items in (left, right):
        own: dict[tuple[int, int], list[int]] = {}
        for i, item in enumerate(items):
            for part in item.children:
                own.setdefault(_build(part), []).append(i)
        places.append(own)
    once = sorted(
        (i[0], places[1][part][0]) for part, i in places[0].items() if len(i) == 1 and len(places[1].get(part, ())) == 1
    )
    return len(once) > 1 and all(a < c and b < d for (a, b), (c, d) in pairwise(once))


def _align(
    similar: Callable[[Node, Node], float], left: Sequence[Node], right: Sequence[Node], place: float
) -> tuple[float, list[tuple[Node, Node]]]:
    """Best order-keeping alignment of two lists of blocks (Needleman and Wunsch 1970); `place`: for an equal number."""
    n, m = len(left), len(right)
    values = [[0.0] * (m + 1) for _ in range(n + 1)]
    cache: dict[tuple[int, int], float] = {}
    same = same_numbers(left, right)

    def gain(i: int, j: int) -> float:
        key = (left[i].struct, right[j].struct)
        found = cache.get(key)
        if found is None:
            found = similar(left[i], right[j])
            cache[key] = found = found if found >= SIMILAR else -1.0
        return found + (place if same(i, j) else 0.0)

    if n == m and all(gain(i, i) > 0.9 for i in range(n)):
        return sum(min(1.0, gain(i, i)) for i in range(n)), list(zip(left, right, strict=True))
    for i in range(n - 1, -1, -1):
        for j in range(m - 1, -1, -1):
            values[i][j] = max(values[i + 1][j], values[i][j + 1], values[i + 1][j + 1] + gain(i, j))
    pairs: list[tuple[Node, Node]] = []
    total = 0.0
    i = j = 0
    while i < n and j < m:
        step = gain(i, j)
        if step > 0 and abs(values[i][j] - values[i + 1][j + 1] - step) < 1e-9:
            pairs.append((left[i], right[j]))
            total += min(1.0, step)
            i, j = i + 1, j + 1
        elif values[i + 1][j] >= values[i][j + 1]:
            i += 1
        else:
            j += 1
    return total, pairs
