"""Arguments of the wrong kind: one sentence of the AutomatchError family, never the traceback of something inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import automatch
from automatch import AutomatchError, InputError, Rule, RuleSet

RULES = RuleSet((Rule("a", "b"),))
STATE = nn.Linear(2, 2).state_dict()


@pytest.mark.parametrize(
    "value", [5, 1.5, None, b"x", Path(), object(), nn.Linear, [10], [None], "10", {"bias": "False"}]
)
@pytest.mark.parametrize(
    "call",
    [
        lambda value: automatch.diagnose(STATE, "torch.nn:Linear", model_args=value),
        lambda value: automatch.diagnose(STATE, STATE, model_args=value),
        lambda value: automatch.check(RULES, STATE, "torch.nn:Linear", model_args=value),
        lambda value: automatch.read_keys("torch.nn:Linear", args=value),
    ],
)
def test_arguments_for_a_factory_are_a_list_of_texts(call: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(InputError, match="are a list of texts"):
        call(value)


@pytest.mark.parametrize("value", [5, 1.5, None, b"x", Path(), object(), nn.Linear])
@pytest.mark.parametrize(
    "call",
    [RuleSet.from_json, RuleSet.from_list, RuleSet.from_document, Rule.from_dict, RULES.apply, RULES.rename],
)
def test_rules_of_the_wrong_kind(call: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(AutomatchError):
        call(value)


@pytest.mark.parametrize("value", [5, 1.5, b"x", Path(), object(), nn.Linear])
def test_a_way_back_without_keys(value: Any) -> None:
    with pytest.raises(AutomatchError, match=r"has no keys|is no key"):
        RULES.reverse(value)


@pytest.mark.parametrize("value", [5, "bar", object()])
def test_a_progress_that_cannot_be_called(value: Any) -> None:
    with pytest.raises(InputError, match="give a function"):
        automatch.learn(STATE, STATE, progress=value)
