"""`automatch.load`: save, break the names, load; equal outputs are the proof, an untouched model the promise."""

import argparse
import copy
import datetime
import functools
import json
import os
import re
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import automatch
from automatch import InputError, NotProvenError
from automatch.applying.proof import meta_copy
from automatch.demo import old_names, small_densenet


class Net(nn.Module):
    """Shapes that tell every module from every other."""

    def __init__(self, classes: int = 7) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.body = nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.ReLU())
        self.head = nn.Linear(24, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.norm(self.stem(x))).mean((2, 3)))


def shaken(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.3 + 0.1)
    return model.eval()


def assert_same_outputs(one: nn.Module, other: nn.Module) -> None:
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(one.eval()(image), other.eval()(image), rtol=0, atol=0)


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(dict(model.state_dict()))


def assert_untouched(model: nn.Module, before: dict[str, torch.Tensor]) -> None:
    now = model.state_dict()
    assert now.keys() == before.keys()
    assert all(torch.equal(tensor, before[key]) for key, tensor in now.items())


def renamed(state_dict: dict[str, torch.Tensor]) -> OrderedDict[str, torch.Tensor]:
    """As another hand named it, wrapped in DataParallel."""
    words = {"stem": "conv1", "norm": "bn1", "body": "features", "head": "fc"}
    return OrderedDict(
        (re.sub(r"^(\w+)", lambda m: f"module.{words[m[1]]}", key), tensor) for key, tensor in state_dict.items()
    )


def wrapped(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"module.{key}": tensor for key, tensor in state_dict.items()}


def in_compressed_zip(state_dict, folder):
    """As a zip tool leaves it; mapped, it would give compressed bytes for weights."""
    torch.save(state_dict, folder / "stored.pt")
    packed = zipfile.ZipFile(folder / "a.pt", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(folder / "stored.pt") as stored, packed:
        for member in stored.infolist():
            packed.writestr(member.filename, stored.read(member))
    return folder / "a.pt"


def in_shards(state_dict, folder):
    keys = list(state_dict)
    parts = {"model-00001-of-00002.safetensors": keys[:4], "model-00002-of-00002.safetensors": keys[4:]}
    for name, own in parts.items():
        save_file({key: state_dict[key] for key in own}, folder / name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {key: name for name, own in parts.items() for key in own}}))
    return index


def in_nested_shards(state_dict, folder):
    keys = list(state_dict)
    parts = {"pytorch_model-1-of-2.bin": keys[:4], "pytorch_model-2-of-2.bin": keys[4:]}
    for name, own in parts.items():
        torch.save({"step": 3, "model": {key: state_dict[key] for key in own}}, folder / name)
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {key: name for name, own in parts.items() for key in own}}))
    return index


def in_safetensors(state_dict, folder):
    save_file(state_dict, folder / "a.safetensors")
    return str(folder / "a.safetensors")


def in_unpadded_safetensors(state_dict, folder):
    """The length of a header is any number: this one begins with the byte of a brace."""
    path = folder / "a.safetensors"
    save_file(state_dict, path)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = content[8:end].rstrip()
    header += b" " * ((ord("{") - len(header)) % 256)
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[end:])
    return path


def in_torch_zip(state_dict, folder):
    torch.save({"epoch": 1, "state_dict": state_dict}, folder / "a.pt")
    return folder / "a.pt"


def in_legacy_file(state_dict, folder):
    torch.save(state_dict, folder / "a.pth", _use_new_zipfile_serialization=False)
    return folder / "a.pth"


def in_folder(state_dict, folder):
    in_shards(state_dict, folder)
    return folder


def in_numpy_archive(state_dict, folder):
    arrays = {key: tensor.numpy() for key, tensor in state_dict.items()}
    arrays = {key: a.astype(a.dtype.newbyteorder(">")) if a.ndim > 1 else a for key, a in arrays.items()}
    numpy.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


def in_memory(state_dict, folder):
    return {"model": state_dict, "step": 3}


@pytest.mark.parametrize(
    "saved",
    [
        in_safetensors,
        in_unpadded_safetensors,
        in_torch_zip,
        in_compressed_zip,
        in_legacy_file,
        in_shards,
        in_nested_shards,
        in_folder,
        in_numpy_archive,
        in_memory,
    ],
    ids=lambda f: f.__name__,
)
def test_from_every_kind_of_source(saved, tmp_path) -> None:
    trained, model = shaken(Net()), Net()
    done = automatch.load(model, saved(renamed(trained.state_dict()), tmp_path))
    assert_same_outputs(trained, model)
    assert (done.left_keys, done.unused_keys) == ((), ())
    assert str(done) == "loaded 13 of 13 model keys"


def test_from_a_live_module() -> None:
    trained, model = shaken(Net()), Net()
    automatch.load(model, nn.DataParallel(trained))
    assert_same_outputs(trained, model)


def test_the_old_densenet(tmp_path) -> None:
    trained, model = shaken(small_densenet()), small_densenet()
    torch.save(old_names(trained.state_dict()), tmp_path / "old.pth")
    done = automatch.load(model, tmp_path / "old.pth")
    assert_same_outputs(trained, model)
    assert len(done.diagnosis.rules) == 1
    assert all(key.endswith("num_batches_tracked") for key in done.left_keys)
    assert str(done) == "loaded 196 of 235 model keys; left as they were: 39 harmless"


def test_parameters_stay_the_same_objects() -> None:
    """An optimizer that holds them goes on working; dtype and device stay those of the model."""
    trained, model = shaken(Net()), Net().half()
    before = dict(model.named_parameters())
    automatch.load(model, renamed(trained.state_dict()))
    assert all(before[name] is parameter for name, parameter in model.named_parameters())
    assert model.head.weight.dtype == torch.float16


def test_a_model_on_the_meta_device_gets_memory() -> None:
    trained = shaken(Net())
    with torch.device("meta"):
        model = Net()
    automatch.load(model, renamed(trained.state_dict()))
    assert_same_outputs(trained, model)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 4)
        self.mix = nn.Linear(4, 4)
        self.head = nn.Linear(4, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.mix(self.embed(x)))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_tied_weights_stay_tied(device) -> None:
    """A checkpoint that holds a shared tensor once, as safetensors files do."""
    trained = shaken(Tied())
    saved = wrapped({key: tensor for key, tensor in trained.state_dict().items() if key != "head.weight"})
    with torch.device(device):
        model = Tied()
    automatch.load(model, saved)
    words = torch.arange(11)
    with torch.no_grad():
        assert torch.equal(model(words), trained(words))
    assert torch.equal(model.head.weight, model.embed.weight)


@pytest.mark.parametrize("rename", [dict, wrapped])
def test_ties_hold_on_the_meta_device_where_the_file_has_both_keys(rename) -> None:
    trained = shaken(Tied())
    with torch.device("meta"):
        model = Tied()
    automatch.load(model, rename(trained.state_dict()))
    assert model.head.weight is model.embed.weight
    assert len(list(model.parameters())) == 3
    with torch.no_grad():
        assert torch.equal(model(torch.arange(11)), trained(torch.arange(11)))


def test_another_head_is_refused_and_nothing_is_touched() -> None:
    model = Net(classes=5)
    before = snapshot(model)
    with pytest.raises(NotProvenError, match="nothing was loaded") as raised:
        automatch.load(model, wrapped(shaken(Net()).state_dict()))
    assert_untouched(model, before)
    assert isinstance(raised.value.diagnosis, automatch.Diagnosis)
    assert {pair.key for pair in raised.value.diagnosis.mismatched_keys} <= {"head.weight", "head.bias"}


def test_not_strict_loads_the_rest_and_says_what_is_left() -> None:
    trained, model = shaken(Net()), Net(classes=5)
    before = snapshot(model)
    done = automatch.load(model, wrapped(trained.state_dict()), strict=False)
    assert done.left_keys == ("head.weight", "head.bias")
    assert done.unused_keys == ("module.head.weight", "module.head.bias")
    assert "11 of 13" in str(done) and "head.weight" in str(done) and "module.head.bias" in str(done)
    now = model.state_dict()
    for key, tensor in trained.state_dict().items():
        assert torch.equal(now[key], before[key] if key in done.left_keys else tensor), key


@pytest.mark.parametrize("strict", [True, False])
def test_where_next_to_nothing_fits_the_model_is_untouched(strict) -> None:
    other = nn.Sequential(nn.Linear(40, 31), nn.ReLU(), nn.Linear(31, 53), nn.LayerNorm(53), nn.Linear(53, 2))
    model = Net()
    before = snapshot(model)
    with pytest.raises(NotProvenError):
        automatch.load(model, other.state_dict(), strict=strict)
    assert_untouched(model, before)


def test_keys_alone_are_no_values(tmp_path) -> None:
    from automatch.reading import write_key_list

    path = tmp_path / "net.keys.json"
    path.write_text(write_key_list(automatch.read_keys(Net())))
    model = Net()
    before = snapshot(model)
    for source in (path, automatch.read_keys(Net())):
        with pytest.raises(InputError, match="values"):
            automatch.load(model, source)
    assert_untouched(model, before)


def test_only_a_module_can_be_filled(tmp_path) -> None:
    with pytest.raises(InputError, match=r"nn\.Module"):
        automatch.load("net.pt", tmp_path / "a.pt")


class Unwilling(nn.Linear):
    """Refuses what keys and shapes cannot show."""

    def _load_from_state_dict(self, state_dict, prefix, *rest) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        rest[-1].append("not this one")


@pytest.mark.parametrize("strict", [True, False])
def test_what_torch_refuses_is_found_before_the_model_is_touched(strict) -> None:
    model = nn.Sequential(nn.Linear(2, 3), Unwilling(3, 4))
    before = snapshot(model)
    with pytest.raises(NotProvenError, match="not this one"):
        automatch.load(model, nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)).state_dict(), strict=strict)
    assert_untouched(model, before)


class Shielded(nn.Module):
    """A buffer that repeats one number: its copy without memory can be loaded, it cannot be written to."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.register_buffer("mean", torch.zeros(1).expand(4))
        self.last = nn.Linear(3, 2)


class Checking(nn.Module):
    """Looks at its values once they are loaded."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.first = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("seen", torch.zeros(2), persistent=False)
        self.register_load_state_dict_post_hook(Checking.check)

    def check(self, _: object) -> None:
        if not self.first.weight.is_meta:
            self.seen += 1
            self.first.weight = nn.Parameter(self.first.weight + 1)
            raise self.error


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("build", "text"),
    [(Shielded, "written-to tensor"), (lambda: Checking(ValueError("not these")), "not these")],
    ids=["expanded buffer", "hook"],
)
def test_what_fails_half_way_is_undone(build, text, strict) -> None:
    model = build()
    before, parts = snapshot(model), dict(model.named_parameters())
    ones = {f"net.{key}": torch.ones_like(tensor) for key, tensor in model.state_dict().items()}
    with pytest.raises(NotProvenError, match=f"nothing was loaded: .*{text}") as raised:
        automatch.load(model, ones, strict=strict)
    assert_untouched(model, before)
    assert all(not buffer.any() for name, buffer in model.named_buffers() if name == "seen")
    assert all(parts[name] is parameter for name, parameter in model.named_parameters())
    assert isinstance(raised.value.diagnosis, automatch.Diagnosis)


def test_an_interruption_is_undone_and_goes_on() -> None:
    model = Checking(KeyboardInterrupt())
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt):
        automatch.load(model, {f"net.{key}": torch.ones_like(t) for key, t in model.state_dict().items()})
    assert_untouched(model, before)


class Counting(nn.Module):
    """Keeps something in the state_dict that is no tensor."""

    def __init__(self, seen: int = 0) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)
        self.seen = seen

    def get_extra_state(self) -> dict[str, int]:
        return {"seen": self.seen}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.seen = state["seen"]


def counting(seen: int = 0) -> nn.Module:
    return nn.Sequential(OrderedDict(body=Counting(seen), head=nn.Linear(4, 2)))


@pytest.mark.parametrize("rename", [dict, wrapped])
@pytest.mark.parametrize("saved", [in_memory, in_torch_zip], ids=lambda f: f.__name__)
def test_extra_states_come_along(rename, saved, tmp_path) -> None:
    trained, model = counting(7), counting()
    done = automatch.load(model, saved(rename(trained.state_dict()), tmp_path))
    assert done.diagnosis.exit_code == 0
    assert model.body.seen == 7
    assert torch.equal(model.head.weight, trained.head.weight)


def test_extra_states_that_the_file_lacks_are_no_hindrance() -> None:
    trained, model = counting(7), counting(5)
    tensors = {key: value for key, value in trained.state_dict().items() if isinstance(value, torch.Tensor)}
    automatch.load(model, tensors)
    assert model.body.seen == 5
    assert torch.equal(model.head.weight, trained.head.weight)


def test_the_proof_runs_torchs_strict_load() -> None:
    found = automatch.diagnose(renamed(Net().state_dict()), Net())
    assert found.complete and found.exit_code == 0
    assert found.strict_load is not None and found.strict_load.passed
    assert "load_state_dict(strict=True, assign=True)" in str(found)


def test_the_copy_for_the_proof_has_no_memory_and_leaves_the_model_alone() -> None:
    model = Net()
    model.cache = torch.rand(3)
    model.tables = [torch.rand(2)]
    before = snapshot(model)
    twin = meta_copy(model)
    assert twin is not None
    assert all(tensor.is_meta for tensor in [*twin.state_dict().values(), twin.cache])
    assert type(twin.head.weight) is nn.Parameter
    assert_untouched(model, before)


def test_a_module_that_cannot_be_copied_is_said_and_still_loaded() -> None:
    import threading

    trained, model = shaken(Net()), Net()
    model.lock = threading.Lock()
    done = automatch.load(model, renamed(trained.state_dict()))
    assert done.diagnosis.strict_load is not None
    assert done.diagnosis.strict_load.passed is None and "cannot be copied" in done.diagnosis.strict_load.message
    assert_same_outputs(trained, model)


class Attack:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_what_lies_beside_the_weights_need_not_be_known(tmp_path, monkeypatch) -> None:
    """A training script's own objects in the file: neither imported nor called, and no hindrance."""
    monkeypatch.chdir(tmp_path)
    trained, model = shaken(Net()), Net()
    arguments = argparse.Namespace(lr=0.1, path=Path("x"), made=functools.partial(print, "executed"))
    beside = {"hyper_parameters": arguments, "state_dict": trained.state_dict(), "when": datetime.date(2020, 1, 1)}
    torch.save(beside, "lightning.ckpt")
    automatch.load(model, "lightning.ckpt")
    assert_same_outputs(trained, model)
    torch.save({"state_dict": trained.state_dict(), "hook": Attack()}, "evil.ckpt")
    with pytest.raises(InputError, match="safe loader"):
        automatch.load(model, "evil.ckpt")
    assert not Path("executed").exists()


@pytest.mark.parametrize("how", ["list", "dict", "file"])
def test_averaged_parameters_in_a_list_are_loaded(tmp_path: Path, how: str) -> None:
    """torch_ema keeps `shadow_params`, the parameters in their order without names."""
    donor, model = shaken(Net()), Net()
    shadow = [parameter.detach().clone() for parameter in donor.parameters()]
    source: object = shadow if how == "list" else {"decay": 0.99, "shadow_params": shadow, "collected_params": []}
    if how == "file":
        torch.save(source, tmp_path / "ema.pt")
        source = tmp_path / "ema.pt"
    automatch.load(model, source, strict=False)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), shadow, strict=True))
