"""Every form of error text in which people meet a failed load gives the same lists."""

from __future__ import annotations

import pytest

from automatch.explaining import parse_error
from tests.explaining.texts import TEXTS, Said


@pytest.mark.parametrize("said", TEXTS, ids=lambda said: said.name)
def test_lists_are_read(said: Said) -> None:
    report = parse_error(said.text)
    assert report.missing_keys == said.missing
    assert report.unexpected_keys == said.unexpected
    assert tuple((m.key, m.checkpoint_shape, m.model_shape) for m in report.mismatched_keys) == said.mismatched
    assert report.truncated is said.truncated
    assert report.class_name == said.class_name


def test_a_text_about_something_else_is_empty() -> None:
    assert not parse_error("ModuleNotFoundError: No module named 'torch'")


def test_which_list_was_cut() -> None:
    report = parse_error('Missing key(s) in state_dict: "a", "b". \n\tUnexpected key(s) in state_dict: "c", "d')
    assert report.missing_whole
    assert not report.unexpected_whole
