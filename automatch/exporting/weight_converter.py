"""What transformers makes of `WeightConverter(sources, targets, operations)`: which tensors meet, and their new names.

Read from transformers 5.24 (core_model_loading.py: `rename_source_key`, `WeightConverter.convert`) and replayed through
it by the tests. After all renamings one converter takes a key: the source is replaced by the first target. Keys that
then are the same meet, in lists by source, each in the order of `dot_natural_key` of the original keys. The targets
replace the first one where it FIRST stands in that key. Groups cannot be used, so sources here are marks that renamings
put there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Converter:
    """One converter.

    Attributes:
        sources: texts, one for each part of a joined tensor.
        targets: texts, one for each piece of a cut tensor.
        operations: source of the list of its operations.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    operations: str

    def names(self, renamed: str) -> tuple[int, tuple[str, ...]] | None:
        """Which source stands in a renamed key, and the new names; None where none does."""
        for number, source in enumerate(self.sources):
            if source in renamed:
                first = renamed.replace(source, self.targets[0], 1)
                before, _, after = first.partition(self.targets[0])
                return number, tuple(f"{before}{target}{after}" for target in self.targets)
        return None


@dataclass(frozen=True)
class Meeting:
    """Tensors that meet.

    Attributes:
        names: of what comes of them.
        rows: the keys that meet, by the number of their source, in the order in which they are joined.
    """

    names: tuple[str, ...]
    rows: dict[int, list[str]]


def meetings(converters: Sequence[Converter], renamed: Mapping[str, str]) -> list[Meeting]:
    """The tensors that meet, for the renamed name of every key."""
    found: dict[str, Meeting] = {}
    for key in sorted(renamed, key=natural_order):
        number, names = names_after(converters, renamed[key])
        found.setdefault(names[0], Meeting(names, {})).rows.setdefault(number, []).append(key)
    return list(found.values())


def names_after(converters: Sequence[Converter], renamed: str) -> tuple[int, tuple[str, ...]]:
    """The number of the source in a renamed key, and the names of what comes of it; the key itself by no converter."""
    taken = (each.names(renamed) for each in converters)
    return next((found for found in taken if found is not None), (0, (renamed,)))


def natural_order(key: str) -> list[tuple[int, int] | tuple[int, str] | tuple[int, str, int]]:
    """What transformers sorts checkpoint keys by: parts between dots, numbers and numbers at their ends by value."""
    out: list[tuple[int, int] | tuple[int, str] | tuple[int, str, int]] = []
    for part in key.split("."):
        word = part.rstrip("0123456789")
        if part.isdigit():
            out.append((0, int(part)))
        elif word != part:
            out.append((1, word, int(part[len(word) :])))
        else:
            out.append((1, part))
    return out
