"""What holds of every answer, whatever the two networks are."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from automatch.matching import match
from automatch.matching.assignment import Match
from automatch.spec import Shape, StateDictSpec, TensorSpec
from tests.matching.trees import NETWORKS, Renaming, renamings
from tests.matching.truth import Served, by_rename, complete, flagged, found, renamed, silent, spec, truth

BY = st.sampled_from(["all", "name", "topology"])
FEW = settings(max_examples=30)


def described(model: nn.Module) -> StateDictSpec:
    """The keys of a module; modules that stand in it several times count as several."""
    return StateDictSpec("network", tuple(t._replace(tied=None) for t in spec(model).tensors))


@st.composite
def pairs(draw: st.DrawFn, drop: bool = True) -> tuple[StateDictSpec, StateDictSpec, Renaming]:
    """A network and itself, renamed, with keys dropped on either side."""
    whole = described(draw(NETWORKS))
    rename = draw(renamings(whole.keys, drop))
    lost = draw(renamings(whole.keys, drop)).dropped
    mine = StateDictSpec("file", tuple(t for t in whole.tensors if t.key not in lost))
    other = tuple(t._replace(key=new) for t in whole.tensors if (new := rename(t.key)) is not None)
    assume(mine.tensors and other)
    return mine, StateDictSpec("model", other), rename


def shapes_agree(one: Match, given_: StateDictSpec, wanted: StateDictSpec) -> None:
    """The tensors can become what the model wants by the named operation, and by no other."""
    mine = [given_.by_key[key].shape for key in one.checkpoint_keys]
    theirs = [wanted.by_key[key].shape for key in one.model_keys]
    assert sum(map(math.prod, mine)) == sum(map(math.prod, theirs))
    if one.op == "rename":
        assert mine == theirs and len(mine) == 1
    if one.op == "transpose":
        assert one.perm is not None and theirs == [tuple(mine[0][i] for i in one.perm)]
    if one.op in ("concat", "chunk"):
        many, whole = (mine, theirs[0]) if one.op == "concat" else (theirs, mine[0])
        assert one.dim is not None and len(many) > 1
        assert whole[one.dim] == sum(shape[one.dim] for shape in many)
        assert {without(shape, one.dim) for shape in many} == {without(whole, one.dim)}
    if one.op in ("stack", "unstack"):
        many, whole = (mine, theirs[0]) if one.op == "stack" else (theirs, mine[0])
        assert set(many) == {whole[1:]} and len(many) == whole[0]


def without(shape: Shape, dim: int) -> Shape:
    return shape[:dim] + shape[dim + 1 :]


def checked(given_: StateDictSpec, wanted: StateDictSpec, by: str) -> None:
    assignment = match(given_, wanted, by=by)
    complete(assignment, given_, wanted)
    for one in assignment.matches:
        shapes_agree(one, given_, wanted)
    used = Counter(key for m in assignment.matches for key in m.checkpoint_keys)
    for key, times in used.items():  # a tied tensor serves several, and says so
        kinds = [m for m in assignment.matches if key in m.checkpoint_keys]
        assert times == 1 or sum("tied" in m.reason or "one tensor" in m.reason for m in kinds) >= times - 1


@FEW
@given(pairs(), BY)
def test_every_key_has_one_place(pair: tuple[StateDictSpec, StateDictSpec, Renaming], by: str) -> None:
    """Matched, missing or unexpected; whatever is matched fits."""
    checked(pair[0], pair[1], by)


@FEW
@given(NETWORKS, NETWORKS, BY)
def test_every_key_has_one_place_in_two_networks(mine: nn.Module, other: nn.Module, by: str) -> None:
    checked(described(mine), described(other), by)


KEYS = st.lists(
    st.tuples(
        st.text("ab01._/", min_size=1, max_size=6),
        st.lists(st.integers(0, 3), max_size=3).map(tuple),
        st.sampled_from(["float32", "int64", "bool"]),
    ),
    max_size=8,
    unique_by=lambda entry: entry[0],
)


@settings(max_examples=80)
@given(KEYS, KEYS, BY)
def test_odd_keys_and_shapes_do_no_harm(mine: list, other: list, by: str) -> None:
    """Empty sides, empty tokens, tensors without elements, keys that run through each other."""
    specs = [StateDictSpec("odd", tuple(TensorSpec(*entry) for entry in side)) for side in (mine, other)]
    assignment = match(specs[0], specs[1], by=by)
    complete(assignment, specs[0], specs[1])
    for one in assignment.matches:
        shapes_agree(one, specs[0], specs[1])


@FEW
@given(NETWORKS)
def test_a_network_is_its_own_counterpart(model: nn.Module) -> None:
    """All keys under their own names, nothing flagged."""
    keys = described(model)
    assignment = match(keys, keys)
    assert found(assignment) == truth((key, key) for key in keys.keys)
    assert flagged(assignment) == set()


@FEW
@given(NETWORKS, st.sampled_from(["module.", "a.b.", "model.0."]), st.booleans())
def test_a_wrapper_changes_nothing(model: nn.Module, prefix: str, swap: bool) -> None:
    bare = described(model)
    wrapped = StateDictSpec("wrapped", tuple(t._replace(key=prefix + t.key) for t in bare.tensors))
    assignment = match(bare, wrapped) if swap else match(wrapped, bare)
    pairs_ = ((key, prefix + key) if swap else (prefix + key, key) for key in bare.keys)
    assert found(assignment) == truth(pairs_)
    assert flagged(assignment) == set()


def all_different(model: nn.Module) -> StateDictSpec:
    """The same tree with tensors of which no two have one shape, nor can be made of others."""
    tensors = []
    for number, t in enumerate(described(model).tensors):
        shape = tuple((101 + 2 * number) ** (i + 1) for i in range(len(t.shape)))
        tensors.append(t._replace(shape=shape))
    return StateDictSpec("different", tuple(tensors))


@st.composite
def different_pairs(draw: st.DrawFn, drop: bool) -> tuple[StateDictSpec, StateDictSpec, dict]:
    whole = all_different(draw(NETWORKS))
    rename = draw(renamings(whole.keys, drop))
    lost = draw(renamings(whole.keys, drop)).dropped
    mine = tuple(t for t in whole.tensors if t.key not in lost)
    other = tuple(t._replace(key=new) for t in whole.tensors if (new := rename(t.key)) is not None)
    assume(mine and other)
    expected = truth((t.key, new) for t in mine if (new := rename(t.key)) is not None)
    return StateDictSpec("file", mine), StateDictSpec("model", other), expected


@FEW
@given(different_pairs(False))
def test_what_shapes_alone_decide_is_found(pair: tuple[StateDictSpec, StateDictSpec, dict]) -> None:
    """No two tensors have one shape: names do not matter."""
    assignment = match(pair[0], pair[1])
    answer = found(assignment)
    counters = {t.key for t in pair[1].tensors if not t.shape}
    assert {k: v for k, v in answer.items() if k[0] not in counters} == {
        k: v for k, v in pair[2].items() if k[0] not in counters
    }
    assert silent(assignment, pair[2]) == []


@FEW
@given(different_pairs(True))
def test_nothing_wrong_is_said_where_shapes_alone_decide(pair: tuple[StateDictSpec, StateDictSpec, dict]) -> None:
    """Keys are missing on either side: there is nothing else that would fit."""
    assert silent(match(pair[0], pair[1]), pair[2]) == []


@FEW
@given(pairs())
def test_by_name_never_pairs_different_names(pair: tuple[StateDictSpec, StateDictSpec, Renaming]) -> None:
    mine, other, _ = pair
    assignment = match(mine, other, by="name")
    both = [key for key in other.keys if key in mine.by_key and mine.by_key[key].shape == other.by_key[key].shape]
    assert found(assignment) == truth((key, key) for key in both)
    assert flagged(assignment) == set()


@FEW
@given(pairs(drop=False))
def test_by_topology_names_do_not_matter(pair: tuple[StateDictSpec, StateDictSpec, Renaming]) -> None:
    """A renamed network gets the answer that the network itself gets."""
    mine, other, rename = pair
    assignment = match(mine, other, by="topology")
    itself = found(match(mine, mine, by="topology"))
    assert found(assignment) == {tuple(map(rename, keys)): served for keys, served in itself.items()}


@settings(max_examples=20)
@given(pairs(), BY)
def test_the_same_question_gets_the_same_answer(pair: tuple[StateDictSpec, StateDictSpec, Renaming], by: str) -> None:
    mine, other, _ = pair
    assert match(mine, other, by=by) == match(mine, other, by=by)


@settings(max_examples=20)
@given(pairs(), st.data())
def test_pins_hold(pair: tuple[StateDictSpec, StateDictSpec, Renaming], data: st.DataObject) -> None:
    """Whatever a person pins is there, certain; whatever a person forbids is not; the rest is still complete."""
    mine, other, _ = pair
    both = [(a.key, b.key) for a in mine.tensors for b in other.tensors if a.shape == b.shape and a.dtype == b.dtype]
    assume(both)
    pin, forbid = data.draw(st.sampled_from(both)), data.draw(st.sampled_from(both))
    assume(pin != forbid)
    escaped = [(pin[0], pin[1])]
    assignment = match(mine, other, by="name", pin=escaped, forbid=[forbid])
    complete(assignment, mine, other)
    answer = {m.model_keys: m for m in assignment.matches}
    assert answer[pin[1],].checkpoint_keys == (pin[0],) and not answer[pin[1],].ambiguous
    assert all(forbid[0] not in m.checkpoint_keys or forbid[1] not in m.model_keys for m in assignment.matches)


def test_real_modules_are_described_as_trees_are() -> None:
    """The strategies speak of state_dicts as torch makes them."""
    block = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm2d(3))
    model = nn.ModuleDict({"layers": nn.ModuleList([block, block])})
    assert described(model).keys == tuple(model.state_dict())
    assert all(t.tied is None for t in described(model).tensors)
    renamed_ = renamed(model, Renaming({"layers": "h"}, "net.", frozenset({"layers.0.0.bias"})))
    assert next(iter(renamed_)) == "net.h.0.0.weight" and "net.h.0.0.bias" not in renamed_
    assert by_rename({"layers.x": torch.empty(1)}, Renaming({"layers": "h"}, "", frozenset())) == {
        ("h.x",): Served(("layers.x",))
    }


@pytest.mark.parametrize("by", ["all", "name", "topology"])
def test_an_empty_side(by: str) -> None:
    full, empty = spec(nn.ModuleDict({"a": nn.Linear(2, 3)})), StateDictSpec("empty", ())
    assert match(full, empty, by=by).unexpected_keys == full.keys
    assert match(empty, full, by=by).missing_keys == full.keys
    assert match(empty, empty, by=by).matches == ()


@FEW
@given(NETWORKS, st.randoms(use_true_random=False), st.booleans())
def test_nothing_wrong_is_said_of_equal_names_in_another_order(model: nn.Module, chance: Random, swap: bool) -> None:
    """A file that was sorted, or written by another program: the keys are the same, their order is not."""
    keys = described(model)
    shuffled = StateDictSpec("shuffled", tuple(chance.sample(keys.tensors, len(keys.tensors))))
    assignment = match(keys, shuffled) if swap else match(shuffled, keys)
    assert silent(assignment, truth((key, key) for key in keys.keys)) == []
