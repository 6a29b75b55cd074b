"""What every checkpoint key has to become, said key by key before any rule is looked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from automatch.matching.assignment import Match, Mismatch
from automatch.rules.tensors import PLAIN, Law, law_of
from automatch.rules.tokens import BY, PART, Tokens, common_ends, is_number, tokens

_LONGEST = 1000
_RESERVED = re.compile("[\x01-\x03]")


@dataclass(frozen=True, slots=True)
class Channel:
    """What keys must share, besides their names, to share a rule.

    Attributes:
        law: what happens to the tensors.
        part: for concat, and a stack of parts: the texts that tell the parts apart, in order; or (k, n) of this
            member.
        by: whether a number orders the members of a stack (source) or of an unstack (target).
    """

    law: Law = PLAIN
    part: tuple[str, ...] | tuple[int, int] | None = None
    by: bool = False


RENAME = Channel()


@dataclass(frozen=True, slots=True)
class Demand:
    """What one checkpoint key, or several that make one tensor, must become.

    Attributes:
        keys: the checkpoint keys.
        source: the key; where there are several, the text that they share, with `PART` and `BY`.
        goals: the model key, or the model keys of the pieces; with `BY` for an unstack.
        channel: the operation.
    """

    keys: tuple[str, ...]
    source: str
    goals: tuple[str, ...]
    channel: Channel = RENAME


@dataclass(frozen=True)
class Demands:
    """The whole task of an induction.

    Attributes:
        wanted: keys that must become something, keys that stay as they are among them.
        free: keys that belong nowhere: they may become anything that is nobody's key.
        taboo: model keys, onto which no free key may be moved.
        excused: (checkpoint key, model key) of the same tensor in two shapes; such a move is right.
        aside: keys that belong nowhere, but have the name of a model key that another one serves.
        tied: (served, other): other model keys that want the tensor that serves the first.
    """

    wanted: tuple[Demand, ...]
    free: tuple[str, ...]
    taboo: frozenset[str]
    excused: frozenset[tuple[str, str]]
    aside: tuple[str, ...]
    tied: tuple[tuple[str, str], ...]


def demands_of(
    matches: Sequence[Match], checkpoint_keys: Sequence[str], model_keys: Sequence[str], mismatched: Sequence[Mismatch]
) -> Demands:
    """Turns an assignment into demands.

    A checkpoint key that serves several model keys gets the one of its own name, else the
    first; a key that belongs nowhere but stands on a model key that another one serves is sent
    to `unexpected.<key>`.
    """
    served = {key for match in matches for key in match.model_keys}
    wanted: list[Demand] = []
    tied: list[tuple[str, str]] = []
    own: dict[str, list[str]] = {}
    for match in matches:
        if match.op == "rename" and len(match.checkpoint_keys) == len(match.model_keys) == 1:
            own.setdefault(match.checkpoint_keys[0], []).append(match.model_keys[0])
    for key, targets in own.items():
        first = key if key in targets else targets[0]
        wanted.append(Demand((key,), key, (first,)))
        tied += [(first, other) for other in targets if other != first]
    taken = set(own)
    for match in matches:
        if not taken.intersection(match.checkpoint_keys) and match.checkpoint_keys:
            taken.update(match.checkpoint_keys)
            wanted += _by_operation(match)
    used = {key for match in matches for key in match.checkpoint_keys}
    unused = [key for key in checkpoint_keys if key not in used]
    aside = tuple(key for key in unused if key in served)
    names = frozenset(checkpoint_keys) | served if aside else frozenset()
    wanted += [Demand((key,), key, (_aside(key, names),)) for key in aside]
    return Demands(
        wanted=tuple(wanted),
        free=tuple(key for key in unused if key not in served),
        taboo=frozenset(model_keys) | served,
        excused=frozenset((pair.checkpoint_key, pair.key) for pair in mismatched),
        aside=aside,
        tied=tuple(tied),
    )


def plain(text: str) -> bool:
    """Whether a key can be read as tokens.

    One with the reserved control characters, or longer than any real one, gets a literal rule.
    """
    return 0 < len(text) <= _LONGEST and _RESERVED.search(text) is None


def _aside(key: str, names: frozenset[str]) -> str:
    moved = f"unexpected.{key}"
    while moved in names:
        moved = f"unexpected.{moved}"
    return moved


def _by_operation(match: Match) -> list[Demand]:
    law = law_of(match.op, match.dim, match.perm, match.sizes, match.shape)
    sources, goals = match.checkpoint_keys, match.model_keys
    if len(sources) == 1:
        numbered = _numbered(goals, law) if "unstack" in law.words and len(goals) > 1 else None
        if numbered is not None:
            return [Demand(sources, sources[0], numbered, Channel(law, by=True))]
        return [Demand(sources, sources[0], goals, Channel(law))]
    stack, concat = "stack" in law.words, not {"concat", "join_latent"}.isdisjoint(law.words)
    shared = _shared(sources, stack, concat) if all(map(plain, sources)) else None
    if shared is not None:
        source, parts = shared
        return [Demand(sources, source, goals, Channel(law, parts or None, by=stack and BY in source))]
    if (concat and not stack) or (stack and not concat and not _numbered_alike(sources)):
        return [Demand((key,), key, goals, Channel(law, part=(k, len(sources)))) for k, key in enumerate(sources)]
    return _parts_of_stacks(sources, goals, law, concat)


def _shared(sources: Sequence[str], stack: bool, concat: bool) -> tuple[str, tuple[str, ...]] | None:
    """The text that the members of a tensor share, with the texts of the parts; None where there is none."""
    rows = [tokens(key) for key in sources]
    if stack:
        for at in _number_places(rows):
            values = [int(row[at]) for row in rows]
            masked = [(*row[:at], BY, *row[at + 1 :]) for row in rows]
            groups: dict[Tokens, list[int]] = {}
            for row, value in zip(masked, values, strict=True):
                groups.setdefault(row, []).append(value)
            count = len(next(iter(groups.values())))
            straight = list(range(min(values), min(values) + count))
            if all(group == straight for group in groups.values()) and (len(groups) == 1) != concat:
                shared = _parts(list(groups)) if concat else ("".join(next(iter(groups))), ())
                if shared is not None:
                    return shared
        if concat:
            return None
    return _parts(rows)


def _number_places(rows: list[Tokens]) -> list[int]:
    """Places at which the members have different numbers."""
    short = min(len(row) for row in rows)
    return [at for at in range(short) if all(is_number(row[at]) for row in rows) and len({row[at] for row in rows}) > 1]


def _numbered_alike(sources: Sequence[str]) -> bool:
    """Do keys differ in nothing but numbers?"""
    return len({tuple(t for t in tokens(key) if not is_number(t)) if plain(key) else key for key in sources}) == 1


def _parts(rows: list[Tokens]) -> tuple[str, tuple[str, ...]] | None:
    """Common beginning and end of all rows with `PART` between, and what stands there."""
    start, end = common_ends(rows)
    middles = ["".join(row[start : len(row) - end]) for row in rows]
    if len(set(middles)) < len(rows) or any(BY in middle for middle in middles):
        return None
    first = rows[0]
    return "".join((*first[:start], PART, *first[len(first) - end :])), tuple(middles)


def _parts_of_stacks(sources: Sequence[str], goals: tuple[str, ...], law: Law, concat: bool) -> list[Demand]:
    """Members whose names share nothing but a number: each part of the concat for itself."""
    groups: dict[str, list[str]] = {}
    for key in sources:
        row = tokens(key) if plain(key) else (key,)
        at = max((i for i, token in enumerate(row) if is_number(token)), default=-1)
        groups.setdefault("".join((*row[:at], BY, *row[at + 1 :])) if at >= 0 else key, []).append(key)
    count = len(groups)
    return [
        Demand(tuple(keys), source, goals, Channel(law, part=(k, count) if concat else None, by=True))
        for k, (source, keys) in enumerate(groups.items())
    ]


def _numbered(goals: Sequence[str], law: Law) -> tuple[str, ...] | None:
    """The model keys of an unstack, where they are numbered: a text with `BY` for each piece of a chunk before it."""
    if not all(map(plain, goals)):
        return None
    pieces = len(law.sizes) if law.sizes and "chunk" in law.words else 1
    each = len(goals) // pieces
    texts = [_counted(goals[i * each : (i + 1) * each]) for i in range(pieces)] if each > 1 else []
    return tuple(text for text in texts if text is not None) if texts and None not in texts else None


def _counted(goals: Sequence[str]) -> str | None:
    """Keys that differ in one number alone, which counts from 0, as one text with `BY` there."""
    rows = [tokens(goal) for goal in goals]
    for at in _number_places(rows):
        masked = {(*row[:at], BY, *row[at + 1 :]) for row in rows}
        if len(masked) == 1 and [row[at] for row in rows] == [str(i) for i in range(len(rows))]:
            return "".join(masked.pop())
    return None
