"""NumPy archives and plain pickles of arrays: headers only."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy
import pytest

from automatch.errors import InputError
from automatch.reading import read_checkpoint

ARRAYS: dict[str, Any] = {
    "encoder/w": numpy.zeros((2, 3), "float32"),
    "b": numpy.zeros((), "float64"),
    "n": numpy.zeros(4, ">i8"),
    "half": numpy.zeros((0, 2), "float16"),
    "flag": numpy.zeros(1, bool),
    "u": numpy.zeros(1, "uint8"),
    "c": numpy.zeros(1, "complex64"),
}
EXPECTED = [
    ("encoder/w", (2, 3), "float32"), ("b", (), "float64"), ("n", (4,), "int64"), ("half", (0, 2), "float16"),
    ("flag", (1,), "bool"), ("u", (1,), "uint8"), ("c", (1,), "complex64"),
]  # fmt: skip


@pytest.mark.parametrize("save", [numpy.savez, numpy.savez_compressed])
def test_archives(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "a.npz"
    save(path, **ARRAYS, text=numpy.array(["a"]))
    spec = read_checkpoint(path)
    assert [(t.key, t.shape, t.dtype) for t in spec.tensors] == EXPECTED
    assert spec.notes == ("not numbers, left out: text",)


def test_large_arrays_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    numpy.savez_compressed(path, w=numpy.zeros((1000, 1000)))
    assert read_checkpoint(path).tensors[0].shape == (1000, 1000)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00\x50\x00", b"\x93NUMPY\x01\x00\x02\x00()", b"x" * 90])
def test_damaged_arrays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w.npy", content)
    with pytest.raises(InputError, match="array 'w'"):
        read_checkpoint(path)


@pytest.mark.parametrize("protocol", range(6))
def test_pickles(tmp_path: Path, protocol: int) -> None:
    """As in Detectron2's model zoo."""
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"model": ARRAYS, "__author__": "x"}, protocol=protocol))
    spec = read_checkpoint(path)
    assert [(t.key, t.shape, t.dtype) for t in spec.tensors] == EXPECTED
    assert (spec.at, spec.notes, spec.origin) == ("model", (), "pickle, read as data")
