"""Modules that look at the version they were saved with get it, under their new names too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import automatch
from automatch.reading import write_key_list


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


class Insisting(Turned):
    """Loads nothing that does not say its version, as torchvision's MNASNet does."""

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: dict[str, Any], *args: Any
    ) -> None:
        if metadata.get("version") not in (1, 2):
            raise ValueError(f"version shall be 1 or 2 instead of {metadata.get('version')}")
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


def saved_as(state: dict[str, Any], way: str, folder: Path) -> object:
    """A state_dict as the checkpoint of one kind of file, or of none."""
    if way == "dict":
        return state
    path = folder / "saved.pth"
    if way == "shards":
        names = list(state)
        for number, keys in enumerate((names[:1], names[1:])):
            part = state.copy()  # with its versions
            for key in names:
                if key not in keys:
                    del part[key]
            part._metadata = state._metadata
            torch.save(part, folder / f"part-{number}.bin")
        path = folder / "pytorch_model.bin.index.json"
        path.write_text(json.dumps({"weight_map": {key: f"part-{int(key not in names[:1])}.bin" for key in names}}))
    elif way == "nested":
        torch.save({"epoch": 1, "model": state}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=way == "zip")
    return path


@pytest.mark.parametrize("way", ["dict", "zip", "legacy", "nested", "shards"])
def test_the_proof_hands_over_the_versions_of_the_checkpoint(way: str, tmp_path: Path) -> None:
    saved = nn.ModuleDict({"a": Insisting(), "b": nn.Linear(4, 3)})
    model = nn.ModuleDict({"c": Insisting(), "d": nn.Linear(4, 3)})
    source = saved_as(saved.state_dict(), way, tmp_path)
    diagnosis = automatch.diagnose(source, model)
    assert diagnosis.strict_load.passed, diagnosis.strict_load
    assert automatch.check(diagnosis.rules, source, model).complete
    keys = tmp_path / "saved.keys.json"
    keys.write_text(write_key_list(automatch.read_keys(source)))
    assert automatch.check(diagnosis.rules, keys, model).complete
    automatch.load(model, source)
    assert torch.equal(model["c"].weight, saved["a"].weight)


class Whole(Insisting):
    """Insists as the whole model, beside a part of the first version."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)


@pytest.mark.parametrize("way", ["taken off", "put on", "exchanged"])
def test_the_whole_model_has_a_version_under_every_wrapper(way: str, tmp_path: Path) -> None:
    saved, model = Whole(), Whole()
    given = saved if way == "put on" else nn.ModuleDict({"module": saved})
    wanted = model if way == "taken off" else nn.ModuleDict({"backbone": model})
    path = tmp_path / "saved.pth"
    torch.save(given.state_dict(), path)
    assert automatch.diagnose(path, wanted).strict_load.passed
    automatch.load(wanted, path)
    assert torch.equal(model.weight, saved.weight)


def test_a_module_that_insists_on_a_version_is_refused_where_there_is_none(tmp_path: Path) -> None:
    saved, model = nn.ModuleDict({"a": Insisting()}), nn.ModuleDict({"c": Insisting()})
    save_file(saved.state_dict(), tmp_path / "saved.safetensors")
    strict_load = automatch.diagnose(tmp_path / "saved.safetensors", model).strict_load
    assert strict_load.passed is False and "instead of None" in strict_load.message


def test_versions_of_a_pickle_are_read_as_data(tmp_path: Path) -> None:
    """What is no text or number there is left out, and nothing of it is imported."""
    state = nn.ModuleDict({"a": Turned()}).state_dict()
    state._metadata["a"] |= {"kind": "old", "path": Path("x"), "nested": {"version": 3}}
    state._metadata[7] = {"version": 1}
    torch.save(state, tmp_path / "saved.pth")
    assert automatch.read_keys(tmp_path / "saved.pth").versions == {
        "": {"version": 1},
        "a": {"version": 2, "kind": "old"},
    }


@pytest.mark.parametrize("dialect", ["python", "hook", "load-from-state-dict"])
def test_what_leaves_versions_behind_says_so(dialect: str) -> None:
    saved, model = nn.ModuleDict({"a": Insisting()}), nn.ModuleDict({"c": Insisting()})
    text = automatch.diagnose(saved.state_dict(), model).export(dialect)
    assert "_metadata" in text.partition("import")[0]
    names: dict[str, Any] = {}
    exec(text, names)
    state = saved.state_dict()
    if dialect == "python":
        state = names["convert"](state)
    elif dialect == "hook":
        names["register_old_keys"](model)
    else:
        model = type("Net", (names["OldKeys"], nn.ModuleDict), {})({"c": Insisting()})
    with pytest.raises(ValueError, match="instead of None"):
        model.load_state_dict(state)
