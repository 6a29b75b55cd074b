"""The list of members of a zip archive, read so strictly that no two readers can disagree about it.

The standard library and torch's own reader differ on archives whose directory and local headers
tell different stories; such archives are refused here.
Source of the format: PKWARE APPNOTE 6.3.10, sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from mmap import mmap
from struct import Struct

from automatch.errors import InputError, UnsafeInputError
from automatch.reading.limits import Limits
from automatch.reading.source import shown

END = Struct("<4s4H2LH")
END_64 = Struct("<4sQ2H2L4Q")
LOCATOR_64 = Struct("<4sLQL")
CENTRAL = Struct("<4s6H3L5H2L")
LOCAL = Struct("<4s5H3L2H")
EXTRA = Struct("<2H")
LONGEST_COMMENT = 65_535
STORED, DEFLATED = 0, 8
ENCRYPTED = 0x1 | 0x40 | 0x2000
PATCHED = 0x20


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive.

    Attributes:
        name: its path in the archive.
        method: 0 stored, 8 deflated.
        crc: checksum of its contents; 0 where it was not computed.
        stored: bytes it takes in the archive.
        size: bytes of its contents.
        header: position of its local header.
        flags: general purpose flags.
        begin: position of its first stored byte.
    """

    name: str
    method: int
    crc: int
    stored: int
    size: int
    header: int
    flags: int
    begin: int = 0


@dataclass(frozen=True)
class Directory:
    """All members of an archive, in the order of its directory, and what the user should hear about it."""

    members: dict[str, Member]
    notes: tuple[str, ...] = ()


def read_directory(data: mmap, where: str, limits: Limits) -> Directory:
    """Reads and checks the list of members.

    Args:
        data: the whole archive.
        where: names it in errors.
        limits: how many members it may have.

    Raises:
        InputError: the archive is truncated, damaged or encrypted.
        UnsafeInputError: its directory and its members contradict each other.
    """
    count, begin, size, notes = _end(data, where)
    if count > limits.zip_entries:
        raise UnsafeInputError(f"{where}: {count} zip members are more than {limits.zip_entries} (limit zip_entries)")
    members: dict[str, Member] = {}
    folded = _central(data, begin, size, count, where)
    following = begin
    for member in sorted(folded, key=lambda m: m.header, reverse=True):
        checked = _local(data, member, where)
        if checked.begin + checked.stored > following:
            raise UnsafeInputError(f"{where}: zip member {shown(member.name)} overlaps what follows it")
        following = member.header
        members[member.name] = checked
    if len(members) != len(folded):
        raise UnsafeInputError(f"{where}: a zip member is there twice, so readers would disagree about it")
    if following != 0:
        raise UnsafeInputError(
            f"{where}: {following} bytes stand before the first zip member; another file hides there"
        )
    return Directory({m.name: members[m.name] for m in folded}, notes)


def _end(data: mmap, where: str) -> tuple[int, int, int, tuple[str, ...]]:
    """Number of members, position and size of the directory, and notes, from the record at the end."""
    tail = max(0, len(data) - LONGEST_COMMENT - END.size)
    at = data.rfind(b"PK\x05\x06", tail)
    if at < 0 or at + END.size > len(data):
        raise InputError(f"{where}: zip archive without its end; it is truncated, save or fetch it again")
    _, disk, _, _, count, size, begin, comment = END.unpack_from(data, at)
    notes: tuple[str, ...] = ()
    extra = len(data) - at - END.size - comment
    if extra:
        notes = (f"{abs(extra)} bytes {'follow' if extra > 0 else 'are missing from'} the end of the zip archive",)
    if at >= LOCATOR_64.size and data[at - LOCATOR_64.size : at - LOCATOR_64.size + 4] == b"PK\x06\x07":
        end64 = LOCATOR_64.unpack_from(data, at - LOCATOR_64.size)[2]
        if end64 + END_64.size + LOCATOR_64.size != at or data[end64 : end64 + 4] != b"PK\x06\x06":
            raise UnsafeInputError(f"{where}: the zip archive points to an end that is not there")
        _, _, _, _, disk, _, _, count, size, begin = END_64.unpack_from(data, end64)
        at = end64
    if disk:
        raise InputError(f"{where}: one part of a split zip archive; join the parts first")
    if begin + size != at:
        raise UnsafeInputError(
            f"{where}: the zip directory is not where the archive says; another file hides before it"
        )
    return count, begin, size, notes


def _central(data: mmap, begin: int, size: int, count: int, where: str) -> list[Member]:
    members: list[Member] = []
    position, end = begin, begin + size
    for _ in range(count):
        if position + CENTRAL.size > end:
            raise InputError(f"{where}: the zip directory ends too early; save or fetch the file again")
        fields = CENTRAL.unpack_from(data, position)
        signature, _, _, flags, method, _, _, crc, stored, full, name_length, extra, comment, *_, header = fields
        name_at = position + CENTRAL.size
        position = name_at + name_length + extra + comment
        if signature != b"PK\x01\x02" or position > end:
            raise InputError(f"{where}: the zip directory is damaged; save or fetch the file again")
        name = data[name_at : name_at + name_length].decode("utf-8", "backslashreplace")
        if 0xFFFFFFFF in (stored, full, header):
            block = data[name_at + name_length : name_at + name_length + extra]
            full, stored, header = _zip64(block, full, stored, header, f"{where}: zip member {shown(name)}")
        members.append(Member(name, method, crc, stored, full, header, flags))
    if position != end:
        raise UnsafeInputError(f"{where}: the zip directory holds more than the archive says")
    return members


def _zip64(block: bytes, full: int, stored: int, header: int, what: str) -> tuple[int, int, int]:
    """Replaces sizes that do not fit 32 bits by those in the zip64 field."""
    at = 0
    while at + EXTRA.size <= len(block):
        kind, length = EXTRA.unpack_from(block, at)
        if kind == 1:
            values = [int.from_bytes(block[i : i + 8], "little") for i in range(at + 4, at + 4 + length, 8)]
            large = iter(values)
            try:
                return tuple(next(large) if v == 0xFFFFFFFF else v for v in (full, stored, header))  # type: ignore[return-value]
            except RuntimeError:
                break
        at += EXTRA.size + length
    raise InputError(f"{what} lacks its size; save or fetch the file again")


def _local(data: mmap, member: Member, where: str) -> Member:
    """The member with the position of its data; its local header must agree with the directory."""
    what = f"{where}: zip member {shown(member.name)}"
    if member.flags & ENCRYPTED:
        raise InputError(f"{what} is protected by a password; unpack the archive and save it without one")
    if member.method not in (STORED, DEFLATED) or member.flags & PATCHED:
        raise InputError(f"{what} is compressed by method {member.method}; unpack the archive and zip it without")
    if member.method == STORED and member.stored != member.size:
        raise UnsafeInputError(f"{what} is not compressed but has two different sizes")
    if member.header + LOCAL.size > len(data):
        raise InputError(f"{what} lies behind the end of the file; it is truncated, fetch it again")
    signature, _, flags, method, _, _, _, _, _, name_length, extra = LOCAL.unpack_from(data, member.header)
    name_at = member.header + LOCAL.size
    name = data[name_at : name_at + name_length].decode("utf-8", "backslashreplace")
    if signature != b"PK\x03\x04" or name != member.name or method != member.method or flags & ENCRYPTED:
        raise UnsafeInputError(f"{what} is described differently in the directory and in place")
    return Member(
        member.name, method, member.crc, member.stored, member.size, member.header, member.flags,
        name_at + name_length + extra,
    )  # fmt: skip


def read_member(data: mmap, member: Member, where: str, largest: int, limits: Limits) -> tuple[bytes, tuple[str, ...]]:
    """The contents of one member, and a note where its checksum is wrong.

    Args:
        data: the whole archive.
        member: which member.
        where: names the archive in errors.
        largest: how many bytes it may have.
        limits: how much a compressed member may grow.

    Raises:
        UnsafeInputError: it is larger than allowed or than it says.
        InputError: its compressed form is damaged.
    """
    what = f"{where}: zip member {shown(member.name)}"
    if member.size > largest:
        raise UnsafeInputError(f"{what} has {member.size} bytes, more than the limit of {largest}")
    contents = data[member.begin : member.begin + member.stored]
    if member.method == DEFLATED:
        if member.size > member.stored * limits.inflate_ratio:
            raise UnsafeInputError(f"{what} grows more than {limits.inflate_ratio} times (limit inflate_ratio)")
        contents = _inflate(contents, member.size + 1, what)
    if len(contents) != member.size:
        raise UnsafeInputError(f"{what} has {len(contents)} bytes and says {member.size}")
    wrong = member.crc and zlib.crc32(contents) != member.crc
    return contents, (f"the checksum of {member.name} is wrong: the file may be damaged",) if wrong else ()


def read_start(data: mmap, member: Member, where: str, count: int) -> bytes:
    """Up to `count` bytes from the beginning of a member, whatever its size.

    Raises:
        InputError: its compressed form is damaged.
    """
    stored = data[member.begin : member.begin + min(member.stored, count)]
    what = f"{where}: zip member {shown(member.name)}"
    return _inflate(stored, count, what) if member.method == DEFLATED else stored


def _inflate(contents: bytes, most: int, what: str) -> bytes:
    try:
        return zlib.decompressobj(wbits=-15).decompress(contents, most)
    except zlib.error as error:
        raise InputError(f"{what} is damaged ({error}); save or fetch the file again") from None
