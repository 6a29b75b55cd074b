"""Blocks of lists that lie across each other, some of which only their numbers tell apart."""

from __future__ import annotations

import pytest
from torch import nn

from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf
from automatch.matching.reviews.crosswise import as_numbered
from tests.matching.built import built
from tests.matching.truth import by_rename, flagged, honest, solved

LISTS = {"0": "ins", "2": "outs"}


def stages(back: bool) -> nn.Module:
    """Stages: each item is what goes in and what comes out; in the first stage shapes tell all of these apart."""
    modules: dict[str, nn.Module] = {"stem": nn.Conv2d(3, 8, 3)}
    for stage in range(3):
        cells = [(i, role) for i in range(2) for role in LISTS]
        if back:
            cells.sort(key=lambda cell: cell[1])
        for i, role in cells:
            path = f"up.{stage}.{LISTS[role]}.{i}" if back else f"up.{stage}.blocks.{i}.{role}"
            width = 8 if stage else 8 + 4 * i + int(role)
            modules[f"{path}.first"] = nn.Conv2d(8, width, 3)
            modules[f"{path}.norm"] = nn.BatchNorm2d(width)
            modules[f"{path}.second"] = nn.Conv2d(width, 8, 3)
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


Table = dict[str, str]


def pairs(*tables: Table, wide: tuple[str, ...] = ()) -> list[Found]:
    """Blocks `list.0.2` and where they went, `outs.0`: a table for each stage."""

    def leaf(path: str, width: int) -> Leaf:
        key = f"{path}.conv.weight"
        return Leaf(tuple(key.split(".")), (width, 4), (key,), 0, False, raw=(width, 4))

    return [
        (leaf(f"s.{n}.list.{one}", 8 + (one in wide)), leaf(f"t.{n}.{other}", 8 + (one in wide)), Evidence())
        for n, table in enumerate(tables)
        for one, other in table.items()
    ]


RIGHT = {"0.0": "ins.0", "0.2": "outs.0", "1.0": "ins.1", "1.2": "outs.1"}
CROSSED = {"0.0": "ins.0", "0.2": "ins.1", "1.0": "outs.0", "1.2": "outs.1"}


def served(found: list[Found]) -> Table:
    return {".".join(s.path[:5]): ".".join(t.path[:4]) for s, t, _ in found}


def asked(found: list[Found]) -> list[Found]:
    return as_numbered(found, [t for _, t, _ in found], lambda s, t: False)


def test_other_lists_of_the_same_names_say_where_blocks_go() -> None:
    assert served(asked(pairs(RIGHT, CROSSED))) == served(pairs(RIGHT, RIGHT))


@pytest.mark.parametrize(
    "found",
    [
        pairs(CROSSED, CROSSED),
        pairs(RIGHT, CROSSED, wide=("0.2",)),
        pairs(RIGHT, {"0.0": "a.0", "0.2": "a.1", "1.0": "b.0", "1.2": "b.1"}),
        [(s, t, Evidence(level="pin")) for s, t, _ in pairs(RIGHT, CROSSED)],
    ],
    ids=["nothing says so", "of other shapes", "other names", "pinned"],
)
def test_nothing_changes_places_that_does_not_fit_or_needs_not(found: list[Found]) -> None:
    assert asked(found) == found


def test_heads_of_two_layers_each_stay_whole() -> None:
    """`heads.0.0, heads.0.2` of a Sequential are `age.0, age.1`, and no number stays."""
    checkpoint = built({f"heads.{i}.{k}": nn.Linear(16, 16) for i in range(2) for k in (0, 2)})
    model = built({f"{name}.{k}": nn.Linear(16, 16) for name in ("age", "gender") for k in range(2)})
    names = {f"heads.{i}.{k}": f"{name}.{k // 2}" for i, name in enumerate(("age", "gender")) for k in (0, 2)}

    def new(key: str) -> str:
        module, _, role = key.rpartition(".")
        return f"{names[module]}.{role}"

    honest(checkpoint, model, by_rename(checkpoint, new))
