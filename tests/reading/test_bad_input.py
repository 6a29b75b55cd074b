"""What is no checkpoint: one sentence that names the file, what it is, and the way out."""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import pytest

from automatch.errors import InputError
from automatch.reading import read_checkpoint

TAR = bytes(257) + b"ustar\x0000" + bytes(300)


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors", "a.index.json", "a.keys.json", "a"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; fetch or save it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "a Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page.*redirected or needs a login"),
        (b"\n<html>404</html>", "a web page"),
        (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "a web page"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "a PNG image"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "a JPEG image"),
        (b"GGUF\x03\x00\x00\x00" + bytes(20), "a GGUF file; convert it"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "an HDF5 file"),
        (b"\x93NUMPY\x01\x00" + bytes(20), "a single NumPy array without a name"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(20), "a 7-Zip archive; unpack"),
        (TAR, "a tar archive"),
        (b"epoch,loss\n1,0.5\n", "a text file, not a checkpoint; expected safetensors"),
        ("Gewichte für später".encode(), "a text file"),
        (b"[1, 2, 3]", "a text file"),
        (b"\x00\x01\x02\x03" * 10, "not a checkpoint|no safetensors header"),
        (b"\x07", "not a checkpoint|no safetensors header"),
        (gzip.compress(b"hello"), "gzip file that holds no key list; unpack it first"),
        (gzip.compress(b"{}")[:-9], "gzip file ends too early"),
        (b"\x1f\x8b\x08\x00garbage!", "gzip file ends too early"),
        (b'{"lr": 0.1}', 'not a key list|without a "weight_map"'),
        (b"{", "not valid JSON"),
        (b"\x80\x02", "damaged pickle: it ends too early"),
        (b"PK\x03\x04" + bytes(40), "zip archive without its end; it is truncated"),
    ],
)
def test_what_is_no_checkpoint(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^none\.pt: no such file; check the path"):
        read_checkpoint("none.pt")
    with pytest.raises(InputError, match="cannot be read"):
        read_checkpoint("nul\0byte.pt")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be read: Not a directory"):
        read_checkpoint(tmp_path / "file" / "below.pt")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
def test_devices_and_pipes_are_not_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a regular file; copy its contents to a file first"):
        read_checkpoint("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        read_checkpoint(tmp_path / "pipe")


def test_every_kind_of_path(tmp_path: Path) -> None:
    path = tmp_path / "a.keys.json"
    path.write_text('{"keys": [["w", [1], "float32"]]}')
    for source in (path, str(path), os.fsencode(path), *os.scandir(tmp_path)):
        if isinstance(source, bytes):
            with pytest.raises(InputError, match="bytes is no checkpoint"):
                read_checkpoint(source)
        else:
            assert read_checkpoint(source).keys == ("w",)
            assert read_checkpoint(source).name == str(path)
