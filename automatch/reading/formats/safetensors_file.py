"""`*.safetensors`: an 8-byte length, a JSON header, the data; only the header is read.

Stricter than the safetensors library in one point: a name that is there twice is refused, as
the format's README asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from math import prod
from operator import itemgetter
from typing import Any

from automatch.errors import InputError, UnsafeInputError
from automatch.reading.checks import check_names, check_shapes, make_specs, parse_json
from automatch.reading.source import Candidate, Context, File, FileFormat, Found, shown
from automatch.spec import Shape

BLANKS = b" \t\r\n"

# word of the format -> torch's word, bits of one element
DTYPES: dict[str, tuple[str, int]] = {
    "BOOL": ("bool", 8),
    "U8": ("uint8", 8),
    "I8": ("int8", 8),
    "U16": ("uint16", 16),
    "I16": ("int16", 16),
    "U32": ("uint32", 32),
    "I32": ("int32", 32),
    "U64": ("uint64", 64),
    "I64": ("int64", 64),
    "F16": ("float16", 16),
    "BF16": ("bfloat16", 16),
    "F32": ("float32", 32),
    "F64": ("float64", 64),
    "C64": ("complex64", 64),
    "F8_E4M3": ("float8_e4m3fn", 8),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", 8),
    "F8_E8M0": ("float8_e8m0fnu", 8),
    "F6_E2M3": ("float6_e2m3", 6),
    "F6_E3M2": ("float6_e3m2", 6),
    "F4": ("float4_e2m1fn_x2", 4),
}
FIELDS = ("dtype", "shape", "data_offsets")
Span = tuple[int, int]


def accepts(file: File) -> bool:
    """Whether a JSON object begins behind the 8 bytes of the length, whatever that length says.

    Eight printable characters are no length but the beginning of a text.
    """
    length, header = file.head[:8], file.head[8:72]
    return header.lstrip(BLANKS)[:1] == b"{" and not all(32 <= byte < 127 or byte in BLANKS for byte in length)


def read(file: File, context: Context) -> Found:
    """Reads the header of a safetensors file.

    Raises:
        InputError: the header is not what the format asks for, or names a tensor twice.
        UnsafeInputError: sizes or offsets cannot be true.
    """
    where = str(file.path)
    header, data_bytes = _header(file, context)
    notes = []
    if header[:1] != b"{":
        notes.append("blanks stand before the header, which the format does not allow")
    pairs = parse_json(header, f"{where}: safetensors header", pairs_hook=tuple)
    if not isinstance(pairs, tuple):
        raise InputError(f"{where}: the safetensors header is not a JSON object")
    entries = [pair for pair in pairs if pair[0] != "__metadata__"]
    _check_metadata([pair[1] for pair in pairs if pair[0] == "__metadata__"], where)
    names = list(map(itemgetter(0), entries))
    check_names(names, where, context.limits)
    dtypes, shapes, spans = _columns(entries, where)
    check_shapes(names, shapes, where, context.limits)
    notes += _check_sizes(names, dtypes, shapes, spans, where)
    _check_tiling(names, spans, data_bytes, where)
    words = {dtype: DTYPES[dtype][0] if dtype in DTYPES else dtype.lower() for dtype in set(dtypes)}
    tensors = make_specs(names, shapes, list(map(words.__getitem__, dtypes)))
    return Found("safetensors, header only", (Candidate((), tensors, checked=True),), tuple(notes))


def _header(file: File, context: Context) -> tuple[bytes, int]:
    """The bytes of the header, and how many bytes of data the file holds behind it."""
    length = int.from_bytes(file.head[:8], "little")
    if length > context.limits.header_bytes:
        raise UnsafeInputError(
            f"{file.path}: the safetensors header claims {length} bytes, more than the limit of "
            f"{context.limits.header_bytes}; the file is damaged or not a safetensors file"
        )
    if 8 + length > file.size:
        raise UnsafeInputError(
            f"{file.path}: the safetensors header claims {length} bytes but the file ends after {file.size}; "
            f"it is truncated, fetch it again"
        )
    with file.path.open("rb") as stream:
        stream.seek(8)
        header = stream.read(length)
    if len(header) != length:
        raise InputError(f"{file.path}: the file changed while it was read")
    return header, file.size - 8 - length


def _check_metadata(values: list[object], where: str) -> None:
    if len(values) > 1:
        raise InputError(f"{where}: __metadata__ is there twice in the safetensors header")
    for value in values:
        if value is None:
            continue
        if not isinstance(value, tuple) or any(not isinstance(text, str) for _, text in value):
            raise InputError(f"{where}: __metadata__ in the safetensors header must hold texts only")
        if len(dict(value)) != len(value):
            raise InputError(f"{where}: __metadata__ in the safetensors header has a field twice")


def _columns(entries: Sequence[tuple[str, Any]], where: str) -> tuple[list[str], list[Shape], list[Span]]:
    """Dtypes, shapes and data offsets of all tensors, each entry checked to have exactly these fields.

    Whole columns are taken apart at once; an entry in another order or with a fault is looked at on its own.
    """
    described = list(map(itemgetter(1), entries))
    if set(map(type, described)) != {tuple} or set(map(len, described)) != {3}:
        described = [_in_order(name, fields, where) for name, fields in entries]
    columns = list(zip(*described, strict=True)) or [(), (), ()]
    if [set(map(itemgetter(0), column)) for column in columns] != [{field} for field in FIELDS]:
        described = [_in_order(name, fields, where) for name, fields in entries]
        columns = list(zip(*described, strict=True)) or [(), (), ()]
    dtypes, shapes, offsets = (list(map(itemgetter(1), column)) for column in columns)
    if set(map(type, dtypes)) - {str} or set(map(type, shapes)) - {list} or not _are_spans(offsets):
        odd = next(i for i, row in enumerate(zip(dtypes, shapes, offsets, strict=True)) if not _is_sound(*row))
        raise InputError(_bad_entry(entries[odd][0], where))
    return dtypes, list(map(tuple, shapes)), list(map(tuple, offsets))


def _in_order(name: str, fields: object, where: str) -> tuple[tuple[str, Any], ...]:
    entry = dict(fields) if isinstance(fields, tuple) else {}
    if len(entry) != 3 or not isinstance(fields, tuple) or len(fields) != 3 or any(f not in entry for f in FIELDS):
        raise InputError(_bad_entry(name, where))
    return tuple((field, entry[field]) for field in FIELDS)


def _are_spans(offsets: Sequence[Any]) -> bool:
    return (
        not set(map(type, offsets)) - {list}
        and not set(map(len, offsets)) - {2}
        and not set(map(type, chain.from_iterable(offsets))) - {int}
    )


def _is_sound(dtype: object, shape: object, offsets: object) -> bool:
    return isinstance(dtype, str) and isinstance(shape, list) and _are_spans([offsets])


def _bad_entry(name: str, where: str) -> str:
    return (
        f"{where}: the safetensors header describes {shown(name)} by something else than "
        f"one dtype, one shape and two data_offsets"
    )


def _check_sizes(
    names: Sequence[str], dtypes: Sequence[str], shapes: Sequence[Shape], spans: Sequence[Span], where: str
) -> list[str]:
    """Refuses a tensor whose bytes are not what shape and dtype ask for; returns notes on unknown dtypes."""
    kinds = list(zip(dtypes, shapes, strict=True))
    bits = {(dtype, shape): prod(shape) * DTYPES[dtype][1] for dtype, shape in set(kinds) if dtype in DTYPES}
    if [end - begin << 3 for begin, end in spans] == list(map(bits.get, kinds)):
        return []
    for name, kind, (begin, end) in zip(names, kinds, spans, strict=True):
        if kind in bits and bits[kind] != (end - begin) * 8:
            raise UnsafeInputError(
                f"{where}: {shown(name)} is {kind[0]} of shape {shown(list(kind[1]))}, but its data has "
                f"{end - begin} bytes"
            )
    unknown = [dtype for dtype in dict.fromkeys(dtypes) if dtype not in DTYPES]
    return [f"unknown dtype {shown(dtype)}: its sizes could not be checked" for dtype in unknown]


def _check_tiling(names: Sequence[str], spans: Sequence[Span], data_bytes: int, where: str) -> None:
    """Refuses tensors that overlap, leave a gap, or do not end exactly where the file ends."""
    position = 0
    for (begin, end), name in sorted(zip(spans, names, strict=True)):
        if begin != position or end < begin:
            fault = "overlaps the tensor before it" if begin < position else "leaves a gap before it"
            raise UnsafeInputError(f"{where}: data of {shown(name)} {fault}; the safetensors header lies")
        position = end
    if position > data_bytes:
        raise UnsafeInputError(
            f"{where}: the safetensors header promises {position} bytes of data but the file holds {data_bytes}; "
            f"it is truncated, fetch it again"
        )
    if position < data_bytes:
        raise UnsafeInputError(
            f"{where}: {data_bytes - position} bytes follow the last tensor; another file hides there"
        )


FORMAT = FileFormat("safetensors", accepts, read)
