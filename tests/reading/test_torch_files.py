"""Files that torch wrote: the same keys, shapes and dtypes as torch.load finds, without loading anything."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from automatch.errors import InputError, UnsafeInputError
from automatch.reading import read_checkpoint
from automatch.spec import StateDictSpec

pytestmark = pytest.mark.filterwarnings("ignore")  # torch deprecates what old files hold
BOTH = pytest.mark.parametrize("new_zip", [True, False], ids=["zip", "legacy"])


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(3, dtype=torch.bool), persistent=False)
        self.register_buffer("steps", torch.tensor(3))
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.empty = None
        self.head = nn.Linear(4, 2, bias=False)


def save(value: object, path: Path, new_zip: bool = True, **options: Any) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=new_zip, **options)
    return path


def rows(spec: StateDictSpec) -> list[tuple[str, tuple[int, ...], str]]:
    return [(t.key, t.shape, t.dtype) for t in spec.tensors]


def torch_rows(state_dict: dict[str, torch.Tensor]) -> list[tuple[str, tuple[int, ...], str]]:
    return [(key, tuple(t.shape), str(t.dtype).removeprefix("torch.")) for key, t in state_dict.items()]


DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip
NEWER_DTYPES = [  # torch itself cannot load them from a legacy file
    torch.uint16, torch.uint32, torch.uint64,
    torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
]  # fmt: skip


@BOTH
def test_every_dtype(tmp_path: Path, new_zip: bool) -> None:
    dtypes = DTYPES + NEWER_DTYPES * new_zip
    state_dict = {f"t.{i}": torch.zeros(2, 3).to(dtype) for i, dtype in enumerate(dtypes)}
    path = save(state_dict, tmp_path / "a.pt", new_zip)
    assert rows(read_checkpoint(path)) == torch_rows(torch.load(path, weights_only=True))


@BOTH
def test_every_kind_of_tensor(tmp_path: Path, new_zip: bool) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    state_dict: dict[str, Any] = {
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 3),
        "view": base[1:3, ::2],
        "transposed": base.t(),
        "expanded": torch.ones(1).expand(1000),
        "parameter": nn.Parameter(torch.ones(2)),
        "buffer": nn.Buffer(torch.ones(2)),
        "with attribute": torch.ones(2),
        "conjugated": torch.zeros(2, dtype=torch.complex64).conj(),
        "sparse": torch.eye(3).to_sparse(),
        "compressed": torch.eye(3).to_sparse_csr(),
        "meta": torch.zeros(5, 6, device="meta"),
        "name with ü and\nnewline": torch.zeros(1),
        "": torch.zeros(2),
    }
    state_dict["with attribute"].note = "kept by torch"
    path = save(state_dict, tmp_path / "a.pt", new_zip)
    assert rows(read_checkpoint(path)) == torch_rows(torch.load(path, weights_only=True))


@BOTH
def test_quantised_tensors(tmp_path: Path, new_zip: bool) -> None:
    ones = torch.ones(4, 2)
    state_dict = {
        "per tensor": torch.quantize_per_tensor(ones, 0.1, 0, torch.qint8),
        "unsigned": torch.quantize_per_tensor(ones, 0.1, 0, torch.quint8),
        "wide": torch.quantize_per_tensor(ones, 0.1, 0, torch.qint32),
        "per channel": torch.quantize_per_channel(ones, torch.ones(4), torch.zeros(4), 0, torch.qint8),
        "half bytes": torch.quantize_per_channel(ones, torch.ones(4), torch.zeros(4), 0, torch.quint4x2),
    }
    path = save(state_dict, tmp_path / "a.pt", new_zip)
    assert rows(read_checkpoint(path)) == torch_rows(torch.load(path, weights_only=True))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@BOTH
def test_every_pickle_protocol(tmp_path: Path, new_zip: bool, protocol: int) -> None:
    model = Block()
    path = save(model.state_dict(), tmp_path / "a.pt", new_zip, pickle_protocol=protocol)
    assert rows(read_checkpoint(path)) == torch_rows(model.state_dict())
    assert read_checkpoint(path).notes == ()


@BOTH
def test_state_dict_of_a_real_model(tmp_path: Path, new_zip: bool) -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2)
    path = save(model.state_dict(), tmp_path / "a.pt", new_zip)
    spec = read_checkpoint(path)
    assert rows(spec) == torch_rows(model.state_dict())
    assert (spec.name, spec.at, spec.notes) == (str(path), "", ())


@BOTH
def test_many_tensors_use_the_long_form_of_the_memo(tmp_path: Path, new_zip: bool) -> None:
    state_dict = OrderedDict((f"layers.{i}.weight", torch.zeros(i % 5, 2)) for i in range(1500))
    path = save(state_dict, tmp_path / "a.pt", new_zip)
    assert rows(read_checkpoint(path)) == torch_rows(state_dict)


@BOTH
def test_tied_weights_are_seen_and_views_are_not(tmp_path: Path, new_zip: bool) -> None:
    weight = torch.zeros(4, 4)
    state_dict = {"embed": weight, "half": weight[:2], "same view": weight[:], "other": weight.clone(), "head": weight}
    path = save(state_dict, tmp_path / "a.pt", new_zip)
    tied = {t.key: t.tied for t in read_checkpoint(path).tensors}
    assert tied == {"embed": None, "half": None, "same view": "embed", "other": None, "head": "embed"}


@BOTH
def test_a_whole_pickled_module_gives_the_keys_of_its_state_dict(tmp_path: Path, new_zip: bool) -> None:
    model = nn.Sequential(Block(), nn.DataParallel(Block()), nn.GRU(3, 4, num_layers=2))
    model[1].module.head.weight = model[0].head.weight
    path = save(model, tmp_path / "a.pt", new_zip)
    spec, live = read_checkpoint(path), read_checkpoint(model)
    assert spec.tensors == live.tensors
    assert any("whole module (torch.nn.modules.container.Sequential)" in note for note in spec.notes)
    assert any("Block" in note and "nothing of it was imported or executed" in note for note in spec.notes)


@BOTH
def test_entries_that_are_no_tensors_are_left_out_and_named(tmp_path: Path, new_zip: bool) -> None:
    state_dict = {"weight": torch.zeros(2), "_extra_state": {"scale": 1.0}, "step": 7}
    spec = read_checkpoint(save(state_dict, tmp_path / "a.pt", new_zip))
    assert spec.keys == ("weight",)
    assert spec.notes == ("not tensors, left out: _extra_state, step",)


@BOTH
def test_arrays_in_a_torch_file(tmp_path: Path, new_zip: bool) -> None:
    numpy = pytest.importorskip("numpy")
    arrays = {"w": numpy.zeros((2, 3), "float32"), "n": numpy.zeros(4, "int64"), "b": numpy.zeros(1, "bool")}
    spec = read_checkpoint(save({"model": arrays, "score": numpy.float64(0.5)}, tmp_path / "a.pt", new_zip))
    assert rows(spec) == [("w", (2, 3), "float32"), ("n", (4,), "int64"), ("b", (1,), "bool")]
    assert (spec.at, spec.notes) == ("model", ())


@BOTH
def test_the_suffix_does_not_matter(tmp_path: Path, new_zip: bool) -> None:
    path = save({"w": torch.zeros(2)}, tmp_path / "model.safetensors", new_zip)
    assert read_checkpoint(path).keys == ("w",)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@BOTH
def test_truncated_files(tmp_path: Path, new_zip: bool, share: float) -> None:
    path = save(Block().state_dict(), tmp_path / "a.pt", new_zip)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"a\.pt: .*(truncated|ends too early|damaged)"):
        read_checkpoint(path)


def test_bytes_behind_a_legacy_file_are_noted(tmp_path: Path) -> None:
    path = save({"w": torch.zeros(2)}, tmp_path / "a.pt", new_zip=False)
    path.write_bytes(path.read_bytes() + b"more")
    assert read_checkpoint(path).notes == ("4 bytes follow the last storage",)


def test_a_legacy_storage_that_lies_about_its_size(tmp_path: Path) -> None:
    path = save({"w": torch.zeros(2)}, tmp_path / "a.pt", new_zip=False)
    data = path.read_bytes()
    path.write_bytes(data[:-16] + (3).to_bytes(8, "little") + data[-8:])
    with pytest.raises(UnsafeInputError, match="says 3 elements but its tensors say 2"):
        read_checkpoint(path)


def test_torchscript_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.script(nn.Linear(2, 2)).save(str(path))
    with pytest.raises(InputError, match=r"TorchScript archive.*torch\.save\(model\.state_dict\(\), FILE\)"):
        read_checkpoint(path)


def test_exported_programs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), path)
    with pytest.raises(InputError, match=r"exported program \(\.pt2\).*state_dict"):
        read_checkpoint(path)


@BOTH
def test_a_file_without_tensors(tmp_path: Path, new_zip: bool) -> None:
    path = save({"epoch": 3, "config": {"lr": 0.1}}, tmp_path / "a.pt", new_zip)
    with pytest.raises(InputError, match=r"a\.pt: holds no tensors"):
        read_checkpoint(path)


@BOTH
def test_keys_that_are_not_strings(tmp_path: Path, new_zip: bool) -> None:
    path = save({"w": torch.zeros(2), 7: torch.zeros(2)}, tmp_path / "a.pt", new_zip)
    with pytest.raises(InputError, match="key 7 is not a string"):
        read_checkpoint(path)
