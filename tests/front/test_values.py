"""Where names and shapes fit and the values do not: quantised weights, and one tensor that the checkpoint has twice."""

import copy

import pytest
import torch
from torch import nn

import automatch


class Tied(nn.Module):
    """A language model whose head is its embedding."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 7, bias=False)
        if tied:
            self.head.weight = self.embed.weight


def test_two_tensors_for_a_tied_model_are_said_and_refused(tmp_path) -> None:
    model, given = Tied(True), Tied(False)
    before = copy.deepcopy(model.state_dict())
    torch.save(given.state_dict(), tmp_path / "a.pt")
    found = automatch.diagnose(tmp_path / "a.pt", model)
    assert "one tensor in the model" in str(found) and found.to_dict()["notes"]
    with pytest.raises(automatch.NotProvenError, match=r"embed\.weight and head\.weight are one tensor"):
        automatch.load(model, tmp_path / "a.pt")
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    loaded = automatch.load(model, tmp_path / "a.pt", strict=False)
    assert "the first was taken" in str(loaded) and loaded.unused_keys == ("head.weight",)
    assert "head.weight" not in (*loaded.loaded_keys, *loaded.left_keys)  # it holds the embedding now
    assert torch.equal(model.embed.weight, given.embed.weight)  # the head is lost, not the embedding


def test_two_equal_tensors_are_loaded(tmp_path) -> None:
    model, given = Tied(True), Tied(False)
    given.head.weight = nn.Parameter(given.embed.weight.detach().clone())
    automatch.load(model, given.state_dict())
    assert torch.equal(model.head.weight, given.head.weight)
    assert model.head.weight is model.embed.weight


def test_one_tensor_under_two_keys_is_nothing_to_speak_of(tmp_path) -> None:
    torch.save(Tied(True).state_dict(), tmp_path / "a.pt")
    found = automatch.diagnose(tmp_path / "a.pt", Tied(True))
    assert found.complete and not found.notes


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))


def test_whole_numbers_are_no_weights() -> None:
    given = net().state_dict()
    given["0.weight"] = given["0.weight"].to(torch.int8)
    found = automatch.diagnose(given, net())
    assert not found.complete and found.exit_code == 1
    assert "int8" in found.verdict and "float32" in found.verdict and "gradient" not in str(found)
    assert found.to_dict()["mismatched_dtypes"] == [
        {"key": "0.weight", "checkpoint_key": "0.weight", "checkpoint_dtype": "int8", "model_dtype": "float32"}
    ]
    with pytest.raises(automatch.NotProvenError, match="int8"):
        automatch.load(net(), given)
    assert automatch.load(net(), given, strict=False).left_keys == ("0.weight",)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precisions_and_counters_may_differ(dtype) -> None:
    given = {key: tensor.to(dtype) for key, tensor in net().state_dict().items()}
    assert automatch.diagnose(given, net()).complete
    counted = net().state_dict()
    counted["1.num_batches_tracked"] = counted["1.num_batches_tracked"].to(torch.int32)
    assert automatch.diagnose(counted, net()).complete
