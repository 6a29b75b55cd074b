"""Demands that one rule with arithmetic could serve: same words, same law for every number.

The arithmetic of a number belongs to the path before it, not to the leaf after it:
`input_blocks.4.0.skip_connection` is too rare to show that its block is `(4-1)//3`, but the
other keys under `input_blocks` show it. So laws are fitted on the rows of all keys that share
the path, and only where that fails on those of one family.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from automatch.rules.arithmetic import Law, Row, fit
from automatch.rules.demands import Channel, Demand
from automatch.rules.tokens import Tokens, is_word, split, tokens

_EDGES = ("", ".", "/")
_ROWS = 48
_CLASSES = 24
_UNUSED = 6
_DEEPEST = 10
Numbers = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One demand, as the numbers of its source and of its goals.

    Attributes:
        demand: the demand.
        source: numbers of the source, in order.
        target: numbers of all goals, in order.
    """

    demand: Demand
    source: Numbers
    target: Numbers


@dataclass(frozen=True)
class Cell:
    """Examples with the same words in source and goals and the same law for every number.

    Attributes:
        channel: their operation.
        source: tokens of the source, `#` for numbers.
        goals: tokens of every goal, `#` for numbers.
        laws: one for every number of the goals, in order.
        examples: the examples, in checkpoint order.
    """

    channel: Channel
    source: Tokens
    goals: tuple[Tokens, ...]
    laws: tuple[Law, ...]
    examples: tuple[Example, ...]


def cells_of(demands: Iterable[Demand]) -> tuple[list[Cell], list[tuple[Cell, int]]]:
    """Sorts demands into cells, in the order of their first demand.

    Returns:
        The cells, and those that were divided by a number that no goal uses, as they were
        before, each with the place of its first part among the cells.
    """
    families: dict[tuple[Channel, str, tuple[str, ...]], list[Example]] = {}
    for demand in demands:
        source, numbers = split(demand.source)
        goals = [split(goal) for goal in demand.goals]
        target = goals[0][1] if len(goals) == 1 else tuple(number for _, own in goals for number in own)
        key = (demand.channel, source, tuple(goal for goal, _ in goals))
        families.setdefault(key, []).append(Example(demand, numbers, target))
    twins = _counted_from_nothing(families)
    paths = _Paths()
    for (_, source, texts), examples in families.items():
        paths.add(source, texts, examples)
    cells: list[Cell] = []
    whole: list[tuple[Cell, int]] = []
    for (channel, source, texts), examples in families.items():
        laws = _in_order(texts, examples) or paths.laws(source, texts, examples)
        laws = [twins.get((channel, source, texts, slot), law) for slot, law in enumerate(laws)]
        for part, own in [(examples, laws)] if None not in laws else _split(examples, laws):
            complete = tuple(law for law in _carried_on(own, source, texts, part) if law is not None)
            cell = Cell(channel, tokens(source), tuple(map(tokens, texts)), complete, tuple(part))
            finer = _by_unused(cell)
            if len(finer) > 1:
                whole.append((cell, len(cells)))
            cells += finer
    return cells, whole


_Family = tuple[Channel, str, tuple[str, ...]]
_Slot = tuple[Channel, str, tuple[str, ...], int]
"""A family, and the number of its goals that is meant."""

_COUNTED = re.compile(r"_#(?=[./]|$)")


def _counted_from_nothing(families: Mapping[_Family, Sequence[Example]]) -> dict[_Slot, Law]:
    """Laws of what is counted without a 0, as Keras names it: `decoder` is the first of a list, `decoder_1` the second.

    By family and number of the goals.
    """
    laws: dict[_Slot, Law] = {}
    for (channel, source, texts), examples in families.items():
        for slot, found in enumerate(re.finditer("#", source)):
            if not _COUNTED.match(source, found.start() - 1):
                continue
            bare = channel, source[: found.start() - 1] + source[found.end() :], texts
            for goal in range(len(examples[0].target)) if bare in families else ():
                firsts = all(one.target[goal] == "0" for one in families[bare])
                if firsts and all(one.target[goal] == one.source[slot] for one in examples):
                    laws[channel, source, texts, goal] = Law("copy", (slot,))
                    laws[channel, bare[1], texts, goal] = Law("const", text="0")
    return laws


def _in_order(goals: tuple[str, ...], examples: Sequence[Example]) -> list[Law | None]:
    """Copies, for a family whose keys have the same numbers on both sides in the same order; nothing for another.

    Of several goals (q, k and v, cut from one) each has them.
    """
    count = len(examples[0].source)
    if any(goal.count("#") != count for goal in goals):
        return []
    if any(example.source * len(goals) != example.target for example in examples):
        return []
    return [Law("copy", (slot,)) for _ in goals for slot in range(count)]


def _by_unused(cell: Cell) -> list[Cell]:
    """The cell divided by the values of numbers that no goal uses.

    What a rule drops has to tell its keys from others, so it is best known exactly.
    """
    used = {slot for law in cell.laws for slot in law.slots}
    parts: dict[Numbers, list[Example]] = {}
    for example in cell.examples:
        unused = tuple(number for slot, number in enumerate(example.source) if slot not in used)
        parts.setdefault(unused, []).append(example)
        if len(parts) > _UNUSED:
            return [cell]
    return [replace(cell, examples=tuple(part)) for part in parts.values()]


class _Paths:
    """Numbers of all families, filed under the path before them."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], dict[Row, None]] = {}
        self._fits: dict[tuple[str, str, int | None], Law | None] = {}

    def add(self, source: str, goals: tuple[str, ...], examples: Sequence[Example]) -> None:
        heads, slot = _heads(source), 0
        some = _some(examples)
        for goal in goals:
            for before in _heads(goal)[1:]:
                for used, head in enumerate(heads[:_DEEPEST]):
                    rows = self._rows.setdefault((head, before), {})
                    for example in some:
                        rows[(example.source[:used], example.target[slot])] = None
                slot += 1

    def laws(self, source: str, goals: tuple[str, ...], examples: Sequence[Example]) -> list[Law | None]:
        """A law for every number of the goals; None where no law holds."""
        heads, some = _heads(source), _some(examples)
        out: list[Law | None] = []
        for goal in goals:
            for before in _heads(goal)[1:]:
                near = _near(heads, before)
                slot = len(out)
                own = [(example.source, example.target[slot]) for example in some]
                found = [
                    law
                    for used, head in enumerate(heads[:_DEEPEST])
                    if (law := self._fit(head, before, used, near)) is not None and law.holds(own)
                ]
                law = min(found, key=_plainness, default=None) or fit(own, _order(len(heads) - 1, near), near)
                out.append(law if found else _as_constant(law, own))
        return out

    def _fit(self, head: str, before: str, used: int, near: int | None) -> Law | None:
        near = near if near is not None and near < used else None
        if (head, before, near) not in self._fits:
            rows = list(self._rows[(head, before)])
            self._fits[(head, before, near)] = fit(rows, _order(used, near), near)
        return self._fits[(head, before, near)]


def _carried_on(
    laws: list[Law | None], source: str, goals: tuple[str, ...], examples: Sequence[Example]
) -> list[Law | None]:
    """The laws with copies for constants that stand where the source has the same number: neither was seen to change.

    `12.m.0.cv1` becomes `top_down.0.blocks.0.conv1`: the numbers before and behind tell in either which 0 is meant.
    """
    out = list(laws)
    end = len(examples[0].source)
    alone = _alone(source)
    start = 0
    for goal in goals:
        count = goal.count("#")
        for at in (*range(count), *reversed(range(count))):
            own = out[start : start + count]
            law, slot = out[start + at], _between(own, at, end, alone)
            if slot is None or law is None or law.kind != "const":
                continue
            if all(example.source[slot] == law.text for example in examples):
                out[start + at] = Law("copy", (slot,))
        for at in range(count - 1):
            _hand_on(out, start + at, start + count, examples)
        start += count
    return out


def _hand_on(laws: list[Law | None], at: int, end: int, examples: Sequence[Example]) -> None:
    """Let the next number have a copy in place of this one, where it is the same and stands before the next slot's."""
    law, after = laws[at], laws[at + 1]
    if law is None or after is None or law.kind != "copy" or after.kind != "const":
        return
    (slot,) = law.slots
    behind = [s for later in laws[at + 2 : end] if later is not None for s in later.slots]
    if behind[:1] == [slot + 1] and all(example.source[slot] == after.text for example in examples):
        laws[at], laws[at + 1] = after, law


def _between(laws: Sequence[Law | None], at: int, end: int, alone: set[int]) -> int | None:
    """The one number of the source between those that the numbers before and behind come from.

    Behind copies in order it is the next; elsewhere a number has to stand behind, and all numbers that are no part of a
    word (`alone`) have to have a place.
    """
    if at and all(law == Law("copy", (slot,)) for slot, law in enumerate(laws[:at])):
        return at if at < end else None
    before = max((slot for law in laws[:at] if law is not None for slot in law.slots), default=-1)
    behind = [slot for law in laws[at + 1 :] if law is not None for slot in law.slots]
    if not behind:
        return None
    between = [slot for slot in alone if before < slot < min(behind)]
    placed = {slot for law in laws if law is not None for slot in law.slots}
    return between[0] if len(between) == 1 and alone <= {*placed, *between} else None


def _alone(source: str) -> set[int]:
    """Which of the numbers of a source are whole tokens, as in a list: not the 3 of `C3_p4`."""
    places = [i for i, letter in enumerate(source) if letter == "#"]
    return {slot for slot, i in enumerate(places) if source[:i][-1:] in _EDGES and source[i + 1 :][:1] in _EDGES}


def _plainness(law: Law) -> int:
    """Copies first; of the rest the one that the shortest path shows, which saw the most keys."""
    return 0 if law.kind == "copy" else 1


def _as_constant(law: Law | None, rows: Sequence[Row]) -> Law | None:
    """A constant in place of arithmetic on a number that is always the same in several examples."""
    if law is None or law.kind in ("copy", "const") or len(rows) < 2:
        return law
    if all(len({source[slot] for source, _ in rows}) == 1 for slot in law.slots):
        return Law("const", text=rows[0][1])
    return law


def _order(count: int, near: int | None) -> list[int]:
    """Slots in the order in which they are tried: the nearest first, then from the last to the first."""
    slots = list(range(count - 1, -1, -1))
    return slots if near is None or near >= count else [near, *(s for s in slots if s != near)]


def _heads(text: str) -> list[str]:
    """What stands before the first number, the second, ..., beginning with nothing."""
    pieces = text.split("#")
    return ["", *("#".join(pieces[:i]) for i in range(1, len(pieces)))]


def _near(heads: list[str], before: str) -> int | None:
    """The last slot of the source that has the same word before it as a slot of the goal."""
    word = _last_word(before)
    slots = range(len(heads) - 2, -1, -1)
    return next((slot for slot in slots if word is not None and _last_word(heads[slot + 1]) == word), None)


def _last_word(text: str) -> tuple[str, int] | None:
    """The last word of a text, and how many numbers stand after it."""
    after = 0
    for token in reversed(tokens(text)[-6:]):
        if is_word(token):
            return token, after
        after += token == "#"
    return None


def _some(examples: Sequence[Example]) -> Sequence[Example]:
    """Enough of them to fit a law: both ends and some between."""
    if len(examples) <= _ROWS:
        return examples
    third = _ROWS // 3
    step = max(1, (len(examples) - 2 * third) // third)
    return [*examples[:third], *examples[third:-third:step], *examples[-third:]]


def _split(
    examples: list[Example], laws: list[Law | None], again: bool = True
) -> list[tuple[list[Example], list[Law | None]]]:
    """Parts of a family of which each has laws; as few and as plain as can be found.

    A part holds the examples that agree in a number of the source (values whose examples have
    a law together are put together) or in a number of the goal. Those that have no laws even so
    are split by another number, if they may be split again.
    """
    best: tuple[float, list[tuple[list[Example], list[Law | None]]]] | None = None
    for side, count in (("source", len(examples[0].source)), ("target", len(examples[0].target))):
        for slot in range(count):
            values: dict[str, list[Example]] = {}
            for example in examples:
                values.setdefault((example.source if side == "source" else example.target)[slot], []).append(example)
            if len(values) < 2 or len(values) > _CLASSES:
                continue
            parts = _merged(list(values.values()), laws, join=side == "source", again=again)
            if parts is None:
                continue
            cost = sum(3.0 + sum(law.cost for law in own if law is not None) for _, own in parts)
            if best is None or cost < best[0]:
                best = (cost, parts)
    if best is not None:
        return best[1]
    each = [(example, _fitted([example], laws)) for example in examples]
    return [([example], found) for example, found in each if found is not None]  # a constant fits one row


def _merged(
    groups: list[list[Example]], laws: list[Law | None], join: bool, again: bool
) -> list[tuple[list[Example], list[Law | None]]] | None:
    parts: list[tuple[list[Example], list[Law | None]]] = []
    for group in groups:
        for i, (part, _) in enumerate(parts if join else []):
            together = _fitted(part + group, laws)
            if together is not None:
                parts[i] = (part + group, together)
                break
        else:
            own = _fitted(group, laws)
            finer = [(group, own)] if own is not None else _split(group, laws, again=False) if again else []
            if len(finer) >= len(group) > 1 or not finer:
                return None
            parts += finer
    return parts


def _fitted(examples: list[Example], laws: list[Law | None]) -> list[Law | None] | None:
    """The laws with the open ones found on these examples alone; None where one has none."""
    some = _some(examples)
    out: list[Law | None] = []
    for slot, law in enumerate(laws):
        if law is None:
            count = len(some[0].source)
            law = fit([(e.source, e.target[slot]) for e in some], _order(count, None), division=False)
            if law is None:
                return None
        out.append(law)
    return out
