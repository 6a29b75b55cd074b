"""Modules that look at the version they were saved with get it, under their new names too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import automatch


class Turned(nn.Module):
    """Its first version stored the weight transposed, which it mends when it is loaded."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: dict[str, Any], *args: Any
    ) -> None:
        if (metadata.get("version") or 1) < 2:
            state_dict[f"{prefix}weight"] = state_dict[f"{prefix}weight"].T
        super()._load_from_state_dict(state_dict, prefix, metadata, *args)


def network(first: str, last: str) -> nn.Module:
    return nn.ModuleDict({first: nn.ModuleDict({"turned": Turned()}), last: nn.Linear(4, 3)})


@pytest.mark.parametrize(
    ("names", "way"),
    [(("encoder", "head"), way) for way in ("file", "dict", "rules")]
    + [(("enc", "out"), way) for way in ("file", "dict", "rules", "convert")],
)
def test_a_new_checkpoint_is_not_taken_for_an_old_one(names: tuple[str, str], way: str, tmp_path: Path) -> None:
    saved, model = network("encoder", "head"), network(*names)
    path = tmp_path / "saved.pth"
    torch.save(saved.state_dict(), path)
    if way in ("file", "dict"):
        automatch.load(model, path if way == "file" else saved.state_dict())
    else:
        rules = automatch.diagnose(path, model).rules
        state = rules.apply(saved.state_dict())
        if way == "convert":
            automatch.convert(rules, path, tmp_path / "new.pth")
            state = torch.load(tmp_path / "new.pth", weights_only=True)
        model.load_state_dict(state)
    assert torch.equal(model[names[0]].turned.weight, saved.encoder.turned.weight)


def test_a_checkpoint_without_versions_gets_none(tmp_path: Path) -> None:
    """As with torch: what says nothing of versions is old."""
    saved, model = network("encoder", "head"), network("enc", "out")
    plain = dict(saved.state_dict())
    rules = automatch.diagnose(plain, model).rules
    assert not hasattr(rules.apply(plain), "_metadata")
    automatch.load(model, plain)
    assert torch.equal(model.enc.turned.weight, saved.encoder.turned.weight.T)
