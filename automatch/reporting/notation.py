"""How a folded family is written: `features.{norm.1 => norm1}.*`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from automatch.reporting.folding import Column, Family, FoldedKey, Values
from automatch.reporting.printable import printable

Components = tuple[str, ...]

# More keys than this on one side of `=>` are shown by their ends.
MOST_TERMS = 4


def values_text(values: Values) -> str:
    """`0..11`, `0..4,6..11`, `0..22..2` (a step), `3..0` (downwards)."""
    step = values[1] - values[0] if len(values) > 2 else 0
    if abs(step) > 1 and all(b - a == step for a, b in pairwise(values)):
        return f"{values[0]}..{values[-1]}..{abs(step)}"
    runs: list[list[int]] = []
    for value in values:
        if runs and _extends(runs[-1], value):
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs)


def _extends(run: list[int], value: int) -> bool:
    """Whether the value goes on where the run stopped, in its direction."""
    step = value - run[-1]
    return abs(step) == 1 and (len(run) == 1 or step == run[1] - run[0])


def column_text(column: Column) -> str:
    """A number as it stands in a folded key: itself where it is but one, else in braces."""
    if len(column.lists) == 1 and len(column.lists[0]) == 1:
        return str(column.lists[0][0])
    return "{" + ";".join(map(values_text, column.lists)) + "}"


def components(key: FoldedKey) -> Components:
    """The components of a folded key, each made safe to show; braces of the key itself are doubled."""
    parts = [""]
    for text, column in zip(key.texts, (*key.columns, None), strict=True):
        first, *others = printable(text).replace("{", "{{").replace("}", "}}").split(".")
        parts[-1] += first
        parts += others
        if column is not None:
            parts[-1] += column_text(column)
    return tuple(parts)


def family_text(family: Family, sources: int, every_leaf: bool = False) -> str:
    """One line for a family: what all its keys share is written once, what differs in braces.

    Args:
        family: keys of the checkpoint, then of the model.
        sources: how many keys of an item are the checkpoint's; 0 or all of them where only one side is shown.
        every_leaf: whether the family's modules hold no tensors but its leaves, so that `*` says it.
    """
    sides = [components(key) for key in family.keys]
    if family.leaves:
        text = "*" if every_leaf else "{" + ",".join(map(printable, family.leaves)) + "}"
        sides = [(*side[:-1], text) for side in sides]
    if not 0 < sources < len(sides):
        return _joined(sides, ", ")
    head = _shared(sides)
    tail = _shared([side[head:][::-1] for side in sides])
    middles = [side[head : len(side) - tail] for side in sides]
    if not any(middles):
        return ".".join(sides[0]) or "''"
    before, after = sides[0][:head], sides[0][len(sides[0]) - tail :]
    if all(middles):
        return _changed(before, middles, after, sources)
    if not after:  # `a.b` => `a`: nothing to put behind the braces
        return _changed((), sides, (), sources)
    # A level came or went: `{module. => }conv1.weight`
    first, *others = after
    glued = [f"{'.'.join(middle)}." if middle else "" for middle in middles]
    change = "{" + f"{' + '.join(glued[:sources])} => {', '.join(glued[sources:])}" + "}"
    return ".".join((*before, change + first, *others))


def _changed(before: Components, middles: list[Components], after: Components, sources: int) -> str:
    """What both sides share around what differs."""
    change = f"{_joined(middles[:sources], ' + ')} => {_joined(middles[sources:], ', ')}"
    return ".".join((*before, "{" + change + "}", *after)) if before or after else change


def _joined(sides: Sequence[Components], sign: str) -> str:
    """Keys side by side, what they share written once, the middle ones left out where there are many."""
    if len(sides) == 1:
        return ".".join(sides[0])
    head = _shared(sides)
    tail = _shared([side[head:][::-1] for side in sides])
    texts = [".".join(side[head : len(side) - tail]) for side in sides]
    if len(texts) > MOST_TERMS:
        texts = [texts[0], f"{len(texts) - 2} more", texts[-1]]
    terms = sign.join(texts)
    if not head and not tail:
        return terms
    return ".".join((*sides[0][:head], "{" + terms + "}", *sides[0][len(sides[0]) - tail :]))


def _shared(sides: Sequence[Components]) -> int:
    """How many first components all sides share."""
    count = 0
    for column in zip(*sides, strict=False):
        if len(set(column)) > 1:
            break
        count += 1
    return count
