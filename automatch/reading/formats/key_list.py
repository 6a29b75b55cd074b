"""`*.keys.json`: keys, shapes and dtypes as JSON, small enough for a bug report; may be gzip-compressed.

    {"name": "resnet50", "keys": [["conv1.weight", [64, 3, 7, 7], "float32"], ...],
     "buffers": ["bn1.running_mean", ...], "tied": {"decoder.weight": "encoder.weight"},
     "versions": {"2": ["bn1", ...]}}

Only `keys` is required. `buffers` says that all other keys are parameters, `versions` that all other modules have
version 1 in torch's `_metadata`; without it nothing is known of them.
"""

from __future__ import annotations

import json
import re
import zlib
from operator import itemgetter
from typing import Any

from automatch.errors import InputError, UnsafeInputError
from automatch.module_versions import Versions
from automatch.reading.checks import check_names, check_shapes, make_specs, parse_json
from automatch.reading.source import Candidate, Context, File, FileFormat, Found, shown
from automatch.reading.versions import by_number, from_numbers, module_paths
from automatch.spec import StateDictSpec, TensorSpec

GZIP = b"\x1f\x8b"
NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def accepts(file: File) -> bool:
    """Whether it starts like a JSON object, or is compressed by gzip."""
    return file.head[:2] == GZIP or file.head.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] == b"{"


def read(file: File, context: Context) -> Found:
    """Reads a key list.

    Raises:
        InputError: it is JSON of another kind, or an entry is not `[key, [sizes], "dtype"]`.
    """
    where = str(file.path)
    document = parse_json(_text(file, context), where, pairs_hook=tuple)
    fields = dict(document) if isinstance(document, tuple) else {}
    rows = fields.get("keys")
    if len(fields) != len(document):
        raise InputError(f"{where}: a field is there twice")
    if not isinstance(rows, list):
        raise InputError(
            f'{where}: JSON, but not a key list {{"keys": [[name, [shape], "dtype"], ...]}}; '
            f"`automatch keys CHECKPOINT -o FILE.keys.json` writes one"
        )
    tensors = _tensors(rows, where, context)
    if "buffers" in fields or "tied" in fields:
        tensors = _with_roles(tensors, fields, where)
    versions = _versions(fields["versions"], [t.key for t in tensors], where) if "versions" in fields else {}
    return Found("key list", (Candidate((), tensors, versions=versions, checked=True),), empty="lists no keys")


def _text(file: File, context: Context) -> bytes:
    if file.size > context.limits.json_bytes:
        raise UnsafeInputError(f"{file.path}: {file.size} bytes are more than a key list may have (limit json_bytes)")
    data = file.path.read_bytes()
    if data[:2] == GZIP:
        data = _inflate(data, file, context)
    return data.removeprefix(b"\xef\xbb\xbf")


def _inflate(data: bytes, file: File, context: Context) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        text = inflater.decompress(data, context.limits.json_bytes)
    except zlib.error as error:
        raise InputError(f"{file.path}: damaged gzip file ({error}); fetch it again") from None
    if inflater.unconsumed_tail:
        raise UnsafeInputError(
            f"{file.path}: unpacks to more than {context.limits.json_bytes} bytes (limit json_bytes)"
        )
    if not inflater.eof:
        raise InputError(f"{file.path}: gzip file ends too early; fetch it again")
    if text.lstrip()[:1] != b"{":
        raise InputError(f"{file.path}: gzip file that holds no key list; unpack it first")
    return text


def _tensors(rows: list[Any], where: str, context: Context) -> tuple[TensorSpec, ...]:
    if set(map(type, rows)) - {list} or set(map(len, rows)) - {3} or set(map(type, map(itemgetter(1), rows))) - {list}:
        odd = next(row for row in rows if not _is_row(row))
        raise InputError(f'{where}: entry {shown(odd)} is not of the form [name, [shape], "dtype"]')
    names, dtypes = list(map(itemgetter(0), rows)), list(map(itemgetter(2), rows))
    shapes = list(map(tuple, map(itemgetter(1), rows)))
    check_names(names, where, context.limits)
    check_shapes(names, shapes, where, context.limits)
    if set(map(type, dtypes)) - {str} or not all(map(str.isidentifier, set(dtypes))):
        odd = next(d for d in dtypes if not isinstance(d, str) or not d.isidentifier())
        raise InputError(f'{where}: {shown(odd)} is no dtype; write torch\'s word for it, such as "float32"')
    return make_specs(names, shapes, dtypes)


def _is_row(row: object) -> bool:
    return isinstance(row, list) and len(row) == 3 and isinstance(row[1], list)


def _with_roles(tensors: tuple[TensorSpec, ...], fields: dict[str, Any], where: str) -> tuple[TensorSpec, ...]:
    buffers, ties = fields.get("buffers"), fields.get("tied", ())
    if not isinstance(ties, tuple) or any(type(key) is not str for pair in ties for key in pair):
        raise InputError(f'{where}: "tied" must be an object {{key: key of the first entry}}')
    tied = dict(ties)
    if buffers is not None and (not isinstance(buffers, list) or set(map(type, buffers)) - {str}):
        raise InputError(f'{where}: "buffers" must be a list of keys')
    known = {t.key for t in tensors}
    for key in (*(buffers or ()), *tied, *tied.values()):
        if key not in known:
            raise InputError(f'{where}: {shown(key)} is named in "buffers" or "tied" but not in "keys"')
    as_buffer = set(buffers or ())
    return tuple(
        t._replace(
            kind=None if buffers is None else "buffer" if t.key in as_buffer else "parameter", tied=tied.get(t.key)
        )
        for t in tensors
    )


def _versions(groups: object, keys: list[str], where: str) -> Versions:
    known = set(module_paths(keys))
    numbers = dict(groups) if isinstance(groups, tuple) else {}
    sound = isinstance(groups, tuple) and all(
        NUMBER.fullmatch(number) and isinstance(paths, list) and set(map(type, paths)) <= {str}
        for number, paths in numbers.items()
    )
    if not sound:
        raise InputError(f'{where}: "versions" must be an object {{"2": [modules of version 2]}}')
    odd = next((path for paths in numbers.values() for path in paths if path not in known), None)
    if odd is not None:
        raise InputError(f'{where}: {shown(odd)} is named in "versions" but is no module that a key stands in')
    return from_numbers(numbers, keys)


def write_key_list(spec: StateDictSpec) -> str:
    """Writes a description as a key list that `read_checkpoint` reads back.

    Args:
        spec: keys, shapes and dtypes of one side.

    Returns:
        JSON text, one key a line so that two lists can be compared line by line.
    """
    rows = ",\n".join(f"  {json.dumps([t.key, list(t.shape), t.dtype])}" for t in spec.tensors)
    text = f'{{"name": {json.dumps(spec.name)}, "keys": [\n{rows}\n]'
    if any(t.kind for t in spec.tensors):
        text += f',\n"buffers": {json.dumps([t.key for t in spec.tensors if t.kind == "buffer"])}'
    if any(t.tied is not None for t in spec.tensors):
        text += f',\n"tied": {json.dumps({t.key: t.tied for t in spec.tensors if t.tied is not None})}'
    versions = by_number(spec.versions, spec.keys)
    if versions is not None:
        text += f',\n"versions": {json.dumps(versions)}'
    return text + "}\n"


FORMAT = FileFormat("key list", accepts, read)
