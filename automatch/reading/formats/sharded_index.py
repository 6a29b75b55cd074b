"""`*.index.json`: a checkpoint in shards, as Hugging Face libraries write it (`weight_map`: key -> shard)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath

from automatch.errors import InputError, UnsafeInputError
from automatch.reading.checks import check_names, parse_json
from automatch.reading.choosing import choose
from automatch.reading.source import Candidate, Context, File, FileFormat, Found, listed, shown
from automatch.spec import TensorSpec

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


def accepts(file: File) -> bool:
    """Whether it is JSON that names a `weight_map` early, or is called an index."""
    return file.head.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] == b"{" and (
        file.path.name.endswith(".index.json") or b'"weight_map"' in file.head
    )


def read(file: File, context: Context) -> Found:
    """Reads every shard and compares its keys with the index.

    Keys come in the order of the shards, and inside of a shard in its own order: the index itself is
    sorted by the alphabet.

    Raises:
        InputError: a shard is missing, or index and shards do not name the same keys.
        UnsafeInputError: a shard lies outside of the folder.
    """
    where = str(file.path)
    weight_map = _weight_map(file, context)
    shards = sorted(set(weight_map.values()), key=_natural)
    _check_shards(shards, file.path.parent, where)
    tensors: list[TensorSpec] = []
    notes: list[str] = []
    versions: dict[str, Mapping[str, object]] = {}
    home: dict[str, str] = {}
    places: set[tuple[str, ...]] = set()
    for shard in shards:
        found = context.read_part(file.path.parent / shard)
        notes += found.notes
        if not found.candidates:
            raise InputError(f"{file.path.parent / shard}: {found.empty}, but the index names it as a shard")
        chosen = choose(found, str(file.path.parent / shard), None, None).candidate
        for tensor in chosen.tensors:
            if home.setdefault(tensor.key, shard) != shard:
                raise InputError(f"{where}: key {shown(tensor.key)} is in two shards, {home[tensor.key]} and {shard}")
        tensors += chosen.tensors
        versions |= chosen.versions
        places.add(chosen.path)
    notes += _compare(weight_map, home, where)
    plural = "s" if len(shards) != 1 else ""
    origin = f"index and {len(shards)} shard{plural}, headers only"
    files = tuple(str(file.path.parent / shard) for shard in shards)
    place = places.pop() if len(places) == 1 else ()
    return Found(origin, (Candidate(place, tuple(tensors), versions=versions),), tuple(notes), files=files)


def _weight_map(file: File, context: Context) -> dict[str, str]:
    where = str(file.path)
    if file.size > context.limits.json_bytes:
        raise UnsafeInputError(f"{where}: {file.size} bytes are more than an index may have (limit json_bytes)")
    document = parse_json(file.path.read_bytes().removeprefix(b"\xef\xbb\xbf"), where, pairs_hook=tuple)
    fields = dict(document) if isinstance(document, tuple) else {}
    pairs = fields.get("weight_map")
    if not isinstance(pairs, tuple):
        raise InputError(f'{where}: JSON without a "weight_map" {{key: shard}}; it is not the index of a checkpoint')
    if not pairs:
        raise InputError(f"{where}: the index names no keys")
    check_names([key for key, _ in pairs], where, context.limits)
    for key, shard in pairs:
        if not isinstance(shard, str):
            raise InputError(f"{where}: the shard of key {shown(key)} is {shown(shard)}, not the name of a file")
    return dict(pairs)


def _check_shards(shards: list[str], folder: Path, where: str) -> None:
    """Refuses names that lead out of the folder (on any system), and says which shards are not there.

    The rule of huggingface_hub's `serialization/_torch.py`, links into the `blobs` of the same
    repository in its cache allowed.
    """
    suffixes = {PureWindowsPath(shard).suffix for shard in shards}
    for shard in shards:
        path = PureWindowsPath(shard)
        outside = path.drive or path.root or ".." in path.parts or "\\" in shard or not shard.isprintable()
        if outside or path.suffix not in SUFFIXES or len(suffixes) > 1:
            raise UnsafeInputError(f"{where}: {shown(shard)} is not the name of a shard beside the index")
    missing = [shard for shard in shards if not (folder / shard).exists()]
    if missing:
        raise InputError(
            f"{where}: {len(missing)} of {len(shards)} shards are not there: {listed(missing, 3)}; fetch them"
        )
    allowed = [folder.resolve(), *_blobs(folder)]
    for shard in shards:
        target = (folder / shard).resolve()
        if not any(target.is_relative_to(place) for place in allowed):
            raise UnsafeInputError(
                f"{where}: shard {shown(shard)} is a link that leaves the folder; copy the file to its place"
            )


def _blobs(folder: Path) -> list[Path]:
    """Where the cache of the Hugging Face Hub keeps the files that `snapshots/<revision>/` links to."""
    parents = (folder.absolute(), *folder.absolute().parents)
    return [place.parent / "blobs" for place in (p.resolve() for p in parents) if place.name == "snapshots"]


def _compare(weight_map: dict[str, str], home: dict[str, str], where: str) -> list[str]:
    """Refuses keys that are not where the index says; returns a note on keys that it does not name."""
    for key, shard in weight_map.items():
        if home.get(key) != shard:
            place = f"in {home[key]}" if key in home else "in no shard"
            raise InputError(f"{where}: key {shown(key)} should be in {shard} but is {place}; fetch the files again")
    unnamed = [key for key in home if key not in weight_map]
    return [f"in the shards but not in the index: {listed(unnamed)}"] if unnamed else []


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


FORMAT = FileFormat("sharded index", accepts, read)
