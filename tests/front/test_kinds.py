"""Arguments of the wrong kind: one sentence of the AutomatchError family, never the traceback of something inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import automatch
from automatch import AutomatchError, InputError, Rule, RuleSet

NO_PATH: list[Any] = [5, 1.5, None, [], {}, b"x", object(), nn.Linear, "a\0b", "\ud800"]
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


@pytest.mark.parametrize("value", NO_PATH)
@pytest.mark.parametrize(
    ("role", "call"),
    [
        ("rules", lambda value, folder: automatch.check(value, STATE, STATE)),
        ("rules", lambda value, folder: automatch.export(value, "python")),
        ("rules", lambda value, folder: automatch.convert(value, folder / "a.pth", folder / "b.pth")),
        ("source", lambda value, folder: automatch.convert(RULES, value, folder / "b.pth")),
        ("target", lambda value, folder: automatch.convert(RULES, folder / "a.pth", value)),
    ],
)
def test_what_is_no_path(role: str, call: Callable[[Any, Path], Any], value: Any, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=f"^{role}: .*give"):
        call(value, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


@pytest.mark.parametrize("name", ["old.pth", "link.pth"])
def test_the_way_back_does_not_replace_what_told_its_keys(name: str, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "old.pth")
    torch.save({"b": torch.ones(1)}, tmp_path / "new.pth")
    (tmp_path / "link.pth").symlink_to(tmp_path / "old.pth")
    before = (tmp_path / "old.pth").read_bytes()
    with pytest.raises(InputError, match="is the input itself"):
        automatch.convert(RULES, tmp_path / "new.pth", tmp_path / name, reverse=True, keys=tmp_path / "old.pth")
    assert (tmp_path / "old.pth").read_bytes() == before and (tmp_path / "link.pth").is_symlink()


READ = automatch.read_keys(STATE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda at: automatch.convert(RULES, at / "a.pt", at / "b.pt", keys=STATE), "keys says what .* reverse=True"),
        (lambda at: automatch.export(RULES, "python", at="model"), "at='model' says where .* with keys"),
        (lambda at: automatch.read_keys(STATE, at="model", args=["1"]), "at='model' is for a checkpoint, args for"),
        (lambda at: automatch.diagnose(READ, STATE, at="model"), "was read at '' .* at='model' needs the file itself"),
    ],
)
def test_an_option_that_would_be_left_unused_is_refused(
    call: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        call(tmp_path)
