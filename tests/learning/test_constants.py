"""Tensors of one value throughout, as a fresh network has them: rules must be right for a trained one, or say so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import automatch

Tensors = dict[str, torch.Tensor]


def rotary(tensor: torch.Tensor) -> torch.Tensor:
    """Heads of eight rows: pairs that lie beside each other go into halves."""
    return tensor.view(-1, 4, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def renamed(old: Tensors, change: Callable[[torch.Tensor], torch.Tensor]) -> Tensors:
    return {key.replace("old", "new"): change(tensor).clone().contiguous() for key, tensor in old.items()}


def swapped(tensor: torch.Tensor) -> torch.Tensor:
    return torch.cat(tensor.chunk(2)[::-1])


@pytest.mark.parametrize(
    ("zeros", "change"),
    [
        ({"bias": (32,)}, rotary),
        ({"bias": (32,)}, swapped),
        ({"b": (24, 32)}, torch.t),
        ({"b": (32, 32)}, torch.t),
    ],
    ids=["rotary", "flip", "transpose", "square"],
)
@pytest.mark.parametrize("layers", [1, 3])
def test_zeros_are_arranged_as_their_neighbours(zeros, change, layers) -> None:
    torch.manual_seed(0)
    fresh, trained = {}, {}
    for i in range(layers):
        for one in (fresh, trained):
            one[f"l.{i}.old.weight"] = torch.randn(32, 16)
        for leaf, shape in zeros.items():
            fresh[f"l.{i}.old.{leaf}"] = torch.zeros(shape)
            trained[f"l.{i}.old.{leaf}"] = torch.randn(shape)
    found = automatch.learn(fresh, renamed(fresh, change))
    assert found.complete
    made, wanted = found.rules.apply(trained), renamed(trained, change)
    assert made.keys() == wanted.keys() and all(torch.equal(made[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("shape", [(8, 4), (8, 8)])
def test_zeros_that_may_have_been_turned_are_flagged(shape) -> None:
    torch.manual_seed(0)
    fresh = {"a.old.weight": torch.randn(6, 5), "b.old.weight": torch.zeros(shape)}
    found = automatch.learn(fresh, renamed(fresh, torch.t))
    told, doubtful = found.matches
    assert not told.ambiguous and doubtful.ambiguous and "all of its values are equal" in doubtful.reason
    assert not found.complete
    if shape == (8, 4):  # the likeliest is written
        assert doubtful.op == "transpose"


def test_a_matrix_of_zeros_that_shows_nothing_is_counted() -> None:
    fresh = {"a.old.weight": torch.zeros(6, 5), "a.old.scale": torch.randn(6), "old.mask": torch.ones(4, 4).bool()}
    found = automatch.learn(fresh, renamed(fresh, torch.clone))
    assert found.complete
    assert any("1 tensor has one value throughout, the first a.new.weight" in note for note in found.notes)


def test_of_equal_tensors_in_one_module_the_namesake_is_taken() -> None:
    old = {"x.a": torch.zeros(6), "x.b": torch.zeros(6), "x.w": torch.randn(3, 6)}
    found = automatch.learn(old, {"y.b": old["x.b"], "y.w": old["x.w"]})
    assert found.complete and {match.checkpoint_keys for match in found.matches} == {("x.b",), ("x.w",)}


def test_of_equal_tensors_in_one_module_none_is_taken_without_a_flag_where_their_names_do_not_tell() -> None:
    old = {"x.p": torch.zeros(6), "x.q": torch.zeros(6), "x.w": torch.randn(3, 6)}
    found = automatch.learn(old, {"y.r": old["x.q"], "y.w": old["x.w"]})
    assert [match.model_keys for match in found.matches if match.ambiguous] == [("y.r",)]


@pytest.mark.parametrize("join", [torch.cat, torch.stack])
@pytest.mark.parametrize("value", [torch.zeros(4), torch.arange(4.0)])
def test_equal_parts_might_change_places(join, value) -> None:
    old = {"g.0": value, "g.1": value.clone(), "g.2": torch.randn(4)}
    found = automatch.learn(old, {"g.all": join([old["g.1"], old["g.0"], old["g.2"]])})
    (match,) = found.matches
    assert match.ambiguous and "g.1" in match.alternatives


def test_a_stack_whose_members_have_no_numbers_is_left_over() -> None:
    old = {f"l.0.{part}": torch.randn(4) for part in "qkv"}
    found = automatch.learn(old, {"l.0.qkv": torch.stack(list(old.values()))})
    assert found.missing_keys == ("l.0.qkv",) and not found.complete


def symmetric(size: int) -> torch.Tensor:
    values = torch.randn(size, size)
    return values + values.T


def test_a_symmetric_matrix_may_have_been_transposed_as_others_were() -> None:
    torch.manual_seed(0)
    old = {"a.old.weight": torch.randn(6, 5), "b.old.weight": symmetric(7), "c.old.weight": torch.eye(4)}
    found = automatch.learn(old, renamed(old, torch.t))
    told, *doubtful = found.matches
    assert not told.ambiguous and not found.complete
    assert all(match.ambiguous and "equals its own transpose" in match.reason for match in doubtful)
    untouched = automatch.learn(old, renamed(old, torch.clone))
    assert untouched.complete  # nothing was transposed, so nothing speaks for it


def test_a_symmetric_matrix_is_transposed_as_its_neighbours() -> None:
    torch.manual_seed(0)
    old = {"a.old.query": symmetric(6), "a.old.key": torch.randn(6, 6), "mask": symmetric(3) > 0}
    found = automatch.learn(
        old, {"a.new.query": old["a.old.query"], "a.new.key": old["a.old.key"].T, "mask": old["mask"]}
    )
    trained = {**old, "a.old.query": torch.randn(6, 6)}
    assert found.complete
    assert torch.equal(found.rules.apply(trained)["a.new.query"], trained["a.old.query"].T)
