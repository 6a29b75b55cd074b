"""Decisions of a person in every form that they come in, and those that contradict each other."""

import pytest
import torch

import automatch

GIVEN = {key: torch.zeros(3) for key in "abc"}
WANTED = {key: torch.zeros(3) for key in "xy"}


@pytest.mark.parametrize(
    "pin",
    [
        {"c": "x", "a": "y"},
        [("c", "x"), ("a", "y")],
        (["c", "x"], ["a", "y"]),
        ["c=x", "a=y"],
        {"c": "x", "a": "y"}.items(),
    ],
)
def test_all_forms_of_a_pin(pin) -> None:
    found = automatch.diagnose(GIVEN, WANTED, pin=pin)
    assert [(match.checkpoint_keys, match.model_keys) for match in found.matches] == [
        (("c",), ("x",)),
        (("a",), ("y",)),
    ]


def test_one_text_is_one_pair() -> None:
    found = automatch.diagnose({"a": torch.zeros(3)}, {"x": torch.zeros(3)}, forbid="a=x")
    assert not found.matches


@pytest.mark.parametrize(
    "options",
    [
        {"pin": 3},
        {"pin": [3]},
        {"pin": {"a": 3}},
        {"pin": "a"},
        {"forbid": [("a", "b", "c")]},
        {"forbid": b"a=x"},
        {"at": 3},
        {"by": "magic"},
        {"pin": [("a", "x"), ("b", "x")]},
        {"pin": ["a=x"], "forbid": {"a": "x"}},
    ],
    ids=str,
)
def test_what_is_no_decision_is_one_sentence(options) -> None:
    with pytest.raises(automatch.InputError) as raised:
        automatch.diagnose(GIVEN, WANTED, **options)
    assert "\n" not in str(raised.value)


def test_parts_that_are_joined_may_be_pinned_to_one_key() -> None:
    given = {key: torch.zeros(4, 4) for key in ("q", "k", "v")}
    found = automatch.diagnose(given, {"qkv": torch.zeros(12, 4)}, pin={"q": "qkv", "k": "qkv", "v": "qkv"})
    assert [match.model_keys for match in found.matches] == [("qkv",)]
