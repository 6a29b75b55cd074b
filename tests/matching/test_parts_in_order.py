"""Equal parts of a layer that are numbered on one side and named on the other: what their order, or a word, decides."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from automatch.matching import match
from tests.matching.truth import Truth, flagged, found, honest, solved, spec, truth

Entries = list[tuple[str, tuple[int, ...]]]
LAYERS = 3


def layers(names: Sequence[str], inside: Entries, home: str = "layers") -> Entries:
    """Layers that hold nothing but equal parts; each layer is wider than the one before."""
    return [
        (f"{home}.{i}.{name}.{key}", tuple(size * (i + 1) for size in shape))
        for i in range(LAYERS)
        for name in names
        for key, shape in inside
    ]


PART = [
    ("conv.weight", (8, 4, 3)),
    ("conv.bias", (8,)),
    ("norm.weight", (8,)),
    ("norm.bias", (8,)),
    ("out.weight", (4, 8)),
]


def in_order(mine: Entries, theirs: Entries) -> Truth:
    return truth(zip((key for key, _ in mine), (key for key, _ in theirs), strict=True))


@pytest.mark.parametrize("numbered", [("0", "1"), ("convs1", "convs2"), ("conv_a", "conv_b"), ("1.0", "2")])
@pytest.mark.parametrize("named", [("dilated", "plain"), ("spatial", "channel")])
def test_numbered_parts_that_fill_a_layer_are_named_in_their_order(numbered, named) -> None:
    mine, theirs = layers(numbered, PART), layers(named, PART, "blocks")
    solved(mine, theirs, in_order(mine, theirs))
    solved(theirs, mine, in_order(theirs, mine))


@pytest.mark.parametrize(
    ("numbered", "named"),
    [
        (("part1", "part2"), ("post", "pre")),
        (("0", "1"), ("last", "first")),
        (("side_a", "side_b"), ("right", "left")),
        (("norm_a", "norm_b"), ("exit", "entry")),
        (("attn1", "attn2"), ("cross_attn", "self_attn")),
        (("branch_b", "branch_a"), ("wide", "near")),
        (("proj_b", "proj_d"), ("wide", "near")),
    ],
)
def test_names_against_the_order_and_letters_that_do_not_count_leave_it_in_doubt(numbered, named) -> None:
    mine, theirs = layers(numbered, PART), layers(named, PART, "blocks")
    for given, wanted in ((mine, theirs), (theirs, mine)):
        assert flagged(match(spec(given), spec(wanted))) == {key for key, _ in wanted}


def test_a_file_sorted_by_name_keeps_the_order_of_its_numbers() -> None:
    """Of the side that is sorted, names are in no order, and numbers are."""
    mine = sorted(layers(("branch1", "branch2"), PART))
    theirs = layers(("wide", "near"), PART, "stages")
    by_number = dict(
        zip((key for key, _ in layers(("branch1", "branch2"), PART)), (key for key, _ in theirs), strict=True)
    )
    solved(mine, theirs, truth(by_number.items()))
    wanted = layers(("branch1", "branch2"), PART)
    assert flagged(match(spec(sorted(theirs)), spec(wanted))) == {key for key, _ in wanted}


def test_parts_that_were_made_from_the_last_number_on_are_in_doubt() -> None:
    mine = layers(("l3", "l2", "l1"), PART, "levels")
    theirs = layers(("quarter", "half", "full"), PART, "scales")
    assert flagged(match(spec(mine), spec(theirs))) == {key for key, _ in theirs}


def convs(names: Sequence[str]) -> Entries:
    return [(f"blocks.{i}.{name}.{key}", shape) for i in range(LAYERS) for name in names for key, shape in CONV]


PLACES = [("conv_in", "conv_out"), ("pre_conv", "post_conv"), ("conv_first", "conv_last")]


@pytest.mark.parametrize(("first", "last"), PLACES)
@pytest.mark.parametrize("numbers", [("conv1", "conv2"), ("conv0", "conv3")])
def test_words_of_place_say_the_same_as_numbers(numbers, first, last) -> None:
    mine, theirs = convs(numbers), convs((first, last))
    solved(mine, theirs, in_order(mine, theirs))


@pytest.mark.parametrize(("first", "last"), PLACES)
@pytest.mark.parametrize("numbers", [("conv1", "conv2"), ("conv3", "conv1"), ("conv2", "conv1")])
def test_numbers_and_places_that_run_against_each_other_are_in_doubt(numbers, first, last) -> None:
    """Sizes of kernels are no turns, and words that stand the other way round contradict the order."""
    mine = convs(numbers)
    theirs = convs((last, first) if numbers == ("conv1", "conv2") else (first, last))
    for given, wanted in ((mine, theirs), (theirs, mine)):
        assert flagged(match(spec(given), spec(wanted))) == {key for key, _ in wanted}


def test_a_prelu_is_no_norm_among_numbered_ones() -> None:
    """But a norm that lost its statistics is."""

    def norm(name: str, *gone: str) -> Entries:
        roles = [role for role in ("weight", "bias", "running_mean", "running_var") if role not in gone]
        return [(f"{name}.{role}", (8,)) for role in roles]

    conv = [(8, 8, 3, 3)] * 2
    mine = [
        *(entry for entry in norm("bn1")), ("conv1.weight", conv[0]), *norm("bn2"), ("prelu.weight", (8,)),
        ("conv2.weight", conv[1]), *norm("bn3"),
    ]  # fmt: skip
    theirs = [
        *norm("res.0"), ("res.1.weight", conv[0]), *norm("res.2"), ("res.3.weight", (8,)),
        ("res.4.weight", conv[1]), *norm("res.5"),
    ]  # fmt: skip
    solved(mine, theirs, in_order(mine, theirs))
    bare = [(key, shape) for key, shape in mine if not key.startswith("bn2.running")]
    honest(bare, theirs, in_order(mine, theirs))


CONV = [("weight", (8, 8, 3, 3)), ("bias", (8,))]


def test_a_list_beside_one_that_counts_down_by_its_shapes_counts_down_as_well() -> None:
    """`pyramid.0` has the `lateral.2` that alone is so wide: its `smooth` is no `smooth.0`."""
    mine = [(f"lateral.{i}.weight", (16, 64 >> i)) for i in range(3)] + [
        (f"smooth.{i}.weight", (16, 16, 3)) for i in range(3)
    ]
    theirs = [
        entry
        for i in range(3)
        for entry in ((f"pyramid.{i}.lateral.weight", (16, 16 << i)), (f"pyramid.{i}.smooth.weight", (16, 16, 3)))
    ]
    assignment = match(spec(mine), spec(theirs))
    down = {f"{name}.{i}.weight": f"pyramid.{2 - i}.{name}.weight" for name in ("lateral", "smooth") for i in range(3)}
    assert found(assignment) == truth(down.items())
    assert flagged(assignment) >= {"pyramid.0.smooth.weight", "pyramid.2.smooth.weight"}
