"""`--values`: what values say about ambiguous matches is told, and decides only where nothing else can be."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import automatch
from automatch.cli import main
from tests.learning.networks import trained


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleDict({"conv": nn.Conv2d(3, 24, 3, bias=False), "norm": nn.BatchNorm2d(24)})
                                    for _ in range(3))  # fmt: skip
        self.head = nn.Linear(24, 5)


def realistic() -> Net:
    """Norms as training leaves them: weights around one, biases around zero, variances above it."""
    torch.manual_seed(0)
    model = trained(Net())
    for key, tensor in model.state_dict().items():
        if "norm.weight" in key:
            tensor.copy_(1 + 0.1 * torch.randn_like(tensor))
    return model


def in_other_words(model: nn.Module, words: dict[str, str]) -> dict[str, torch.Tensor]:
    """The norms' tensors under names that say nothing, sorted by them; without the counters."""
    out = {}
    for key, tensor in model.state_dict().items():
        module, _, leaf = key.rpartition(".")
        if not key.endswith("tracked"):
            out[f"{module}.{words[leaf]}" if "norm" in key else key] = tensor
    return dict(sorted(out.items()))


SILENT = {"weight": "p2", "bias": "p0", "running_mean": "p3", "running_var": "p1"}


def test_statistics_turn_pairs_round_but_the_flag_stays() -> None:
    old = in_other_words(realistic(), SILENT)
    before = automatch.diagnose(old, Net())
    assert any(m.checkpoint_keys[0].endswith("p0") and m.model_keys[0].endswith("norm.weight") for m in before.doubtful)
    found = automatch.diagnose(old, Net(), values=True)
    places = {m.model_keys[0]: m for m in found.matches}
    for i in range(3):
        for leaf, word in SILENT.items():
            match = places[f"layers.{i}.norm.{leaf}"]
            assert match.ambiguous and "values" in match.reason
            if leaf in ("weight", "running_var"):  # nothing tells a bias from a mean
                assert match.checkpoint_keys == (f"layers.{i}.norm.{word}",)
    assert found.proof.ok and not found.complete


def test_what_is_negative_is_no_variance_and_that_decides() -> None:
    words = {"weight": "weight", "bias": "bias", "running_mean": "stat_b", "running_var": "stat_a"}
    old = in_other_words(realistic(), words)
    wrong = automatch.diagnose(old, Net())
    assert all(m.checkpoint_keys[0].endswith("_b") for m in wrong.doubtful if m.model_keys[0].endswith("var"))
    found = automatch.diagnose(old, Net(), values=True)
    for match in found.matches:
        if match.model_keys[0].endswith("running_var"):
            assert match.checkpoint_keys[0].endswith("stat_a") and not match.ambiguous
            assert "this decides" in match.reason and "without values" in match.reason
        if match.model_keys[0].endswith("running_mean"):
            assert match.checkpoint_keys[0].endswith("stat_b") and not match.ambiguous


def test_without_the_option_nothing_is_read_and_nothing_said() -> None:
    assert "values" not in str(automatch.diagnose(in_other_words(realistic(), SILENT), Net()))


def test_means_of_a_layer_behind_a_relu_could_be_variances_and_stay_open() -> None:
    model = realistic()
    for key, tensor in model.state_dict().items():
        if key.endswith("running_mean"):
            tensor.abs_()
    found = automatch.diagnose(in_other_words(model, SILENT), Net(), values=True)
    assert all(match.ambiguous for match in found.matches if match.model_keys[0].endswith(("_var", "_mean")))


class Twins(nn.Module):
    def __init__(self, names: str, bias: bool = False) -> None:
        super().__init__()
        for name in names:
            setattr(self, name, nn.Linear(8, 8, bias=bias))


@pytest.mark.parametrize("kind", ["module", "file"])
def test_a_model_with_pretrained_values_tells_which_is_which(kind, tmp_path) -> None:
    torch.manual_seed(0)
    theirs, ours = Twins("abc"), Twins("xyz")
    for new, old in zip("xyz", "cab", strict=True):  # trained a little further
        weight = getattr(theirs, old).weight.data
        getattr(ours, new).weight.data = weight + 0.05 * weight.std() * torch.randn_like(weight)
    save_file(theirs.state_dict(), tmp_path / "old.safetensors")
    save_file(ours.state_dict(), tmp_path / "ours.safetensors")
    assert automatch.diagnose(theirs.state_dict(), ours).doubtful
    model = ours if kind == "module" else tmp_path / "ours.safetensors"
    found = automatch.diagnose(tmp_path / "old.safetensors", model, values=True)
    assert {m.model_keys[0][0]: m.checkpoint_keys[0][0] for m in found.matches} == {"x": "c", "y": "a", "z": "b"}
    assert not found.doubtful and all("values: they follow each other" in m.reason for m in found.matches)


def test_a_bias_goes_with_the_weight_that_values_decide() -> None:
    """It has too few elements to be compared, and names had put it crosswise."""
    torch.manual_seed(0)
    theirs, ours = Twins("abc", bias=True), Twins("xyz", bias=True)
    for new, old in zip("xyz", "cab", strict=True):
        getattr(ours, new).load_state_dict(getattr(theirs, old).state_dict())
    found = automatch.diagnose(theirs.state_dict(), ours, values=True)
    assert {m.model_keys[0]: m.checkpoint_keys[0] for m in found.matches} == {
        f"{new}.{leaf}": f"{old}.{leaf}" for new, old in zip("xyz", "cab", strict=True) for leaf in ("weight", "bias")
    }
    assert not found.doubtful


def test_a_fresh_model_says_nothing() -> None:
    torch.manual_seed(0)
    old = Twins("abc").state_dict()
    assert automatch.diagnose(old, Twins("xyz"), values=True).matches == automatch.diagnose(old, Twins("xyz")).matches
    with torch.device("meta"):
        nowhere = Twins("xyz")
    assert automatch.diagnose(old, nowhere, values=True).doubtful


def test_a_key_list_has_no_values(tmp_path, capsys) -> None:
    save_file(Twins("abc").state_dict(), tmp_path / "old.safetensors")
    assert main(["keys", str(tmp_path / "old.safetensors"), "-o", str(tmp_path / "old.keys.json")]) == 0
    assert main([str(tmp_path / "old.safetensors"), str(tmp_path / "old.keys.json"), "--values"]) == 0
    assert main([str(tmp_path / "old.keys.json"), str(tmp_path / "old.safetensors"), "--values"]) == 2
    assert "no values" in capsys.readouterr().err
