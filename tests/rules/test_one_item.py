"""Rules that are learnt on a variant whose lists have one item, and serve those that have several."""

from __future__ import annotations

import pytest

from automatch.matching.assignment import Match
from automatch.rules.induce import induce
from automatch.rules.one_item import with_second_items
from automatch.rules.rule_set import RuleSet

INSIDE = {"attn.q.weight": "attention.query.weight", "norm.bias": "ln.bias", "mlp.0.weight": "ff.up.weight"}


def pairs(stages: int, blocks: int = 2) -> dict[str, str]:
    """Stages of blocks by two hands, and a head of two layers, of which only the numbers say that it has several."""
    inner = {
        f"body.{s}.layers.{b}.{key}": f"stages.{s}.blocks.{b}.{other}"
        for s in range(stages)
        for b in range(blocks)
        for key, other in INSIDE.items()
    }
    return {**inner, "head.0.weight": "head.norm.weight", "head.1.weight": "head.fc.weight"}


def learnt(names: dict[str, str], *unmatched: str) -> RuleSet:
    matches = [Match((other,), (key,)) for key, other in names.items()]
    return induce(matches, [*names, *unmatched], [*names.values()])


def moved(rules: RuleSet, key: str) -> str:
    move = rules.move(key)
    return key if move is None else move.targets[0]


@pytest.mark.parametrize(("stages", "blocks"), [(1, 2), (2, 1), (1, 1)])
def test_the_only_item_of_a_list_is_counted(stages: int, blocks: int) -> None:
    rules = learnt(pairs(stages, blocks))
    large = pairs(3, 4)
    assert {key: moved(rules, key) for key in large} == large
    assert len(rules.rules) <= len(learnt(large).rules)


def test_hits_are_those_of_the_keys_that_are_there() -> None:
    names = pairs(1)
    rules = learnt(names)
    assert sum(rule.hits for rule in rules.rules) == len(names)
    assert all(rule.hits for rule in rules.rules)


def test_what_belongs_nowhere_stays_nowhere() -> None:
    """A buffer beside the matched tensors of the only stage is moved onto no key, in no stage."""
    names = pairs(1)
    rules = learnt(names, "body.0.layers.0.attn.mask")
    assert moved(rules, "body.0.layers.0.attn.mask") not in names.values()
    assert {key: moved(rules, key) for key in names} == names


def task(names: dict[str, str]) -> tuple[list[Match], list[str], list[str]]:
    return [Match((other,), (key,)) for key, other in names.items()], [*names], [*names.values()]


@pytest.mark.parametrize(
    "names",
    [
        pytest.param({"a.0.w": "b.0.w", "a.1.w": "c.w"}, id="one of several on the checkpoint's side"),
        pytest.param({"a.0.w": "b.0.w", "c.w": "b.1.w"}, id="one of several on the model's side"),
        pytest.param({"a.0.w": "b.0.w", "a.0.v": "c.v"}, id="a part of it goes elsewhere"),
        pytest.param({"a.0.w": "b.0.w", "c.v": "b.0.v"}, id="a part of it comes from elsewhere"),
        pytest.param({"a.0.w": "b.0.w", "a.gate": "c.gate"}, id="something beside the item"),
        pytest.param({"a.0.c.0.w": "b.0.w"}, id="which of two lists, nothing says"),
        pytest.param({"a.w": "b.0.w"}, id="no list"),
    ],
)
def test_where_nothing_shows_that_two_lists_count_the_same_nothing_is_imagined(names: dict[str, str]) -> None:
    assert with_second_items(*task(names)) is None


def test_one_item_more_in_either_list_with_all_that_stands_in_it() -> None:
    matches, mine, theirs = task({"a.0.x.w": "b.0.w", "a.0.y.w": "b.0.v.w", "c.w": "c.w"})
    more = with_second_items(matches, [*mine, "a.0.mask"], [*theirs, "b.0.table"])
    assert more is not None
    assert more.checkpoint_keys[4:] == ["a.1.x.w", "a.1.y.w", "a.1.mask"]
    assert more.model_keys[4:] == ["b.1.w", "b.1.v.w", "b.1.table"]
    assert [(m.checkpoint_keys, m.model_keys) for m in more.matches[3:]] == [
        (("a.1.x.w",), ("b.1.w",)),
        (("a.1.y.w",), ("b.1.v.w",)),
    ]


def test_a_tensor_of_which_a_part_stands_elsewhere_lets_nothing_count() -> None:
    matches = [Match(("b.0.qk",), ("a.0.q", "c.k"), op="concat", dim=0)]
    assert with_second_items(matches, ["a.0.q", "c.k"], ["b.0.qk"]) is None
