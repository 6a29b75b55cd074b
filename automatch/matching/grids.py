"""Lists that lie across each other: `blocks.0.in, blocks.0.out, blocks.1.in` beside `ins.0, ins.1, outs.0`.

What stands in the same order on the two sides is not the same then; the numbers of the items are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

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
    if len(left) != len(right) or len(left) < 4 or len({len(p) for p in left}) + len({len(p) for p in right}) > 2:
        return plain
    found: list[list[int]] = []
    for mine in _readings(left):
        for theirs in _readings(right):
            order = _together(mine, theirs)
            if order == plain:
                return plain
            if order is not None and order not in found:
                found.append(order)
    return found[0] if len(found) == 1 else plain


def _readings(paths: Sequence[Path]) -> list[list[tuple[Row, int]]]:
    """The ways to read paths as rows of numbered items: (row, number) for each path."""
    out: list[list[tuple[Row, int]]] = []
    for at in range(len(paths[0])):
        if all(path[at].isdecimal() for path in paths) and len({path[at] for path in paths}) > 1:
            cells = [((*path[:at], "#", *path[at + 1 :]), int(path[at])) for path in paths]
            if len({row for row, _ in cells}) > 1:
                out.append(cells)
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
