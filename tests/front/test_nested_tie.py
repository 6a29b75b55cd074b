"""Two dicts with the same keys and shapes in one checkpoint: nothing tells which is meant, so a person must."""

import pytest
import torch
from torch import nn

import automatch


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    nets = {name: nn.Linear(3, 2).state_dict() for name in ("model", "model_ema")}
    torch.save({"epoch": 1, **nets}, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def test_the_report_names_both_and_the_way_out(path) -> None:
    text = str(automatch.diagnose(path, nn.Linear(3, 2)))
    assert "`model` and `model_ema`" in text and "nothing tells them apart" in text and "--at" in text


@pytest.mark.parametrize("strict", [True, False])
def test_load_does_not_choose(strict, path) -> None:
    model = nn.Linear(3, 2)
    with pytest.raises(automatch.NotProvenError, match="'model' and 'model_ema'") as raised:
        automatch.load(model, path, strict=strict)
    assert raised.value.diagnosis.matches and not raised.value.diagnosis.complete
    automatch.load(model, path, at="model_ema", strict=strict)
    assert torch.equal(model.weight, torch.load(path, weights_only=True)["model_ema"]["weight"])


def test_a_dict_that_differs_is_no_rival(tmp_path) -> None:
    torch.save({"model": nn.Linear(3, 2).state_dict(), "ema": nn.Linear(3, 4).state_dict()}, tmp_path / "b.pt")
    automatch.load(nn.Linear(3, 2), tmp_path / "b.pt")
