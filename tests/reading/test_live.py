"""Live modules and mappings: registration order, kinds, ties; on any device including meta."""

from __future__ import annotations

from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from automatch.errors import InputError, RuleError
from automatch.reading import read_checkpoint, read_model
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet
from automatch.spec import StateDictSpec, TensorSpec


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(2, dtype=torch.float64))
        self.register_buffer("hidden", torch.ones(2), persistent=False)
        self.embed = nn.Embedding(5, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight
        self.again = self.norm


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_keys_kinds_and_ties_in_registration_order(device: str) -> None:
    with torch.device(device):
        model = Net()
    assert read_checkpoint(model).tensors == (
        TensorSpec("scale", (2,), "float64", "buffer"),
        TensorSpec("embed.weight", (5, 4), "float32", "parameter"),
        TensorSpec("norm.weight", (4,), "float32", "parameter"),
        TensorSpec("norm.bias", (4,), "float32", "parameter"),
        TensorSpec("norm.running_mean", (4,), "float32", "buffer"),
        TensorSpec("norm.running_var", (4,), "float32", "buffer"),
        TensorSpec("norm.num_batches_tracked", (), "int64", "buffer"),
        TensorSpec("head.weight", (5, 4), "float32", "parameter", "embed.weight"),
        TensorSpec("again.weight", (4,), "float32", "parameter", "norm.weight"),
        TensorSpec("again.bias", (4,), "float32", "parameter", "norm.bias"),
        TensorSpec("again.running_mean", (4,), "float32", "buffer", "norm.running_mean"),
        TensorSpec("again.running_var", (4,), "float32", "buffer", "norm.running_var"),
        TensorSpec("again.num_batches_tracked", (), "int64", "buffer", "norm.num_batches_tracked"),
    )


def test_keys_are_those_of_state_dict_for_many_modules() -> None:
    models = [
        nn.TransformerDecoderLayer(8, 2),
        nn.LSTM(3, 4, 2, bidirectional=True),
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)),
        nn.Sequential(OrderedDict(a=nn.Conv2d(1, 2, 3), b=nn.ParameterList([nn.Parameter(torch.zeros(1))]))),
    ]
    for model in models:
        assert list(read_checkpoint(model).keys) == list(model.state_dict())
        assert {t.key for t in read_checkpoint(model).tensors if t.kind == "parameter"} == {
            key for key, _ in model.named_parameters(remove_duplicate=False)
        }


def test_hooks_that_rename_keys_are_respected() -> None:
    model = nn.Linear(2, 3)
    model._register_state_dict_hook(
        lambda module, state_dict, prefix, _: state_dict.update(renamed=state_dict.pop("weight"))
    )
    spec = read_checkpoint(model)
    assert [(t.key, t.kind) for t in spec.tensors] == [("bias", "parameter"), ("renamed", "parameter")]


def test_extra_state_is_left_out_and_named() -> None:
    class WithState(nn.Linear):
        def get_extra_state(self) -> Any:
            return {"scale": 1}

        def set_extra_state(self, state: Any) -> None:
            pass

    spec = read_checkpoint(nn.Sequential(WithState(1, 1)))
    assert spec.keys == ("0.weight", "0.bias")
    assert spec.notes == ("not tensors, left out: 0._extra_state",)


def test_lazy_modules_need_a_forward_pass() -> None:
    with pytest.raises(InputError, match=r"model Sequential: 0\.weight has no shape yet .*run one forward pass"):
        read_checkpoint(nn.Sequential(nn.LazyLinear(3)))


def test_a_module_without_entries() -> None:
    with pytest.raises(InputError, match="ReLU: has no state_dict entries"):
        read_checkpoint(nn.ReLU())


def test_the_module_is_not_changed() -> None:
    model = Net()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    side = read_model(model)
    assert side.module is model
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_mappings_of_anything_with_shape_and_dtype() -> None:
    class Lazy:
        shape = (3, 4)
        dtype = torch.bfloat16

    values = {
        "torch": torch.zeros(2),
        "numpy": numpy.zeros((2, 0), "int8"),
        "lazy": Lazy(),
        "half": torch.zeros(1).half(),
    }
    expected = [
        ("torch", (2,), "float32"),
        ("numpy", (2, 0), "int8"),
        ("lazy", (3, 4), "bfloat16"),
        ("half", (1,), "float16"),
    ]
    for mapping in (values, OrderedDict(values), MappingProxyType(values)):
        spec = read_checkpoint(mapping)
        assert [(t.key, t.shape, t.dtype) for t in spec.tensors] == expected
        assert (spec.name, spec.origin) == ("state_dict", "state_dict in memory")


def test_ties_in_a_mapping() -> None:
    weight = torch.zeros(3, 3)
    spec = read_checkpoint({"a": weight, "b": weight.view(9), "c": weight, "d": weight.detach(), "e": weight.t()})
    assert [t.tied for t in spec.tensors] == [None, None, "a", "a", None]


def test_metadata_of_a_state_dict_is_no_entry() -> None:
    state_dict = nn.Linear(2, 2).state_dict()
    assert state_dict._metadata
    assert read_checkpoint(state_dict).keys == ("weight", "bias")


@pytest.mark.parametrize("key", [1, None, ("a", "b"), b"weight", 1.5])
def test_keys_that_are_not_strings(key: Any) -> None:
    with pytest.raises(InputError, match=r"state_dict: key .* is not a string; every key of a state_dict is one"):
        read_checkpoint({"model": {"w": torch.zeros(2), key: torch.zeros(2)}})


@pytest.mark.parametrize("source", [{}, {"epoch": 3}, {"a": {}}, {"a": [torch.zeros(1), 3]}])
def test_mappings_without_tensors(source: Any) -> None:
    with pytest.raises(InputError, match=r"state_dict: (is empty|holds no tensors); give"):
        read_checkpoint(source)


@pytest.mark.parametrize("source", [3, None, [], torch.zeros(2), object(), nn.Linear])
def test_things_that_are_no_checkpoint(source: Any) -> None:
    with pytest.raises(
        InputError, match=r"is no checkpoint; give a path, a mapping of names to tensors or an nn\.Module"
    ):
        read_checkpoint(source)


def test_a_description_is_returned_as_it_is() -> None:
    spec = StateDictSpec("x", (TensorSpec("w", (1,)),))
    assert read_checkpoint(spec) is spec
    assert read_model(spec).spec is spec


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_a_nested_tensor_is_refused_by_its_key(layout: torch.layout) -> None:
    nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=layout)
    module = torch.nn.Linear(2, 2)
    module.register_buffer("lists", nested)
    for source in ({"lists": nested, "weight": torch.zeros(2)}, {"model": {"lists": nested}}, module):
        with pytest.raises(InputError, match="'lists' is a nested tensor"):
            read_checkpoint(source)
    with pytest.raises(RuleError, match=r"key 'lists': .*this one is nested"):
        RuleSet((Rule("lists", "rows", op="transpose"),)).apply({"lists": nested})
    assert RuleSet((Rule("lists", "rows"),)).apply({"lists": nested})["rows"] is nested
