"""Pairs of leaves that lie in layers of different numbers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from automatch.describing.tree import Node


def crosses(layers: Sequence[tuple[list[Node], list[Node]]], i: int, j: int) -> bool:
    """Are two leaves, by their places in the trees, in layers of different numbers?"""
    return any(
        (mine := _item_at(own, i)) is not None and (theirs := _item_at(others, j)) is not None and mine != theirs
        for own, others in layers
    )


def _item_at(layers: Sequence[Node], place: int) -> int | None:
    """Which of some blocks, in the order of the tree, holds a place of it."""
    at = bisect_right(layers, place, key=lambda node: node.start) - 1
    return at if at >= 0 and place < layers[at].end else None
