"""Rows of keys: a family a row, or in a full report a key a row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from automatch.diagnosing.comparison import Comparison
from automatch.matching.assignment import Match, Mismatch
from automatch.reporting.folding import Family, Item, fold
from automatch.reporting.notation import family_text
from automatch.reporting.printable import printable
from automatch.spec import Shape, StateDictSpec

Row = tuple[str, ...]
# A number, or a dtype, whose digits are no number.
NUMBER = re.compile(r"\b(?:b?float|u?int|complex)\d\w*|\d+")
# A module's tensors are called `*` from this many on; fewer are named.
FEWEST_FOR_STAR = 3
# More alternatives than this are counted.
MOST_ALTERNATIVES = 2


@dataclass(frozen=True)
class Layout:
    """How rows are made.

    Attributes:
        comparison: what is shown.
        full: whether nothing is folded.
    """

    comparison: Comparison
    full: bool

    @cached_property
    def module_sizes(self) -> tuple[Counter[str], Counter[str]]:
        """How many tensors stand directly in each module of the checkpoint and of the model."""
        checkpoint, model = (
            Counter(key[: key.rfind(".") + 1] for key in spec.keys)
            for spec in (self.comparison.checkpoint, self.comparison.model)
        )
        return checkpoint, model

    def families(self, items: Sequence[Item], labels: Sequence[Hashable]) -> list[Family]:
        """Items folded, or in a full report each alone."""
        return fold(items, labels if not self.full else range(len(items)))

    def text(self, family: Family, sources: int) -> str:
        """A family in the notation of `family_text`; in a full report both keys are written out."""
        if self.full:
            (item,) = family.expand()
            keys = [printable(key) or "''" for key in item]
            left, right = keys[:sources], keys[sources:]
            return keys[0] if left == right else " => ".join(" + ".join(side) for side in (left, right) if side)
        return family_text(family, sources, len(family.leaves) >= FEWEST_FOR_STAR and self._has_all(family, sources))

    def _has_all(self, family: Family, sources: int) -> bool:
        """Whether the family's modules hold no tensors but its leaves."""
        checkpoint, model = self.module_sizes
        return all(
            (checkpoint if position < sources else model)[stem] == len(family.leaves)
            for position, key in enumerate(family.keys)
            for stem in key.expand()
        )


def match_rows(matches: Sequence[Match], layout: Layout) -> tuple[Row, ...]:
    """Count, op, confidence, keys and evidence of each family of matches."""
    labels = [(_op(match), len(match.checkpoint_keys)) for match in matches]
    return tuple(
        (
            str(sum(len(match.model_keys) for match in members)),
            _op(members[0]),
            _range(match.confidence for match in members),
            layout.text(family, len(members[0].checkpoint_keys)),
            _evidence(members),
        )
        for family, members in _grouped(matches, labels, layout)
    )


def ambiguous_rows(matches: Sequence[Match], layout: Layout) -> tuple[Row, ...]:
    """The same with the alternatives of a family's first member before the evidence."""
    labels = [(_op(match), len(match.checkpoint_keys), len(match.alternatives)) for match in matches]
    return tuple(
        (
            str(sum(len(match.model_keys) for match in members)),
            _op(members[0]),
            _range(match.confidence for match in members),
            layout.text(family, len(members[0].checkpoint_keys)),
            _alternatives(members, layout.full),
            _evidence(members),
        )
        for family, members in _grouped(matches, labels, layout)
    )


def mismatch_rows(pairs: Sequence[Mismatch], layout: Layout) -> tuple[Row, ...]:
    """Count, keys and both shapes of each family of mismatched pairs."""
    items = [(pair.checkpoint_key, pair.key) for pair in pairs]
    labels = [(pair.checkpoint_shape, pair.model_shape) for pair in pairs]
    return tuple(
        (
            str(len(family.members)),
            layout.text(family, 1),
            shape_text(pairs[family.members[0]].checkpoint_shape),
            shape_text(pairs[family.members[0]].model_shape),
        )
        for family in layout.families(items, labels)
    )


def key_rows(
    keys: Sequence[str],
    spec: StateDictSpec,
    layout: Layout,
    reasons: Mapping[str, str] | None = None,
    before: str = "",
) -> tuple[Row, ...]:
    """Count, keys and shape of each family of keys of one side, and the reason of each where there are reasons.

    Args:
        keys: keys of the side, in its order.
        spec: the side.
        layout: how rows are made.
        reasons: why, for each key.
        before: text before each key.
    """
    why = reasons or {}
    labels = [(spec.by_key[key].shape, why.get(key, "")) for key in keys]
    sources = 1 if spec is layout.comparison.checkpoint else 0
    rows: list[Row] = []
    for family in layout.families([(key,) for key in keys], labels):
        shape, reason = labels[family.members[0]]
        row = (str(len(family.members)), before + layout.text(family, sources), shape_text(shape))
        rows.append(row if reasons is None else (*row, printable(reason)))
    return tuple(rows)


def shape_text(shape: Shape) -> str:
    """`[64, 3, 7, 7]`, or `scalar`."""
    return str(list(shape)) if shape else "scalar"


def _grouped(matches: Sequence[Match], labels: Sequence[Hashable], layout: Layout) -> list[tuple[Family, list[Match]]]:
    """Families of matches with their members."""
    families = layout.families([(*match.checkpoint_keys, *match.model_keys) for match in matches], labels)
    return [(family, [matches[member] for member in family.members]) for family in families]


def _op(match: Match) -> str:
    """The operation; a rename to the same name is none."""
    return "same name" if match.op == "rename" and match.checkpoint_keys == match.model_keys else match.op


def _range(confidences: Iterable[float]) -> str:
    """`0.98`, or `0.90-0.98` where members differ; cut, not rounded, so that 1.00 means certain."""
    cut = [int(confidence * 100 + 1e-9) / 100 for confidence in confidences]
    low, high = min(cut), max(cut)
    return f"{low:.2f}" if low == high else f"{low:.2f}-{high:.2f}"


def _evidence(members: Sequence[Match]) -> str:
    """The reasons of the members; those that differ in numbers only are said once, with N for the numbers."""
    reasons: dict[str, str] = {}
    for match in members:
        general = NUMBER.sub(lambda found: "N" if found[0].isdigit() else found[0], match.reason)
        if match.reason and reasons.setdefault(general, match.reason) != match.reason:
            reasons[general] = general
    first, *others = list(reasons.values()) or [""]
    text = " / ".join([first, *others[:1]])
    return printable(text if len(others) < 2 else f"{text} / {len(others) - 1} more")


def _alternatives(members: Sequence[Match], full: bool) -> str:
    """Alternatives of the first member, and that the others have as many."""
    keys = [printable(key) for key in members[0].alternatives]
    if not keys:
        return "nothing else, but the evidence is weak"
    shown = keys if full else keys[:MOST_ALTERNATIVES]
    more = [f"{len(keys) - len(shown)} more"] if len(keys) > len(shown) else []
    text = ", ".join([*shown, *more])
    return text if len(members) == 1 else f"{text} (for the first of {len(members)})"
