"""torch raises, people decorate, and the keys come back: with real modules and random names."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from automatch.explaining import explain, parse_error

# A name cannot hold a dot (torch forbids it), a quote or a blank (torch would print them unescaped).
NAMES = st.text(
    st.characters(codec="ascii", min_codepoint=33, exclude_characters="\".,`*|\\&<>[]{}'"), min_size=1, max_size=12
).filter(lambda name: not hasattr(nn.Module(), name) and "key(s)" not in name and not name.startswith("torch.Size"))
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=2).map(tuple)
MODULES = st.dictionaries(NAMES, st.dictionaries(NAMES, SHAPES, min_size=1, max_size=3), max_size=4)


def module(tree: dict[str, dict[str, tuple[int, ...]]]) -> nn.Module:
    root = nn.Module()
    for name, parameters in tree.items():
        child = nn.Module()
        for parameter, shape in parameters.items():
            child.register_parameter(parameter, nn.Parameter(torch.zeros(shape)))
        root.add_module(name, child)
    return root


def error_text(model: nn.Module, state_dict: dict[str, torch.Tensor]) -> str | None:
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        return str(error)
    return None


DECORATIONS = (
    lambda text: text,
    lambda text: (
        'Traceback (most recent call last):\n  File "/x/module.py", line 2581, in load_state_dict\n'
        "    raise RuntimeError('Error(s) in loading state_dict for {}:\\n\\t{}'.format(\nRuntimeError: " + text
    ),
    lambda text: "\n".join("> " + line for line in text.split("\n")),
    lambda text: "\n".join("[rank3]: " + line for line in text.split("\n")),
    lambda text: "\n".join(f"2024-05-01 10:11:12,000 - root - ERROR - {line}" for line in text.split("\n")),
    lambda text: "```\n" + text.strip() + "\n```\nWhat is wrong?",
    lambda text: text.replace("\n", " "),
    lambda text: text.replace(", ", ",\n"),
    lambda text: text.replace('"', "”"),
    lambda text: "\x1b[31m" + text + "\x1b[0m",
)


@given(MODULES, MODULES, st.sampled_from(DECORATIONS))
@settings(max_examples=60, deadline=None)
def test_what_torch_prints_is_read_back(wanted, given_, decorate) -> None:
    model, checkpoint = module(wanted), module(given_).state_dict()
    text = error_text(model, checkpoint)
    if text is None:
        return
    report = parse_error(decorate(text))
    wants = model.state_dict()
    assert report.class_name == "Module"
    assert report.missing_keys == tuple(k for k in wants if k not in checkpoint)
    assert set(report.unexpected_keys) == {k for k in checkpoint if k not in wants}
    different = {k for k in wants if k in checkpoint and wants[k].shape != checkpoint[k].shape}
    assert {m.key for m in report.mismatched_keys} == different
    assert all(m.checkpoint_shape == tuple(checkpoint[m.key].shape) for m in report.mismatched_keys)
    assert all(m.model_shape == tuple(wants[m.key].shape) for m in report.mismatched_keys)
    assert not report.truncated


@given(st.text(max_size=400))
@settings(max_examples=60, deadline=None)
def test_no_text_breaks_the_parser(text) -> None:
    parse_error(text)
    parse_error('Missing key(s) in state_dict: "a.b", ' + text)
    parse_error("size mismatch for " + text)


@given(MODULES, st.integers(0, 400))
@settings(max_examples=40, deadline=None)
def test_a_cut_invents_no_key(tree, where) -> None:
    model = module(tree)
    text = error_text(model, {})
    if text is None:
        return
    report = parse_error(text[:where])
    assert set(report.missing_keys) <= set(model.state_dict())
    if len(report.missing_keys) < len(model.state_dict()) and "Missing" in text[:where]:
        assert report.truncated or not report.missing_keys


@pytest.mark.parametrize("wrap", ["module.", "_orig_mod.", "model.net."])
def test_the_rule_cures_a_real_model(wrap: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    checkpoint = {wrap + key: tensor.clone() for key, tensor in model.state_dict().items()}
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    with pytest.raises(RuntimeError) as caught:
        other.load_state_dict(checkpoint)
    explanation = explain(caught.value)
    assert len(explanation.rules) == 1
    other.load_state_dict(explanation.rules.apply(checkpoint))
    x = torch.randn(5, 3)
    assert torch.equal(model(x), other(x))


def test_what_load_state_dict_returns_is_read() -> None:
    model = nn.Linear(2, 2)
    left = explain(model.load_state_dict({"weight": torch.zeros(2, 2), "stray.bias": torch.zeros(2)}, strict=False))
    assert left.report.missing_keys == ("bias",)
    assert left.report.unexpected_keys == ("stray.bias",)


def test_success_is_not_taken_for_an_error() -> None:
    model = nn.Linear(2, 2)
    assert "nothing is wrong" in str(explain(model.load_state_dict(model.state_dict())))
    assert "nothing is wrong" in str(explain("IncompatibleKeys(missing_keys=[], unexpected_keys=[])"))
