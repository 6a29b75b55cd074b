"""A module that was pickled whole (`torch.save(model)`): its weights are loaded, its class is never imported."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import automatch

CODE = """
import sys, torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU())
        self.head = nn.Linear(4, 2)
        self.register_buffer("hidden", torch.ones(2), persistent=False)
        self.register_buffer("seen", torch.ones(2))
        self.none = None

torch.manual_seed(0)
net = Net()
torch.save(net, "whole.pth")
torch.save({"epoch": 1, "model": net}, "inside.pth")
torch.save(net.state_dict(), "plain.pth")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Files written by another process, whose classes are not here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "training_code.py").write_text(CODE)
    subprocess.run([sys.executable, "-c", "import training_code"], check=True)
    return tmp_path


class Same(nn.Module):
    """Today's model."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.GELU())
        self.head = nn.Linear(4, 2)
        self.register_buffer("seen", torch.zeros(2))


@pytest.mark.parametrize("name", ["whole.pth", "inside.pth"])
def test_its_weights_are_loaded_and_nothing_is_imported(name, folder) -> None:
    (folder / "training_code.py").write_text("raise SystemExit('imported')")
    model = Same()
    loaded = automatch.load(model, name)
    assert not loaded.left_keys
    for key, tensor in torch.load("plain.pth", weights_only=True).items():
        assert torch.equal(model.state_dict()[key], tensor), key


def test_a_whole_module_is_not_rewritten(folder) -> None:
    rules = automatch.RuleSet((automatch.Rule("head.(?P<a>.+)", "fc.{a}"),))
    with pytest.raises(automatch.InputError, match=r"whole\.pth.*whole module") as raised:
        automatch.convert(rules, "whole.pth", "out.pth")
    assert "weights_only=False" not in str(raised.value)
    assert not Path("out.pth").exists()
