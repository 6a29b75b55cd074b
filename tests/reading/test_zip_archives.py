"""Archives about whose contents two readers could disagree are refused."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from automatch.errors import AutomatchError, InputError, UnsafeInputError
from automatch.reading import Limits, read_checkpoint
from tests.reading.hostile import TENSOR, text, write_zip

PICKLE = b"\x80\x02}" + text("weight") + TENSOR + b"s."


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return buffer.getvalue()


def sound() -> bytes:
    return archive(("a/data.pkl", PICKLE), ("a/data/0", bytes(8)), ("a/version", b"3\n"))


def patch(data: bytes, signature: bytes, number: int, offset: int, value: bytes) -> bytes:
    """Overwrites bytes of the number-th record with this signature."""
    at = -1
    for _ in range(number + 1):
        at = data.index(signature, at + 1)
    return data[: at + offset] + value + data[at + offset + len(value) :]


CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "member twice": (lambda: archive(("a/data.pkl", PICKLE), *2 * [("a/data/0", bytes(8))]), "there twice"),
    "pickle twice": (lambda: archive(("a/data.pkl", b"\x80\x02}."), ("a/data.pkl", PICKLE)), "there twice"),
    "bytes before": (lambda: b"PK\x03\x04junk" + sound(), "not where the archive says"),
    "two archives": (lambda: sound() + sound(), "not where the archive says"),
    "two folders": (lambda: archive(("a/data.pkl", PICKLE), ("b/data.pkl", PICKLE)), "beside a/"),
    "stranger beside": (lambda: archive(("a/data.pkl", PICKLE), ("a/data/0", bytes(8)), ("run.sh", b"")), "beside a/"),
    "name differs": (lambda: patch(sound(), LOCAL, 1, 30, b"b"), "described differently"),
    "method differs": (lambda: patch(sound(), LOCAL, 1, 8, b"\x08"), "described differently"),
    "bad local signature": (lambda: patch(sound(), LOCAL, 1, 0, b"XX"), "described differently"),
    "points at another member": (lambda: patch(sound(), CENTRAL, 1, 42, b"\0\0\0\0"), "described differently"),
    "points behind the file": (lambda: patch(sound(), CENTRAL, 1, 42, b"\xf0\xff\xff\x7f"), "behind the end"),
    "encrypted": (lambda: patch(sound(), CENTRAL, 0, 8, b"\x01"), "password"),
    "strongly encrypted": (lambda: patch(sound(), CENTRAL, 0, 8, b"\x41"), "password"),
    "unknown method": (lambda: patch(sound(), CENTRAL, 0, 10, b"\x0c"), "method 12"),
    "two sizes": (lambda: patch(sound(), CENTRAL, 1, 24, b"\x09"), "two different sizes"),
    "overlap": (lambda: patch(patch(sound(), CENTRAL, 1, 20, b"\xf0"), CENTRAL, 1, 24, b"\xf0"), "overlaps"),
    "fewer members than listed": (lambda: patch(sound(), END, 0, 10, b"\x02\0"), "more than the archive says"),
    "more members than listed": (lambda: patch(sound(), END, 0, 10, b"\x09\0"), "ends too early"),
    "several disks": (lambda: patch(sound(), END, 0, 4, b"\x01"), "split"),
    "without its end": (lambda: sound()[:-30], "truncated"),
    "empty archive": (lambda: archive(), "an empty zip archive"),
    "other archive": (lambda: archive(("word/document.xml", b"x")), "no torch checkpoint"),
    "checkpoint inside": (lambda: archive(("x/model.safetensors", b"x")), "unpack it and give that file"),
    "record too short": (lambda: archive(("a/data.pkl", PICKLE), ("a/data/0", bytes(7))), "its record has 7"),
    "record missing": (lambda: archive(("a/data.pkl", PICKLE)), "no record"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", list(REFUSED))
def test_refused(tmp_path: Path, case: str) -> None:
    make, reason = REFUSED[case]
    path = tmp_path / "a.pt"
    path.write_bytes(make())
    with pytest.raises(InputError) as caught:
        read_checkpoint(path)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_trailing_bytes_and_wrong_checksums_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(sound() + b"more")
    assert read_checkpoint(path).notes == ("4 bytes follow the end of the zip archive",)
    path.write_bytes(patch(sound(), CENTRAL, 0, 16, b"\x01\x02\x03\x04"))
    assert read_checkpoint(path).notes == ("the checksum of a/data.pkl is wrong: the file may be damaged",)
    path.write_bytes(patch(sound(), CENTRAL, 0, 16, bytes(4)))
    assert read_checkpoint(path).notes == ()


def test_checksums_switched_off(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.zeros(3)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_checkpoint(path).notes == ()


def test_compressed_archives_are_read_within_a_ratio(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(archive(("a/data.pkl", PICKLE), ("a/data/0", bytes(8)), method=zipfile.ZIP_DEFLATED))
    assert read_checkpoint(path).keys == ("weight",)
    bomb = PICKLE[:-1] + b"N0" * 500_000 + b"."
    path.write_bytes(archive(("a/data.pkl", bomb), ("a/data/0", bytes(8)), method=zipfile.ZIP_DEFLATED))
    with pytest.raises(UnsafeInputError, match="grows more than 200 times"):
        read_checkpoint(path)
    assert read_checkpoint(path, limits=Limits(inflate_ratio=2000)).keys == ("weight",)


def test_damaged_compression(tmp_path: Path) -> None:
    data = archive(("a/data.pkl", PICKLE), ("a/data/0", bytes(8)), method=zipfile.ZIP_DEFLATED)
    start = data.index(b"a/data.pkl") + len("a/data.pkl")
    path = tmp_path / "a.pt"
    path.write_bytes(data[:start] + b"\xff" * 8 + data[start + 8 :])
    with pytest.raises(InputError, match="damaged"):
        read_checkpoint(path)


def test_too_many_members(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(sound())
    with pytest.raises(UnsafeInputError, match=r"3 zip members are more than 2 \(limit zip_entries\)"):
        read_checkpoint(path, limits=Limits(zip_entries=2))


def test_large_archives_in_the_64_bit_form(tmp_path: Path) -> None:
    """The sizes of a member and of the archive in their zip64 fields, as in files above 4 GiB."""
    name = b"a/data.pkl"
    extra = struct.pack("<2H3Q", 1, 24, len(PICKLE), len(PICKLE), 0)
    local = struct.pack("<4s5H3L2H", LOCAL, 45, 0, 0, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, len(name), 0) + name + PICKLE
    local2 = struct.pack("<4s5H3L2H", LOCAL, 45, 0, 0, 0, 0, 0, 8, 8, 8, 0) + b"a/data/0" + bytes(8)
    central = struct.pack(
        "<4s6H3L5H2L", CENTRAL, 45, 45, 0, 0, 0, 0, 0, *[0xFFFFFFFF] * 2, len(name), 28, 0, 0, 0, 0, 0xFFFFFFFF
    )
    central += name + extra
    central += (
        struct.pack("<4s6H3L5H2L", CENTRAL, 45, 45, 0, 0, 0, 0, 0, 8, 8, 8, 0, 0, 0, 0, 0, len(local)) + b"a/data/0"
    )
    begin = len(local + local2)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, len(central), begin)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, begin + len(central), 1)
    end = struct.pack("<4s4H2LH", END, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path = tmp_path / "a.pt"
    path.write_bytes(local + local2 + central + end64 + locator + end)
    assert read_checkpoint(path).keys == ("weight",)
    wrong = locator[:8] + struct.pack("<Q", 5) + locator[16:]
    path.write_bytes(local + local2 + central + end64 + wrong + end)
    with pytest.raises(UnsafeInputError, match="points to an end that is not there"):
        read_checkpoint(path)


@given(st.data())
def test_changed_bytes_never_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = write_zip(tmp_path_factory.mktemp("fuzz") / "a.pt", PICKLE)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    try:
        read_checkpoint(path)
    except AutomatchError as error:
        assert str(path) in str(error)
