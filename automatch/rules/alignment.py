"""Which parts of a key are carried over, and which are replaced.

The alignment of one cell is its skeleton: literal text that the rule replaces, runs that it
carries over as they stand, numbers that it calculates with. Cells with the same skeleton
differ only in what they carry over; one rule can serve them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from automatch.rules.arithmetic import Law
from automatch.rules.cells import Cell
from automatch.rules.demands import Channel
from automatch.rules.tokens import BY, PART, Tokens, common_ends, is_word, tokens

CARRIED = ("", "#", PART, BY)
"""Elements of a skeleton that are not literal text."""
_MOST_SPLITS = 4
_LONGEST = 50


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What a cell replaces, without what it carries over.

    Attributes:
        channel: the operation.
        elements: of the source, in order: literal text; "" for a run that is carried over;
            `#` for a number that is calculated with or dropped; `PART` and `BY`.
        pieces: every goal as literal texts, numbers of elements carried over, and laws over
            numbers of elements.
    """

    channel: Channel
    elements: tuple[str, ...]
    pieces: tuple[tuple[str | int | Law, ...], ...]


@dataclass(frozen=True, slots=True)
class Aligned:
    """A cell with its skeleton.

    Attributes:
        cell: the cell.
        number: which of all cells it is.
        skeleton: its skeleton.
        spans: for every element of the skeleton, which tokens of the source it is.
    """

    cell: Cell
    number: int
    skeleton: Skeleton
    spans: tuple[tuple[int, int], ...]


def align(cell: Cell, number: int) -> Aligned:
    """The skeleton of a cell."""
    slots = _slots(cell.source)
    copies: list[list[int | None]] = []
    law = 0
    calculated: set[int] = set()
    pieces_laws: list[list[Law | None]] = []
    for goal in cell.goals:
        own: list[Law | None] = []
        for token in goal:
            own.append(cell.laws[law] if token == "#" else None)
            law += token == "#"
        pieces_laws.append(own)
        origin = {i: slots[own_law.slots[0]] for i, own_law in enumerate(own) if own_law and own_law.kind == "copy"}
        copies.append(_copied(cell.source, goal, origin))
    for goal_copies, own in zip(copies, pieces_laws, strict=True):
        for i, one in enumerate(own):
            if one is not None and goal_copies[i] is None and one.kind != "const":
                calculated.update(slots[s] for s in one.slots)
    return _skeleton(cell, number, slots, copies, pieces_laws, calculated)


def loosened(skeleton: Skeleton) -> Skeleton:
    """A skeleton without the literal texts that the source loses."""
    return replace(skeleton, elements=tuple(e if e in CARRIED else "?" for e in skeleton.elements))


def split_words(aligned: Aligned) -> list[Aligned]:
    """The cell read anew with a lost word cut where part of it comes back in a goal.

    `query` becomes `to_q`, `wq` becomes `q_proj`: with `q` read as a token of its own, the
    words for queries, keys and values have one skeleton.
    """
    cell, lost = aligned.cell, []
    for element, (start, end) in zip(aligned.skeleton.elements, aligned.spans, strict=True):
        if element not in CARRIED:
            lost += [at for at in range(start, end) if is_word(cell.source[at]) and len(cell.source[at]) > 1]
    texts = [item for piece in aligned.skeleton.pieces for item in piece if isinstance(item, str)]
    gained = dict.fromkeys(token for text in texts for token in tokens(text) if is_word(token))
    out = []
    for at in lost:
        word = cell.source[at]
        for part in gained:
            if part == word:
                continue
            if word.startswith(part):
                cut = (part, word[len(part) :])
            elif word.endswith(part):
                cut = (word[: -len(part)], part)
            else:
                continue
            out.append(align(replace(cell, source=(*cell.source[:at], *cut, *cell.source[at + 1 :])), aligned.number))
    return out[:_MOST_SPLITS]


def _slots(source: Tokens) -> list[int]:
    """Where the numbers of the source stand."""
    return [at for at, token in enumerate(source) if token == "#"]


def _copied(source: Tokens, goal: Tokens, origin: dict[int, int]) -> list[int | None]:
    """For every token of the goal, the token of the source that it is carried over from."""
    marks_s = tuple(f"#{at}" if token == "#" else token for at, token in enumerate(source))
    marks_g = tuple(
        (f"#{origin[at]}" if at in origin else "?") if token == "#" else token for at, token in enumerate(goal)
    )
    start, end = common_ends((marks_s, marks_g))
    out: list[int | None] = [None] * len(goal)
    for at in range(start):
        out[at] = at
    for at in range(1, end + 1):
        out[-at] = len(source) - at
    middle = _middle(marks_s[start : len(source) - end], marks_g[start : len(goal) - end])
    for at, from_ in middle:
        out[start + at] = start + from_
    _add_moved(marks_s, marks_g, out)
    return out


def _add_moved(source: Tokens, goal: Tokens, out: list[int | None]) -> None:
    """Adds what is carried over to another place: the longest common runs of what is left, word by word."""
    used = {origin for origin in out if origin is not None}
    lost = {token for origin, token in enumerate(source) if origin not in used}
    shared = any(out[at] is None and is_word(token) and token in lost for at, token in enumerate(goal))
    if not shared or len(source) * len(goal) > 4 * _LONGEST**2:
        return
    while True:
        best: tuple[int, int, int] = (0, 0, 0)
        for at in range(len(goal)):
            for origin in range(len(source)):
                length = 0
                while (
                    at + length < len(goal)
                    and origin + length < len(source)
                    and out[at + length] is None
                    and origin + length not in used
                    and goal[at + length] == source[origin + length]
                ):
                    length += 1
                if length > best[0] and any(map(is_word, goal[at : at + length])):
                    best = length, at, origin
        length, at, origin = best
        if not length:
            return
        for step in range(length):
            out[at + step] = origin + step
            used.add(origin + step)


@lru_cache(maxsize=4096)
def _middle(source: Tokens, goal: Tokens) -> tuple[tuple[int, int], ...]:
    """Best monotone alignment of what lies between the common ends: pairs (place in goal, place in source).

    Long runs are worth more than their tokens; separators alone are worth nothing.
    """
    rows, columns = len(source), len(goal)
    if not rows or not columns:
        return ()
    best: dict[tuple[int, int, bool], tuple[float, tuple[tuple[int, int], ...]]] = {}

    def value(i: int, j: int, running: bool) -> tuple[float, tuple[tuple[int, int], ...]]:
        if i == rows or j == columns:
            return 0.0, ()
        state = (i, j, running)
        if state in best:
            return best[state]
        score, pairs = max(value(i + 1, j, False), value(i, j + 1, False), key=lambda v: v[0])
        if source[i] == goal[j]:
            worth = 1.0 if is_word(source[i]) or source[i][0] == "#" else 0.2
            after, more = value(i + 1, j + 1, True)
            total = worth + after - (0.0 if running else 0.6)
            if total > score:
                score, pairs = total, ((j, i), *more)
        best[state] = (score, pairs)
        return best[state]

    if rows * columns > _LONGEST**2 or rows + columns > 4 * _LONGEST:
        return ()
    return value(0, 0, False)[1]


def _skeleton(
    cell: Cell,
    number: int,
    slots: list[int],
    copies: list[list[int | None]],
    laws: list[list[Law | None]],
    calculated: set[int],
) -> Aligned:
    uses: list[list[tuple[int, int]]] = [[] for _ in cell.source]
    for piece, goal_copies in enumerate(copies):
        for at, origin in enumerate(goal_copies):
            if origin is not None:
                uses[origin].append((piece, at))
    elements: list[str] = []
    spans: list[tuple[int, int]] = []
    for at, token in enumerate(cell.source):
        kind = token
        if uses[at] and at not in calculated:
            kind = ""
        elif token == "#" and at not in calculated:
            kind = _constant(cell, slots.index(at)) or token
        before = elements[-1] if elements else "#"
        if kind == before == "" and _follows(uses[at - 1], uses[at]):
            spans[-1] = (spans[-1][0], at + 1)
        elif kind not in CARRIED and before not in CARRIED:
            elements[-1] += kind
            spans[-1] = (spans[-1][0], at + 1)
        else:
            elements.append(kind)
            spans.append((at, at + 1))
    where = {at: number for number, (start, end) in enumerate(spans) for at in range(start, end)}
    pieces = tuple(
        _piece(goal, goal_copies, own, where, slots)
        for goal, goal_copies, own in zip(cell.goals, copies, laws, strict=True)
    )
    return Aligned(cell, number, Skeleton(cell.channel, tuple(elements), pieces), tuple(spans))


def _constant(cell: Cell, slot: int) -> str | None:
    """The one value that a number of the source has in all examples."""
    values = {example.source[slot] for example in cell.examples}
    return values.pop() if len(values) == 1 else None


def _follows(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> bool:
    """Whether two tokens of the source stand side by side wherever they are carried to."""
    return [(piece, at + 1) for piece, at in before] == after


def _piece(
    goal: Tokens,
    copies: list[int | None],
    laws: list[Law | None],
    where: dict[int, int],
    slots: list[int],
) -> tuple[str | int | Law, ...]:
    out: list[str | int | Law] = []
    for token, origin, law in zip(goal, copies, laws, strict=True):
        item: str | int | Law
        if origin is not None:
            item = where[origin]
            if out and out[-1] == item and isinstance(out[-1], int):
                continue
        elif law is not None and law.kind != "const":
            item = Law(
                law.kind,
                tuple(where[slots[s]] for s in law.slots),
                law.factors,
                law.shift,
                law.divisor,
                law.factor,
                law.offset,
                width=law.width,
            )
        else:
            item = law.text if law is not None else token
            if out and isinstance(out[-1], str):
                out[-1] += item
                continue
        out.append(item)
    return tuple(out)
