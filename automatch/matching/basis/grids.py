"""Lists that lie across each other: `blocks.0.in, blocks.0.out, blocks.1.in` beside `ins.0, ins.1, outs.0`.

What stands in the same order on the two sides is not the same then; the numbers of the items are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from automatch.describing.tree import Node, descend

_NUMBERS = re.compile(r"(\d+)")

Path = Sequence[str]
Row = tuple[str, ...]


def across(left: Sequence[Path], right: Sequence[Path]) -> list[int]:
    """The order in which the right ones stand as the left ones do: as given, unless the two lie across each other.

    That is where no way to read both as rows of numbered items keeps the numbers as they stand, and just one does
    when the rows are put together first.

    Args:
        left: paths of equal blocks of one side, in order.
        right: those of the other side.

    Returns:
        For every left one, the place of its partner among the right ones.
    """
    plain = list(range(len(right)))
    if len(left) != len(right) or len(left) < 4:
        return plain
    apart = [_apart(path) for path in left], [_apart(path) for path in right]
    said = _numbered_words(apart[0]) & _numbered_words(apart[1])
    ways = _ways(left, right, said)
    if not ways:
        ways = [way for way in _ways(*apart, said) if have_same_numbers(left, [right[j] for j in way])]
    return ways[0] if len(ways) == 1 else plain


def have_same_numbers(left: Sequence[Path], right: Sequence[Path]) -> bool:
    """Has each path the numbers of its partner, in whatever order? `norms1.0` has those of `blocks.0.norm1`."""
    return all(
        sorted(piece for piece in _apart(a) if piece.isdecimal()) == sorted(p for p in _apart(b) if p.isdecimal())
        for a, b in zip(left, right, strict=True)
    )


def _ways(left: Sequence[Path], right: Sequence[Path], said: set[str]) -> list[list[int]]:
    """The orders of the right ones that keep the numbers of items; the one as they stand alone, if it does.

    `said`: words that have numbers on both sides; those of one word belong together.
    """
    if len({len(p) for p in left}) + len({len(p) for p in right}) > 2:
        return []
    plain = list(range(len(right)))
    found: list[list[int]] = []
    readings = _readings(left), _readings(right)
    for label, mine in readings[0]:
        for other, theirs in readings[1]:
            if label != other and {label, other} & said:
                continue  # `conv1.layer2` is `layer2.conv1`
            order = _together(mine, theirs)
            if order == plain:
                return [plain]
            if order is not None and order not in found:
                found.append(order)
    return found


def _apart(path: Path) -> Path:
    """A path whose numbers stand alone: `norms1.0` is `norms`, 1, 0."""
    return [piece for token in path for piece in _NUMBERS.split(token) if piece]


def _numbered_words(paths: Sequence[Path]) -> set[str]:
    return {word for path in paths for word, number in pairwise(path) if number.isdecimal() and not word.isdecimal()}


def _readings(paths: Sequence[Path]) -> list[tuple[str, list[tuple[Row, int]]]]:
    """The ways to read paths as rows of numbered items: what the number belongs to, and (row, number) for each path."""
    out: list[tuple[str, list[tuple[Row, int]]]] = []
    for at in range(len(paths[0])):
        if all(path[at].isdecimal() for path in paths) and len({path[at] for path in paths}) > 1:
            cells = [((*path[:at], "#", *path[at + 1 :]), int(path[at])) for path in paths]
            labels = {path[at - 1] if at else "" for path in paths}
            if len({row for row, _ in cells}) > 1:
                out.append((labels.pop() if len(labels) == 1 else "", cells))
    return out


def _together(left: Sequence[tuple[Row, int]], right: Sequence[tuple[Row, int]]) -> list[int] | None:
    """Rows of the same numbers put together, in their order; None where the two sides have not the same rows."""
    rows: tuple[dict[Row, list[int]], dict[Row, list[int]]] = (defaultdict(list), defaultdict(list))
    for own, cells in zip(rows, (left, right), strict=True):
        for row, number in cells:
            own[row].append(number)
    free = list(rows[1])
    partner: dict[Row, Row] = {}
    for row, numbers in rows[0].items():
        other = next((r for r in free if rows[1][r] == numbers), None)
        if other is None:
            return None
        free.remove(other)
        partner[row] = other
    places = {cell: j for j, cell in enumerate(right)}
    return [places[partner[row], number] for row, number in left]


def cells_across(a: Node, b: Node) -> list[tuple[Node, Node]]:
    """The parts of the items of two lists that lie across each other, by their numbers; [] where they do not.

    `norms1.0, norms1.1, norms2.0, norms2.1` are no two items of `blocks.0` and `blocks.1` where the second half of
    each item is its `norm2`.
    """
    rows = [[descend(item).children for item in top.children] for top in (a, b)]
    cells = [[child for children in row for child in children] for row in rows]
    kinds = {(node.signature, node.count) for side in cells for node in side}
    if len(kinds) != 1 or any(len({len(children) for children in row}) != 1 for row in rows) or len(rows[0]) < 2:
        return []
    order = across(*([node.tokens() for node in side] for side in cells))
    return [] if order == sorted(order) else [(x, cells[1][j]) for x, j in zip(cells[0], order, strict=True)]
