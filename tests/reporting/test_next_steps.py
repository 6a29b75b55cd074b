"""What the report advises can be done."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

import automatch
from automatch.reading import write_key_list


def next_of(diagnosis: automatch.Diagnosis) -> str:
    return str(diagnosis).rpartition("\nnext\n")[2]


def wrapped() -> dict:
    return {f"module.{key}": tensor for key, tensor in nn.Linear(3, 2).state_dict().items()}


def test_a_key_list_is_never_loaded_or_rewritten(tmp_path) -> None:
    path = tmp_path / "a.keys.json"
    path.write_text(write_key_list(automatch.read_keys(wrapped())))
    for model in (nn.Linear(3, 2), nn.Linear(3, 5)):
        text = str(automatch.diagnose(path, model))
        assert "automatch.load" not in text and "apply rules.json" not in text
    assert "-o rules.json" in next_of(automatch.diagnose(path, nn.Linear(3, 2)))


def test_only_what_can_be_rewritten_is(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(wrapped(), "a.pt")
    assert "automatch apply rules.json a.pt OUT" in next_of(automatch.diagnose("a.pt", nn.Linear(3, 2)))
    assert "automatch apply" not in next_of(automatch.diagnose(wrapped(), nn.Linear(3, 2)))
    assert "automatch.load(model, checkpoint)" in next_of(automatch.diagnose(wrapped(), nn.Linear(3, 2)))
    np.savez("a.npz", **{key: tensor.numpy() for key, tensor in wrapped().items()})
    found = automatch.diagnose("a.npz", nn.Linear(3, 2))
    assert "automatch.load" in next_of(found) and "automatch apply" not in next_of(found)
    torch.save(nn.Sequential(nn.Linear(3, 2)), "whole.pt")
    found = automatch.diagnose(Path("whole.pt"), nn.Linear(3, 2))
    assert "automatch.load" in next_of(found) and "automatch apply" not in next_of(found)


def test_equal_shapes_are_no_size_mismatch() -> None:
    model = {"fc.weight": torch.zeros(3, 2), "other.weight": torch.zeros(4, 7)}
    given = {f"module.{key}": tensor for key, tensor in model.items()}
    found = automatch.diagnose(given, model, forbid="module.fc.weight=fc.weight")
    assert not found.mismatched_keys and "size mismatch" not in str(found)
    assert (found.missing_keys, found.unexpected_keys) == (("fc.weight",), ("module.fc.weight",))


def test_of_two_dicts_that_fit_alike_one_must_be_chosen(tmp_path, monkeypatch) -> None:
    """Nothing tells a generator from a discriminator of the same keys and shapes: that is no complete answer."""
    monkeypatch.chdir(tmp_path)
    torch.save({"generator": wrapped(), "discriminator": wrapped()}, "gan.pt")
    found = automatch.diagnose("gan.pt", nn.Linear(3, 2))
    assert not found.complete and found.exit_code == 1
    assert "--at generator" in next_of(found) and "--at discriminator" in next_of(found)
    assert automatch.diagnose("gan.pt", nn.Linear(3, 2), at="discriminator").complete
