"""Shards, their index, and folders as the libraries lay them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from automatch.errors import InputError, UnsafeInputError
from automatch.reading import read_checkpoint

Shards = dict[str, list[str]]


def write(folder: Path, shards: Shards, index: str | None = "model.safetensors.index.json", **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, keys in shards.items():
        state_dict = {key: torch.zeros(2, 3) for key in keys}
        if name.endswith(".safetensors"):
            save_file(state_dict, folder / name)
        else:
            torch.save(state_dict, folder / name)
    weight_map = {key: name for name, keys in shards.items() for key in keys} | changes
    path = folder / (index or "none")
    if index:
        path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": dict(sorted(weight_map.items()))}))
    return path


THREE = {f"model-{i:05}-of-00003.safetensors": [f"layers.{i}.a", f"layers.{i}.b"] for i in (1, 2, 3)}


def test_safetensors_shards(tmp_path: Path) -> None:
    spec = read_checkpoint(write(tmp_path, THREE))
    assert spec.keys == ("layers.1.a", "layers.1.b", "layers.2.a", "layers.2.b", "layers.3.a", "layers.3.b")
    assert spec.origin == "index and 3 shards, headers only"
    assert spec.tensors[0].shape == (2, 3)
    assert read_checkpoint(tmp_path).tensors == spec.tensors


def test_torch_shards_keep_the_order_of_the_state_dict(tmp_path: Path) -> None:
    shards = {f"pytorch_model-{i}-of-12.bin": [f"z.{i}", f"a.{i}"] for i in range(1, 13)}
    spec = read_checkpoint(write(tmp_path, shards, "pytorch_model.bin.index.json"))
    assert spec.keys == tuple(f"{name}.{i}" for i in range(1, 13) for name in "za")
    assert read_checkpoint(tmp_path).keys == spec.keys


def test_an_index_without_metadata_or_under_another_name(tmp_path: Path) -> None:
    path = write(tmp_path, THREE)
    path.write_text(json.dumps({"weight_map": json.loads(path.read_text())["weight_map"]}))
    other = path.rename(tmp_path / "index.json")
    assert len(read_checkpoint(other)) == 6


def test_a_shard_that_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path, THREE)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(InputError, match=r"1 of 3 shards are not there: model-00002-of-00003\.safetensors; fetch"):
        read_checkpoint(path)


def test_a_shard_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, THREE)
    (tmp_path / "model-00002-of-00003.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match=r"model-00002-of-00003\.safetensors: a Git LFS pointer"):
        read_checkpoint(path)


def test_keys_that_differ_between_index_and_shards(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"key 'more' should be in model-00001.* but is in no shard"):
        read_checkpoint(write(tmp_path / "a", THREE, more="model-00001-of-00003.safetensors"))
    moved = {"layers.1.a": "model-00002-of-00003.safetensors"}
    with pytest.raises(InputError, match=r"should be in model-00002.* but is in model-00001"):
        read_checkpoint(write(tmp_path / "b", THREE, **moved))


def test_a_key_in_two_shards(tmp_path: Path) -> None:
    shards = {"model-1-of-2.safetensors": ["a", "c"], "model-2-of-2.safetensors": ["a", "b"]}
    with pytest.raises(InputError, match="key 'a' is in two shards"):
        read_checkpoint(write(tmp_path, shards))


def test_a_key_that_the_index_does_not_name(tmp_path: Path) -> None:
    path = write(tmp_path, THREE)
    weight_map = json.loads(path.read_text())["weight_map"]
    del weight_map["layers.3.b"]
    path.write_text(json.dumps({"weight_map": weight_map}))
    spec = read_checkpoint(path)
    assert len(spec) == 6
    assert spec.notes == ("in the shards but not in the index: layers.3.b",)


@pytest.mark.parametrize(
    "name",
    ["../x.bin", "a/../../x.bin", "/etc/x.bin", "C:x.bin", "C:\\x.bin", "\\\\host\\share\\x.bin", "a\\x.bin", "x",
     "x.py", "x\0.bin", "\\x.bin", ""],
)  # fmt: skip
def test_names_that_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in" / "side"
    path = write(folder, {"good.bin": ["a"]}, b=name)
    torch.save({"b": torch.zeros(1)}, tmp_path / "x.bin")
    with pytest.raises(UnsafeInputError, match="is not the name of a shard beside the index"):
        read_checkpoint(path)


def test_links_into_the_cache_of_the_hub_are_followed_and_others_are_not(tmp_path: Path) -> None:
    repository = tmp_path / "models--org--name"
    write(repository / "blobs", THREE)
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for file in (repository / "blobs").iterdir():
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    assert len(read_checkpoint(snapshot)) == 6
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in (repository / "blobs").iterdir():
        (elsewhere / file.name).symlink_to(file)
    with pytest.raises(UnsafeInputError, match="is a link that leaves the folder"):
        read_checkpoint(elsewhere)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"weight_map": []}', 'without a "weight_map"'),
        ('{"weight_map": {}}', "names no keys"),
        ('{"weight_map": {"a": 1}}', "shard of key 'a' is 1"),
        ('{"weight_map": {"a": "x.bin", "a": "y.bin"}}', "'a' is there twice"),
        ('{"weight_map": {"a": "x.bin"', "not valid JSON"),
        ('{"metadata": {}}', 'without a "weight_map"'),
    ],
)
def test_an_index_that_is_none(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text)
    with pytest.raises(InputError, match=reason):
        read_checkpoint(path)


def test_an_index_that_leads_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "index.bin"
    path.write_text(json.dumps({"weight_map": {"a": "index.bin"}}))
    with pytest.raises(InputError, match="an index that leads to itself"):
        read_checkpoint(path)


def test_a_folder_prefers_the_usual_name(tmp_path: Path) -> None:
    write(tmp_path, {"model.safetensors": ["a"], "pytorch_model.bin": ["b"], "training_args.bin": ["c"]}, index=None)
    assert read_checkpoint(tmp_path).keys == ("a",)
    assert read_checkpoint(tmp_path).name == str(tmp_path)


@pytest.mark.parametrize("name", ["epoch=3.ckpt", "diffusion_pytorch_model.safetensors", "weights.pth", "x.pt"])
def test_a_folder_with_one_checkpoint(tmp_path: Path, name: str) -> None:
    write(tmp_path, {name: ["a"]}, index=None)
    (tmp_path / "config.json").write_text("{}")
    assert read_checkpoint(tmp_path).keys == ("a",)


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder without a checkpoint"):
        read_checkpoint(tmp_path)
    write(tmp_path / "unet", {"x.pt": ["a"]}, index=None)
    with pytest.raises(InputError, match=r"in sub-folders \(unet\)"):
        read_checkpoint(tmp_path)
    write(tmp_path / "two", {"x.pt": ["a"], "y.pt": ["a"]}, index=None)
    with pytest.raises(InputError, match=r"several checkpoints \(x\.pt, y\.pt\); name one"):
        read_checkpoint(tmp_path / "two")
    write(tmp_path / "shards", THREE, index=None)
    with pytest.raises(InputError, match="3 shards but not their index"):
        read_checkpoint(tmp_path / "shards")
    (tmp_path / "dcp").mkdir()
    (tmp_path / "dcp" / ".metadata").write_bytes(b"\x80\x02N.")
    (tmp_path / "dcp" / "__0_0.distcp").write_bytes(b"")
    with pytest.raises(InputError, match="a distributed checkpoint; turn it into one file first"):
        read_checkpoint(tmp_path / "dcp")
