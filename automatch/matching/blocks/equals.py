"""Which of several equal blocks goes to which: by names of their paths, then by order; and what is in doubt of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from automatch.describing.tree import Node
from automatch.matching.basis.grids import across
from automatch.matching.basis.lap import assign
from automatch.matching.basis.leaves import numbered, template
from automatch.matching.basis.names import Names, contrast
from automatch.matching.basis.places import place_of
from automatch.matching.blocks.compared import Compared
from automatch.matching.blocks.decided import BlockPair, Decided, is_square
from automatch.matching.blocks.free import are_networks, in_turns, made_otherwise, of_one_list, ranked, take_turns
from automatch.matching.blocks.lists import are_in_doubt, same_numbers
from automatch.matching.blocks.sides import Order
from automatch.matching.blocks.ways import facing

SIMILARITY, LOST = 4.0, 0.2
"""What similarity of shapes weighs beside names (1.2) and order (0.6) of blocks, and how much of that a difference
counts that is only lost tensors."""

DOUBT = 0.1
"""Names of two blocks must tell them from two others by more than this, or the pair is in doubt."""

_ROUNDED = 1e-9
"""What sums of floats may differ by."""

_MANY = 96
"""Of more equal blocks, no names are compared: what has no pin and not the same path goes by order."""

_NEVER = -1.0
"""What a pair is worth whose names exclude each other."""

_PINNED, _AS_FAR = 100.0, 1.0
"""What a pair is worth that a person joined: more than all that speaks for others; and one whose numbers are as far
apart."""

Blocks = Sequence[Node]


@dataclass(slots=True)
class Choice:
    """Which block goes to which.

    Attributes:
        pairs: the chosen pairs.
        doubted: those of them that only order tells from others.
        disputed: blocks of the checkpoint, and of the model, that might as well have been chosen for one that is in
            doubt.
        unless_taken: pairs that are in doubt as long as one of these blocks of the checkpoint has no other partner.
        settled: pairs that a person's pins settle, whatever speaks against them.
    """

    pairs: list[BlockPair] = field(default_factory=list)
    doubted: list[BlockPair] = field(default_factory=list)
    disputed: tuple[list[Node], list[Node]] = field(default_factory=lambda: ([], []))
    unless_taken: list[tuple[BlockPair, list[Node]]] = field(default_factory=list)
    settled: list[BlockPair] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Equals:
    """Equal blocks of both sides, with what tells them apart.

    Attributes:
        left: those of the checkpoint.
        right: those of the model.
        templates: their paths without numbers, of either side.
        order: what the order of their keys is worth.
        places: where in a layer their names say that they stand.
    """

    left: Blocks
    right: Blocks
    templates: tuple[list[tuple[str, ...]], list[tuple[str, ...]]]
    order: Order
    places: tuple[list[int | None], list[int | None]]


def choose(
    blocks: tuple[Blocks, Blocks],
    tops: BlockPair,
    compared: Compared,
    decided: Decided,
    names: Names,
    order: Order,
    lost: bool,
) -> Choice:
    """Which of several equal blocks goes to which.

    Args:
        blocks: those of the checkpoint and of the model, each in state_dict order.
        tops: the two corresponding nodes below which they stand.
        compared: how similar two blocks are.
        decided: which blocks a person's pins join.
        names: compares words.
        order: what the order of their keys is worth.
        lost: whether two blocks of one build differ but in tensors that one of them lost.
    """
    if not all(blocks):
        return Choice()
    if max(map(len, blocks)) > _MANY:
        return _of_many(*blocks, tops, decided, names.silent)
    left, right, paths, moved, by_turns = _laid_out(*facing(*blocks), tops, names)
    mine, theirs = ([template(path) for path in side] for side in paths)
    first, second = (
        [place_of(names.path_words(n.spelt(top))) for n in side] for side, top in zip((left, right), tops, strict=True)
    )
    equals = _Equals(left, right, (mine, theirs), order, (first, second))
    worth, apart = _worth(equals, tops, compared, names, lost)
    usual = _best(worth)
    pinned = decided.joined(left, right)
    chosen = _best(_with_pins(equals, worth, pinned)) if pinned else usual
    choice = Choice([(left[i], right[j]) for i, j in chosen.items()])
    if names.silent:
        return choice
    inside = all(numbered(tuple(top.tokens())) for top in tops)  # what fills a layer is a part of it, and no network
    networks = not inside and are_networks(left, tops[0]) and are_networks(right, tops[1])
    count = max(len(left), len(right))
    settled = {i for i, j in chosen.items() if (i, j) in pinned and not is_square((left[i], right[j]), count)}
    choice.settled = [(left[i], right[chosen[i]]) for i in settled]
    _note_doubts(choice, equals, chosen, settled, apart, networks, by_turns)
    if settled:
        before = Choice()
        _note_doubts(before, equals, chosen, set(), apart, networks, by_turns)
        as_many = len(left) == len(right)
        choice.doubted += [pair for pair in before.doubted if not as_many or decided.speaks_against(*pair)]
        if any(usual.get(i) != chosen[i] for i in settled) and (not as_many or len(chosen) > len(settled) + 1):
            choice.doubted += _siblings(equals, chosen, settled)
    cut_elsewhere = moved and len({*mine}) == len({*theirs}) == 1
    if cut_elsewhere or (not settled and _may_be_turned(equals)):
        choice.doubted += choice.pairs
    return choice


class _LaidOut(NamedTuple):
    """Equal blocks of both sides, and their paths, in the order in which they are compared.

    Attributes:
        left: those of the checkpoint.
        right: those of the model.
        paths: of either side, from the node below which they stand.
        moved: those of the model are in the order of lists that lie across each other.
        by_turns: one list fills several.
    """

    left: Blocks
    right: Blocks
    paths: list[list[tuple[str, ...]]]
    moved: bool
    by_turns: bool


def _laid_out(left: Blocks, right: Blocks, tops: BlockPair, names: Names) -> _LaidOut:
    paths = [[tuple(n.tokens(top)) for n in side] for side, top in zip((left, right), tops, strict=True)]
    cells = across(*paths)
    right, paths[1] = [right[j] for j in cells], [paths[1][j] for j in cells]
    several = None if names.silent else take_turns(paths, names.lexicon.order)
    if several is not None:
        turns = in_turns(paths[several])
        paths[several] = [paths[several][j] for j in turns]
        left, right = ([side[j] for j in turns] if n == several else side for n, side in enumerate((left, right)))
    return _LaidOut(left, right, paths, cells != sorted(cells), several is not None)


def _of_many(left: Blocks, right: Blocks, tops: BlockPair, decided: Decided, silent: bool) -> Choice:
    """Pairs of so many equal blocks that names are not compared: pinned, of one path, else in order, and in doubt.

    In doubt but where those of either side are the items of one list, or of lists that are called alike.
    """
    mine, theirs = ([tuple(n.tokens(top)) for n in side] for side, top in zip((left, right), tops, strict=True))
    pinned = decided.joined(left, right)
    found = dict(pinned)
    taken = set(found.values())
    free = {} if silent else {path: j for j, path in enumerate(theirs) if j not in taken}
    found |= {i: free.pop(path) for i, path in enumerate(mine) if i not in found and path in free}
    taken = set(found.values())
    rest = [i for i in range(len(left)) if i not in found], [j for j in range(len(right)) if j not in taken]
    by_order = dict(zip(*rest, strict=True)) if len(rest[0]) == len(rest[1]) else {}
    of_lists = all(len({template(side[n]) for n in own}) == 1 for side, own in zip((mine, theirs), rest, strict=True))
    return Choice(
        [(left[i], right[j]) for i, j in sorted((found | by_order).items())],
        doubted=[] if silent or of_lists else [(left[i], right[j]) for i, j in by_order.items()],
        settled=[(left[i], right[j]) for i, j in sorted(pinned)],
    )


ALIKE = 0.75
"""Blocks that have lost a tensor or two are still as similar as this to what they were."""


def shared_out(pairs: Sequence[BlockPair], compared: Compared) -> list[BlockPair]:
    """The pairs of which order alone says why equal items of one list went to blocks of two kinds in two lists.

    `blk.0` to `blk.3` are equal, and serve two networks that each have lost a tensor: each might have had any two.
    """
    out = []
    for which in (0, 1):
        lists: dict[tuple[int, int], list[BlockPair]] = defaultdict(list)
        for pair in pairs:
            lists[pair[which].struct, id(pair[which].parent)].append(pair)
        for own in lists.values():
            others = [pair[1 - which] for pair in own]
            homes = Counter(id(n.parent) for n in others)
            if len({n.struct for n in others}) > 1 and sum(n > 1 for n in homes.values()) > 1:
                near = [compared.similar(*pair) for pair in own]
                out += own if ALIKE <= min(near) < 1.0 else []
    return out


def _best(worth: list[list[float]]) -> dict[int, int]:
    return {i: j for i, j in enumerate(assign(worth)) if j >= 0 and worth[i][j] > 0}


def _with_pins(equals: _Equals, worth: list[list[float]], pinned: Collection[tuple[int, int]]) -> list[list[float]]:
    """What pairs are worth after a person's pins; numbered siblings of what was pinned are as far from each other."""
    out = [list(row) for row in worth]
    said = {_step(equals, *pair) for pair in pinned} - {None}
    mine, theirs = {i for i, _ in pinned}, {j for _, j in pinned}
    for i, row in enumerate(out):
        for j in range(len(row)):
            if i in mine or j in theirs:
                row[j] = row[j] + _PINNED if (i, j) in pinned else _NEVER
            elif row[j] > _NEVER and _step(equals, i, j) in said:
                row[j] += _AS_FAR
    return out


def _step(equals: _Equals, i: int, j: int) -> tuple[object, ...] | None:
    """The paths of a pair without their numbers, and how far their last numbers are apart; None without numbers."""
    x, y = equals.left[i].label, equals.right[j].label
    if not (x.isdecimal() and y.isdecimal()):
        return None
    return equals.templates[0][i], equals.templates[1][j], int(y) - int(x)


def _siblings(equals: _Equals, chosen: Mapping[int, int], settled: Collection[int]) -> list[BlockPair]:
    """The pairs beside those that pins settled, of the same lists: their numbers and order have been contradicted."""
    lists = {(equals.templates[0][i], equals.templates[1][chosen[i]]) for i in settled}
    return [
        (equals.left[i], equals.right[j])
        for i, j in chosen.items()
        if i not in settled and (equals.templates[0][i], equals.templates[1][j]) in lists
    ]


def _worth(
    equals: _Equals, tops: BlockPair, compared: Compared, names: Names, lost: bool
) -> tuple[list[list[float]], list[list[float]]]:
    """What each pair is worth, and the same without regard to order."""
    left, right = equals.left, equals.right
    words = [[names.path_words(n.spelt(top)) for n in side] for side, top in zip((left, right), tops, strict=True)]
    weights = contrast(words[0], words[1])
    ranks = [ranked(side) for side in equals.templates]
    kinds = [[(n.signature, n.count) for n in side] for side in (left, right)]
    places = [ranked(own) for own in kinds]
    same = same_numbers(left, right)
    matrix: list[list[float]] = []
    apart: list[list[float]] = []
    for i, x in enumerate(left):
        row, bare = list[float](), list[float]()
        for j, y in enumerate(right):
            name = names.compare(words[0][i], words[1][j], weights, blocks=True)
            if not names.silent and names.contradiction(words[0][i], words[1][j], blocks=True):
                row.append(_NEVER)
                bare.append(_NEVER)
                continue
            (at, count), (other_at, other) = places[0][i], places[1][j]
            as_many = len(left) == len(right)
            place = 1.0 - abs(i - j) / len(left) if as_many else 0.5
            if not as_many and kinds[0][i] == kinds[1][j] and count == other:  # of their kind
                as_many, place = True, 1.0 - abs(at - other_at) / count
            number = 0.0
            if x.label.isdecimal() and y.label.isdecimal():
                number = 0.0 if as_many or not same(i, j) else 0.35
            elif x.label == y.label:
                number = 0.3
            local = 0.2 if ranks[0][i] == ranks[1][j] else 0.0
            similar = SIMILARITY * compared.similar(x, y)
            if lost and x.skeleton == y.skeleton:  # a tensor that one of them lost is little evidence
                similar = SIMILARITY - LOST * (SIMILARITY - similar)
            bare.append(2.0 + (0.0 if names.silent else name * 1.2) + number + local + similar)
            row.append(bare[-1] + place * 0.6 * equals.order.trust)
        matrix.append(row)
        apart.append(bare)
    return matrix, apart


def _note_doubts(
    choice: Choice,
    equals: _Equals,
    chosen: dict[int, int],
    settled: Collection[int],
    apart: list[list[float]],
    networks: bool,
    by_turns: bool,
) -> None:
    """Note which pairs only order tells from others; those that pins settled are neither in doubt nor rivals.

    Numbered siblings have an order; where some are missing and it is not kept, the pairs are in doubt as well. So
    are whole networks that are numbered on one side and named on the other (`0` and `1` are in no order of a
    `decoder` and an `encoder`), and the items of a list that fills two of other names, maybe by turns. One item of a
    list against what has no number is in doubt while others of its kind have no partner, and so is what has no number
    itself against one of several numbered blocks.
    """
    left, right, templates = equals.left, equals.right, equals.templates
    taken = set(chosen.values())
    unsettled = [(i, j) for i, j in chosen.items() if i not in settled]
    elsewhere = are_in_doubt([left[i] for i, _ in unsettled], [right[j] for _, j in unsettled])
    for (i, j), counted in zip(unsettled, elsewhere, strict=True):
        pair = left[i], right[j]
        if by_turns and any(
            (templates[0][k], templates[1][m]) != (templates[0][i], templates[1][j])
            and apart[i][j] - max(apart[i][m], apart[k][j]) < DOUBT
            for k, m in unsettled
        ):
            choice.doubted.append(pair)
        own = [n for k, n in enumerate(left) if k not in chosen and templates[0][k] == templates[0][i]]
        if "#" not in template(right[j].tokens()):  # what has no number is no item of a list more than another
            choice.unless_taken.append((pair, own))
        elif not _is_item(left[i]) and "#" not in template((right[j].label,)):  # `conv1` or `conv3`: `f.c`
            choice.unless_taken.append((pair, [n for n in own if n.parent is left[i].parent]))
        # of numbered siblings the first is taken, but by what has no number itself
        siblings = "#" not in templates[0][i] and "#" in templates[1][j][-1:]
        free = [m for m in range(len(right)) if m not in taken and (siblings or templates[1][m] != templates[1][j])]
        loose = [k for k in range(len(left)) if k not in chosen and templates[0][k] != templates[0][i]]
        free = [m for m in free if apart[i][j] - apart[i][m] < DOUBT]
        loose = [k for k in loose if apart[i][j] - apart[k][j] < DOUBT]
        if free or loose:
            choice.doubted.append(pair)
            choice.disputed[0].extend(left[k] for k in loose)
            choice.disputed[1].extend(right[m] for m in free)
            continue
        if (counted and len(left) != len(right)) or any(
            _may_change(equals, (i, j), other, apart, networks) for other in unsettled
        ):
            choice.doubted.append(pair)


def _is_item(node: Node) -> bool:
    """Is a block an item of a list, and not one of several that a number in their names gathers, as `conv1`?"""
    home = node.parent
    return node.label.isdecimal() and not (home is not None and home.is_list and home.gathered)


def _may_be_turned(equals: _Equals) -> bool:
    """Are as many lists as they have items numbered on one side, and named on the other? See `is_square`."""
    count = len(equals.left)
    if not count == len(equals.right) > 1:
        return False
    square = all(node.is_list and len(node.children) == count for node in (*equals.left, *equals.right))
    return square and (len({*equals.templates[0]}) == 1) != (len({*equals.templates[1]}) == 1)


def _may_change(
    equals: _Equals, pair: tuple[int, int], other: tuple[int, int], apart: list[list[float]], networks: bool
) -> bool:
    """Might two chosen pairs as well have each other's partners?"""
    (i, j), (k, m) = pair, other
    left, right, (mine, theirs) = equals.left, equals.right, equals.templates
    siblings = (
        mine[i] == mine[k] or of_one_list(left[i], left[k]),
        theirs[j] == theirs[m] or of_one_list(right[j], right[m]),
    )
    # the numbers of one side are no order of what is named on the other, and stands there sorted by its names
    if not all(siblings) and (networks or (equals.order.trust < 1 and equals.order.by_name[siblings[0]])):
        siblings = False, False
    gained = apart[i][j] + apart[k][m] - apart[i][m] - apart[k][j]
    if any(siblings) and not all(siblings):
        numbers, said = ((i, k), (equals.places[1][j], equals.places[1][m]))
        if siblings[1]:
            numbers, said = ((j, m), (equals.places[0][i], equals.places[0][k]))
        if gained < -_ROUNDED or made_otherwise(left[i] if siblings[0] else right[j]) or _runs_against(numbers, said):
            return True
    if any(siblings) and not (all(siblings) and len(equals.left) != len(equals.right) and (i < k) != (j < m)):
        return False
    return all(siblings) or gained < DOUBT


def _runs_against(numbers: tuple[int, int], places: tuple[int | None, int | None]) -> bool:
    """Do names say another order of two blocks than the numbers of those that they are put together with?"""
    one, other = places
    return one is not None and other is not None and one != other and (one < other) != (numbers[0] < numbers[1])
