"""Whatever stands in a pickle: it is read, or refused in one sentence."""

from __future__ import annotations

import pickletools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from automatch.errors import AutomatchError
from automatch.reading import Limits, read_checkpoint
from tests.reading.hostile import TENSOR, text, write_legacy, write_plain, write_zip

BODY = b"}(" + text("state_dict") + b"}(" + text("a.weight") + TENSOR + text("b") + b"]q\x05K\x01a" + b"u"
BODY += text("optimizer") + b"}" + text("state") + b"}K\x00}" + text("step") + b"G" + bytes(8) + b"sss" + b"u"
CODES = [op.code.encode("latin-1") for op in pickletools.opcodes]
PIECES = [
    *CODES, TENSOR, text("state_dict"), text("_modules"), b"cos\nsystem\n", b"K\x01", b"q\x00", b"h\x00", b"}", b"(",
    b"ccollections\nOrderedDict\n)R", b"ctorch._utils\n_rebuild_parameter\n", b"cnumpy.core.multiarray\n_reconstruct\n",
    b"ctorch\nfloat32\n", b"\x85", b"\x86", b"R", b"b", b"s", b"u", b"t", b".",
]  # fmt: skip
SMALL = Limits(opcodes=20_000, stack=5_000)


def check(path: Path) -> None:
    try:
        read_checkpoint(path, limits=SMALL)
    except AutomatchError as error:
        assert str(error).startswith(str(path))
        assert "\n" not in str(error)


@settings(max_examples=300)
@given(st.data())
def test_changed_bytes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(b"\x80\x02" + BODY + b".")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    folder = tmp_path_factory.mktemp("fuzz")
    check(write_zip(folder / "a.pt", bytes(content)))
    check(write_legacy(folder / "b.pt", bytes(content)))


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join))
def test_any_sequence_of_instructions(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    check(write_zip(folder / "a.pt", b"\x80\x04" + body + b"."))
    check(write_plain(folder / "b.pkl", b"\x80\x04" + body + b"."))


@pytest.fixture(scope="module")
def whole_module(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("module") / "a.pt"
    torch.save(nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)), path, _use_new_zipfile_serialization=False)
    return path.read_bytes()


@given(st.data())
def test_changed_bytes_of_a_whole_module(
    tmp_path_factory: pytest.TempPathFactory, whole_module: bytes, data: st.DataObject
) -> None:
    content = bytearray(whole_module)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(30, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "a.pt"
    path.write_bytes(content)
    check(path)
