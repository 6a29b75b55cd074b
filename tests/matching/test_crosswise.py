"""Blocks of lists that lie across each other, some of which only their numbers tell apart."""

from __future__ import annotations

import pytest
from torch import nn

from automatch.matching.crosswise import as_numbered
from automatch.matching.evidence import Evidence, Found
from automatch.matching.leaves import Leaf
from tests.matching.built import built
from tests.matching.truth import by_rename, flagged, solved

LISTS = {"0": "ins", "2": "outs"}


def stages(back: bool) -> nn.Module:
    """Stages of a decoder: each item is what goes in and what comes out; the first and the last have tensors more."""
    modules: dict[str, nn.Module] = {"stem": nn.Conv2d(3, 8, 3)}
    for stage in range(2):
        cells = [(i, role) for i in range(2) for role in LISTS]
        if back:
            cells.sort(key=lambda cell: cell[1])
        for i, role in cells:
            path = f"up.{stage}.{LISTS[role]}.{i}" if back else f"up.{stage}.blocks.{i}.{role}"
            modules[f"{path}.first"] = nn.Conv2d(8, 8, 3)
            modules[f"{path}.norm"] = nn.BatchNorm2d(8)
            modules[f"{path}.second"] = nn.Conv2d(8, 8, 3)
            if (i, role) in ((0, "0"), (1, "2")):
                modules[f"{path}.{'grow' if i else 'shortcut'}"] = nn.Conv2d(8, 8, 1 + i)
    return built({**modules, "head": nn.Linear(8, 10)})


def renamed(key: str) -> str:
    tokens = key.split(".")
    return ".".join([*tokens[:2], LISTS[tokens[4]], tokens[3], *tokens[5:]]) if tokens[0] == "up" else key


@pytest.mark.parametrize("turned", [False, True], ids=["to named lists", "to lists of lists"])
def test_blocks_that_shapes_tell_apart_say_where_the_others_go(turned: bool) -> None:
    """In the order in which they stand, `blocks.0.2` would be `ins.1`."""
    mine, theirs = stages(back=False), stages(back=True)
    if turned:
        back = {renamed(key): key for key in mine.state_dict()}
        assignment = solved(theirs, mine, by_rename(theirs, back.__getitem__))
    else:
        assignment = solved(mine, theirs, by_rename(mine, renamed))
    assert not flagged(assignment)


def pairs(cells: dict[str, str], wide: tuple[str, ...] = ()) -> list[Found]:
    def leaf(path: str, width: int) -> Leaf:
        key = f"{path}.conv.weight"
        return Leaf(tuple(key.split(".")), (width, 4), (key,), 0, False, raw=(width, 4))

    return [
        (leaf(f"s.{one}", 8 + (one in wide)), leaf(f"t.{other}", 8 + (one in wide)), Evidence())
        for one, other in cells.items()
    ]


CROSSED = {"0.0": "ins.0", "0.2": "ins.1", "1.0": "outs.0", "1.2": "outs.1"}


def served(found: list[Found]) -> dict[str, str]:
    return {".".join(s.path[1:3]): ".".join(t.path[1:3]) for s, t, _ in found}


def test_two_change_places_and_nothing_else_does() -> None:
    found = pairs(CROSSED)
    assert served(as_numbered(found, [t for _, t, _ in found], lambda s, t: False)) == {
        **CROSSED,
        "0.2": "outs.0",
        "1.0": "ins.1",
    }


@pytest.mark.parametrize(
    "found",
    [
        pairs(CROSSED, wide=("0.2",)),
        pairs({"0.0": "a.0", "0.1": "a.1", "1.0": "b.0", "1.1": "b.1"}),
        pairs({"0.0": "a.0", "0.1": "a.1", "1.0": "b.0", "1.1": "b.1", "0.2": "a.2", "1.2": "b.2"}),
        [(s, t, Evidence(level="pin")) for s, t, _ in pairs(CROSSED)],
    ],
    ids=["of other shapes", "lists along each other", "three along each other", "pinned"],
)
def test_nothing_changes_places_that_does_not_fit_or_needs_not(found: list[Found]) -> None:
    assert as_numbered(found, [t for _, t, _ in found], lambda s, t: False) == found
