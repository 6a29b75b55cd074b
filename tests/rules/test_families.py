"""What a rule covers, as a reviewer reads it."""

from __future__ import annotations

from automatch.rules.families import covered, families, told
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet


def test_numbers_that_differ_are_signs_and_the_others_stand() -> None:
    keys = [f"layers.{i}.mlp.fc1.{leaf}" for i in range(3) for leaf in ("weight", "bias")]
    assert families(keys) == [("layers.#.mlp.fc1.weight", 3), ("layers.#.mlp.fc1.bias", 3)]


def test_each_key_stands_with_the_rule_that_takes_it_first() -> None:
    rules = RuleSet((Rule(r"a\.0\.(?P<r>.+)", "b.{r}"), Rule(r"a\.(?P<i>\d+)\.(?P<r>.+)", "c.{i}.{r}"), Rule("x", "y")))
    assert covered(rules, ["a.0.w", "a.1.w", "a.2.w", "z"]) == [[("a.0.w", 1)], [("a.#.w", 2)], []]


def test_long_lists_are_cut_and_say_so() -> None:
    assert told([("a.#", 2), ("b", 1)]) == ["a.# (2)", "b"]
    assert told([("a", 1), ("b", 1), ("c", 1)], most=1) == ["a", "2 more families"]
