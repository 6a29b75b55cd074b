"""Pins among the pairs: each in its place, and those of tensors that do not fit refused."""

from __future__ import annotations

from collections.abc import Sequence

from automatch.errors import InputError
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.pins import Decisions


def pinned(
    found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf], decisions: Decisions
) -> tuple[list[Found], list[tuple[Leaf, Leaf]]]:
    """The pairs with every pin in place, and the pins of tensors that differ in shape: one may be part of the other.

    Raises:
        InputError: two are pinned to one model key.
    """
    apart: list[tuple[Leaf, Leaf]] = []
    if not decisions.pinned:
        return found, apart
    mine = {key: leaf for leaf in source for key in leaf.keys}
    theirs = {key: leaf for leaf in target for key in leaf.keys}
    pairs: dict[int, Found] = {}
    for key, other in ((key, other) for key, others in decisions.pinned.items() for other in others):
        s, t = mine.get(key), theirs.get(other)
        if s is None or t is None:
            raise InputError(
                f"pin {key}={other}: one of the two is left out of the matching (a slot or a second copy)."
            )
        if s.shape != t.shape:
            apart.append((s, t))
            continue
        first = pairs.setdefault(id(t), (s, t, Evidence(level="pin")))[0]
        if first is not s:
            raise InputError(f"{other} is pinned to {first.keys[0]} and to {key}; take one of the two away.")
    taken = {id(s) for s, _, _ in pairs.values()}
    return [f for f in found if id(f[1]) not in pairs and id(f[0]) not in taken] + list(pairs.values()), apart


def refuse_unfit(apart: Sequence[tuple[Leaf, Leaf]], found: Sequence[Found]) -> None:
    """Refuse pins of tensors that differ in shape and are no part of each other.

    Raises:
        InputError: names the two keys.
    """
    joined = {(key, other) for s, t, _ in found for key in s.keys for other in t.keys} if apart else set()
    for s, t in apart:
        if (s.keys[0], t.keys[0]) not in joined:
            raise InputError(
                f"pin {s.keys[0]}={t.keys[0]}: the shapes {list(s.raw)} and {list(t.raw)} do not fit each other."
            )
