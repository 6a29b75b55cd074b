"""Lists of tensors without names: the order in which a model holds the same shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import nn

from automatch.matching import match
from automatch.matching.assignment import Assignment
from automatch.reading import read_model
from tests.matching.built import built
from tests.matching.truth import found, honest, solved, spec, truth


def network() -> nn.Module:
    """Convolutions and norms of several sizes, of which many are alike."""
    modules: dict[str, nn.Module] = {"stem": nn.Conv2d(3, 8, 3)}
    for i, width in enumerate((8, 8, 12)):
        modules[f"body.{i}.norm"] = nn.BatchNorm2d(8)
        modules[f"body.{i}.conv"] = nn.Conv2d(8, width if i == 2 else 8, 3)
    return built({**modules, "head": nn.Linear(12, 10)})


def listed(keys: Iterable[str], state: dict[str, torch.Tensor], name: str = "arr_{}") -> dict[str, torch.Tensor]:
    return {name.format(i): state[key] for i, key in enumerate(keys)}


def is_learnt(key: str) -> bool:
    return not key.endswith(("running_mean", "running_var", "num_batches_tracked"))


@pytest.mark.parametrize("name", ["arr_{}", "shadow_params.{}", "p{}", "tensor{:04}"])
@pytest.mark.parametrize(
    ("order", "kept"),
    [(list, lambda key: True), (list, is_learnt), (sorted, lambda key: True)],
    ids=["state_dict", "parameters", "sorted by name"],
)
def test_a_list_is_read_in_the_order_that_fits(
    name: str, order: Callable[[Iterable[str]], list[str]], kept: Callable[[str], bool]
) -> None:
    model = network()
    keys = [key for key in order(model.state_dict()) if kept(key)]
    checkpoint = listed(keys, model.state_dict(), name)
    assignment = solved(checkpoint, model, truth(zip(checkpoint, keys, strict=True)))
    assert not assignment.unexpected_keys
    assert set(assignment.missing_keys) == set(model.state_dict()) - set(keys)


def test_a_list_that_two_orders_fit_is_not_read_by_its_order() -> None:
    """Sorted by name or as declared, the shapes are the same, and the pairs are not."""
    alike = {name: nn.Linear(8, 8, bias=False) for name in "hgfedcba"}
    model = built({"0in": nn.Linear(4, 8, bias=False), **alike, "zout": nn.Linear(8, 3, bias=False)})
    keys = list(model.state_dict())
    checkpoint = listed(keys, model.state_dict())
    assert all("a list without names" not in one.reason for one in match(spec(checkpoint), spec(model)).matches)


def test_a_pin_is_heard_in_a_list() -> None:
    model = network()
    keys = list(model.state_dict())
    checkpoint = listed(keys, model.state_dict())
    swapped: Assignment = match(spec(checkpoint), spec(model), pin=[("arr_2", "body.1.norm.weight")])
    assert found(swapped)[("body.1.norm.weight",)].checkpoint == ("arr_2",)


def test_a_list_with_a_tensor_less_is_not_taken_for_whole() -> None:
    model = network()
    keys = list(model.state_dict())
    checkpoint = listed(keys, model.state_dict())
    del checkpoint["arr_3"]
    assert honest(checkpoint, model, truth((f"arr_{i}", key) for i, key in enumerate(keys) if i != 3)).missing_keys


def test_modules_that_are_only_numbered_are_no_list_of_tensors() -> None:
    """`net.2.weight` is a module's, and the numbers of the other side count as well."""
    checkpoint = [("net.0.weight", (16, 4)), *((f"net.{i}.weight", (16, 16)) for i in range(1, 7))]
    checkpoint += [("net.7.weight", (3, 16)), ("net.8.weight", (5, 3))]
    model = [("stem.weight", (16, 4)), *((f"fc{i}.weight", (16, 16)) for i in (1, 3, 2, 4, 5, 6))]
    model += [("fc7.weight", (3, 16)), ("fc8.weight", (5, 3))]
    pairs = {"net.0.weight": "stem.weight"} | {f"net.{i}.weight": f"fc{i}.weight" for i in range(1, 9)}
    honest(checkpoint, model, truth(pairs.items()))


def test_a_pin_that_a_list_agrees_with_leaves_it_a_list() -> None:
    model = network()
    keys = list(model.state_dict())
    checkpoint = listed(keys, model.state_dict())
    solved(checkpoint, model, truth(zip(checkpoint, keys, strict=True)), pin=[("arr_0", keys[0])])


def test_what_is_tied_stands_in_a_list_once() -> None:
    """`parameters()` gives a shared tensor once, `state_dict()` under both of its keys."""
    model = nn.Module()
    model.embed = nn.Embedding(30, 8)
    model.body = nn.Sequential(*(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 8), nn.LayerNorm(8)))
    model.head = nn.Linear(8, 30, bias=False)
    model.head.weight = model.embed.weight
    checkpoint = {f"param_{i}": parameter.detach() for i, parameter in enumerate(model.parameters())}
    keys = [key for key in model.state_dict() if key != "head.weight"]
    expected = truth(zip(checkpoint, keys, strict=True)) | truth([("param_0", "head.weight")])
    assert found(match(spec(checkpoint), read_model(model).spec)) == expected
