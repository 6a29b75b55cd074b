"""The cases of the corpus (format: corpus/README.md), and one with a part taken out."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Keys = tuple[str, ...]
Entry = tuple[str, tuple[int, ...], str]
"""Key, shape, dtype."""

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Truth:
    """One true correspondence.

    Attributes:
        target: model keys; several where one tensor is cut into pieces.
        source: checkpoint keys; several where tensors are joined, in order.
        op: what happens to the tensor.
        also: other sources that are right as well.
    """

    target: Keys
    source: Keys
    op: str
    also: tuple[Keys, ...] = ()


@dataclass(frozen=True)
class Case:
    """A checkpoint, a model and their true correspondence.

    Attributes:
        id: unique name.
        group: folder of the corpus that it stands in.
        source: entries of the checkpoint, in its order.
        target: entries of the model, in its order.
        truth: every true correspondence.
        missing: model keys without a counterpart.
        unexpected: checkpoint keys without one.
        tags: words of the corpus README.
        handwritten_rules: how many rules the library's own converter needs, or None.
    """

    id: str
    group: str
    source: tuple[Entry, ...]
    target: tuple[Entry, ...]
    truth: tuple[Truth, ...]
    missing: Keys
    unexpected: Keys
    tags: Keys
    handwritten_rules: int | None


def read_case(path: Path) -> Case:
    """Reads one `*.json.gz`."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        data: dict[str, Any] = json.load(file)
    return Case(
        id=data["id"],
        group=data["group"],
        source=_entries(data["source"]["keys"]),
        target=_entries(data["target"]["keys"]),
        truth=tuple(
            Truth(tuple(t["target"]), tuple(t["source"]), t["op"], tuple(map(tuple, t.get("also", ()))))
            for t in data["truth"]
        ),
        missing=tuple(data["missing"]),
        unexpected=tuple(data["unexpected"]),
        tags=tuple(data.get("tags", ())),
        handwritten_rules=data.get("handwritten_rules"),
    )


def _entries(keys: Iterable[tuple[str, list[int], str]]) -> tuple[Entry, ...]:
    return tuple((key, tuple(shape), dtype) for key, shape, dtype in keys)


def read_cases(paths: Iterable[Path]) -> Iterator[Case]:
    """Reads every case at the paths; folders are searched, in the order of their file names."""
    for path in paths:
        files = sorted(path.rglob("*.json.gz"), key=str) if path.is_dir() else [path]
        for file in files:
            yield read_case(file)


def knock_out(case: Case, seed: int) -> Case:
    """Takes one family of keys out of the checkpoint and another out of the model; the truth follows.

    A family is all keys of the same name but for the numbers. What is no longer there must not be invented.

    Args:
        case: a whole case.
        seed: chooses the families, together with the id of the case.

    Returns:
        The case without the two families.
    """
    rng = random.Random(f"{seed} {case.id}")
    gone_source = _draw_family([key for key, _, _ in case.source], rng)
    gone_target = _draw_family([key for key, _, _ in case.target], rng)
    return without(case, gone_source, gone_target)


def without(case: Case, gone_source: set[str], gone_target: set[str]) -> Case:
    """Takes keys out of the checkpoint and others out of the model; the truth follows.

    Args:
        case: a whole case.
        gone_source: checkpoint keys to take out.
        gone_target: model keys to take out.

    Returns:
        The case without them.
    """
    truth = tuple(
        replace(t, also=tuple(s for s in t.also if not gone_source & set(s)))
        for t in case.truth
        if not gone_source & set(t.source) and not gone_target & set(t.target)
    )
    source = tuple(entry for entry in case.source if entry[0] not in gone_source)
    target = tuple(entry for entry in case.target if entry[0] not in gone_target)
    used = {key for t in truth for key in t.source}
    placed = {key for t in truth for key in t.target}
    # Where only some pieces of a cut tensor went, either answer is fair for the others.
    placed |= {
        key for t in case.truth if gone_target & set(t.target) and not gone_source & set(t.source) for key in t.target
    }
    return replace(
        case,
        source=source,
        target=target,
        truth=truth,
        missing=tuple(key for key, _, _ in target if key not in placed),
        unexpected=tuple(key for key, _, _ in source if key not in used),
    )


def _draw_family(keys: list[str], rng: random.Random) -> set[str]:
    folded = [re.sub(r"\d+", "#", key) for key in keys]
    families = sorted(set(folded))
    chosen = rng.choice(families)
    if len(families) <= 2:
        return set()
    return {key for key, family in zip(keys, folded, strict=True) if family == chosen}
