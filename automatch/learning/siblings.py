"""What values leave open and the neighbours tell: a bias of zeros goes where the weight of its module went."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from automatch.learning.joints import joint_of
from automatch.learning.relation import Relation
from automatch.learning.sides import Sides
from automatch.learning.singles import fit

WORD = re.compile(r"[^_]+_*")
Group = tuple[str, tuple[str, ...]]
"""What the keys of a group are called in their modules, and the keys."""


def find_siblings(
    sides: Sides, decided: Sequence[Relation], sources: Collection[str], targets: Collection[str]
) -> list[Relation]:
    """Relations of tensors that stand in the same modules as decided ones and hold equal values.

    Args:
        sides: both sides, sketched.
        decided: what is known.
        sources: keys of the original that are open.
        targets: the same of the conversion.
    """
    open_sources, open_targets = _by_module(sources), _by_module(targets)
    served: set[str] = set()
    users: dict[str, tuple[str, ...]] = {}
    out: list[Relation] = []
    for relation in decided:
        # What serves a module serves its tied copies as well.
        mine = [
            (word, keys)
            for word, keys in _groups(relation.sources, open_sources)
            if all(users.get(key, relation.sources) == relation.sources for key in keys)
        ]
        theirs = [own for own in _groups(relation.targets, open_targets) if served.isdisjoint(own[1])]
        fitting = {
            (word, called): found
            for word, keys in mine
            for called, own in theirs
            if (found := _relate(sides, relation, keys, own)) is not None
        }
        for word, called in _decided(list(fitting)):
            found = fitting[word, called]
            out.append(replace(found, why=f"others hold the same; {relation.sources[0]} in its module tells"))
            served.update(found.targets)
            users.update(dict.fromkeys(found.sources, relation.sources))
    return out


def _decided(fitting: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of the names that may belong together those that are called alike, then those that are left for each other."""
    alike = [(word, called) for word, called in fitting if word == called]
    words, calls = {word for word, _ in alike}, {called for _, called in alike}
    left = [(word, called) for word, called in fitting if word not in words and called not in calls]
    count = Counter(name for pair in left for name in enumerate(pair))
    return alike + [pair for pair in left if all(count[name] == 1 for name in enumerate(pair))]


def module_of(key: str) -> str:
    """Everything in front of a tensor's own name, with the separator."""
    return key[: max(key.rfind("."), key.rfind("/")) + 1]


def _by_module(keys: Collection[str]) -> dict[str, list[str]]:
    out: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        out[module_of(key)].append(key)
    return dict(out)


def _groups(keys: Sequence[str], by_module: dict[str, list[str]]) -> Iterator[Group]:
    """Open keys that are to each other what these keys are: another last word in each of their names."""
    module = module_of(keys[0])
    for other in by_module.get(module, ()):
        old, new = _exchanged(keys[0][len(module) :], other[len(module) :])
        own = tuple(f"{key[: len(key) - len(old)]}{new}" for key in keys if key.endswith(old))
        here = all(key in by_module.get(module_of(key), ()) for key in own)
        if len(own) == len(keys) == len(set(own)) and here and old != new:
            yield new, own


def _exchanged(leaf: str, other: str) -> tuple[str, str]:
    """The words behind the common ones of two names: `in_proj_weight` and `in_proj_bias` differ in weight and bias."""
    mine, theirs = WORD.findall(leaf), WORD.findall(other)
    while len(mine) > 1 and len(theirs) > 1 and mine[0] == theirs[0]:
        mine, theirs = mine[1:], theirs[1:]
    return "".join(mine), "".join(theirs)


def _relate(sides: Sides, like: Relation, sources: tuple[str, ...], targets: tuple[str, ...]) -> Relation | None:
    """The relation of given keys, if their values are equal in the way of another relation."""
    if not like.join:
        how = fit(sides, sources[0], targets[0])
        return None if how is None else Relation(sources, targets, how)
    cutting = like.cuts
    whole, parts = (sources[0], targets) if cutting else (targets[0], sources)
    return joint_of(sides, whole, parts, cutting, like)
