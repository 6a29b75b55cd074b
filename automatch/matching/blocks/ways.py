"""Which way a list runs beside another one, where neither shapes nor numbers alone say so."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from automatch.describing.tree import Node, below
from automatch.matching.basis.names import Names, Word

TURNS = 3
"""Fewer modules have no direction that anybody would turn round."""

_ATTENTION = frozenset({"attention", "cross"})
DECODING = frozenset({"decoder", "upsample", "fusion"})
_REFINING = frozenset({"fusion"})

Way = Literal["", "either", "backwards"]
"""Which way a list runs beside another one: forwards for sure, or in doubt; or backwards, which always is."""


def way_of(a: Node, b: Node, names: Names, stages: Stages) -> Way:
    """Which way two lists of a decoder run, where one was numbered by hand and neither shapes nor names show it.

    `refinenet1 .. refinenet4` are what `fusion.layers.3 .. 0` are: a decoder goes from the deepest stage to the
    first, and its modules are numbered by the stage more often than by their turn. So they are taken from the last
    to the first, in doubt; and only in doubt where the list that only counts is called `refine`, or where the two are
    small lists in one of several equal blocks (`up1.up_conv1`, `up1.up_conv2`).
    """
    if a.gathered == b.gathered or len(a.children) != len(b.children) or len(a.children) < TURNS or names.silent:
        return ""
    by_hand, other = (stages(side) for side in ((a, b) if a.gathered else (b, a)))
    if not by_hand | other or any(len({(n.signature, n.count) for n in side.children}) > 1 for side in (a, b)):
        return ""
    if any(_ATTENTION & w.concepts for n in below(a.children[0]) for w in names.token_words(n.label)):
        return ""  # a transformer's layers have no stages
    if _of_one_word(names.token_words(a.label), names.token_words(b.label)):
        return ""
    turned = by_hand or other - _REFINING
    return "backwards" if turned and not any(map(is_in_repeated_block, (a, b))) else "either"


class Stages:
    """The words of a node's path that say which way its lists run, worked out once for every node."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._known: dict[int, frozenset[str]] = {}

    def __call__(self, node: Node) -> frozenset[str]:
        """What of `DECODING` the path of a node names."""
        if self._names.silent or node.parent is None:
            return frozenset()
        found = self._known.get(id(node))
        if found is None:
            own = (word.concepts for word in self._names.token_words(node.label))
            found = self._known[id(node)] = self(node.parent).union(*own) & DECODING
        return found


def _of_one_word(mine: Sequence[Word], theirs: Sequence[Word]) -> bool:
    """Are two lists called by one word, or the beginning of it, as `dec` and `decoder`? Then their numbers are alike.

    `refinenet` and `fusion_blocks` mean the same, but who chose another word may have counted otherwise.
    """
    one, other = ([word.text for word in side if len(word.text) > 1] for side in (mine, theirs))
    return any(a.startswith(b) or b.startswith(a) for a in one for b in other)


def is_in_repeated_block(node: Node) -> bool:
    """Is a node, or what holds it, an item of a list of equal blocks?"""
    return node.parent is not None and node.parent.of_equals


def beside_turned(a: Node, b: Node) -> bool:
    """Are these lists of equal items beside lists as long that run backwards, as shapes show, and none that does not?

    What one loop built runs one way: the lateral convolutions of a pyramid, and those behind them. Such pairs are in
    doubt.
    """
    if a.parent is None or b.parent is None or len(a.children) != len(b.children) or len(a.children) < 2:
        return False
    if len(set(_held(a) + _held(b))) > 1:
        return False
    there = {_held(y) for y in b.parent.children if y is not b and y.is_list}
    ways = set()
    for x in a.parent.children:
        held = _held(x) if x is not a and x.is_list and len(x.children) == len(a.children) else ()
        if held != held[::-1]:
            ways |= {way is held for way in (held, held[::-1]) if way in there}
    return ways == {False}


def _held(node: Node) -> tuple[tuple[int, int], ...]:
    """What the items of a list are made of, whatever it is called."""
    return tuple((item.signature, item.count) for item in node.children)


def run_apart(a: Node, b: Node, places: tuple[Sequence[int], Sequence[int]]) -> bool:
    """Do the items of two lists of equal items stand in the order of their numbers on one side, and against it there?

    `dec3, dec2, dec1` were made in the order in which they are used, and so were `decoder.0, decoder.1, decoder.2`:
    their numbers say one thing, and their order another, so that such pairs are in doubt. `places`: where the items
    of either stand in their state_dict.
    """
    if len({(n.signature, n.count) for n in (*a.children, *b.children)}) > 1 or min(map(len, places)) < 2:
        return False
    ways = [{x < y for x, y in pairwise(side)} for side in places]
    return ways in ([{True}, {False}], [{False}, {True}])


def facing(left: Sequence[Node], right: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """Equal blocks of the two sides, each in order, but that those of one are turned where they run backwards.

    They do where they stand in the items of a list that runs backwards beside the other side's, as those of its items
    show that hold blocks of other shapes: `up.3.block.0` is `upblocks.0` where all of `up.0` is at the end there.
    """
    for turned, other, swapped in ((left, right, False), (right, left, True)):
        order = _from_behind(turned, other)
        if order:
            return ([*other], order) if swapped else (order, [*other])
    return [*left], [*right]


def _from_behind(left: Sequence[Node], right: Sequence[Node]) -> list[Node]:
    """Equal blocks in the order of their items from the last on; [] where these do not run backwards."""
    mine, theirs = _list_of(left), _list_of(right)
    if mine is None or theirs is None:
        return []
    starts = [item.start for item in mine.children]
    homes = [bisect_right(starts, node.start) - 1 for node in left]  # in which item each stands
    if len({*homes}) in (1, len(homes)):
        return []
    own, other = (
        [{(n.signature, n.count) for n in (item, *below(item))} for item in top.children] for top in (mine, theirs)
    )
    held = Counter(build for builds in own for build in builds)
    equals = {(n.signature, n.count) for n in left}
    places: list[int] = []
    for builds in own:
        alone = {build for build in builds - equals if held[build] == 1}
        places += [j for j, there in enumerate(other) if alone & there][:1]
    if len(places) < 2 or any(a <= b for a, b in pairwise(places)):
        return []
    return [node for _, node in sorted(zip(homes, left, strict=True), key=lambda pair: -pair[0])]


def _list_of(nodes: Sequence[Node]) -> Node | None:
    """The innermost list that holds all of some blocks, in items that differ."""
    top = nodes[0].parent
    while top is not None and not (top.start <= nodes[0].start and nodes[-1].end <= top.end):
        top = top.parent
    return top if top is not None and top.is_list and len(nodes) > 1 else None
