"""A folder that holds one checkpoint, as Hugging Face libraries lay it out or with a single file in it."""

from __future__ import annotations

import re
from pathlib import Path

from automatch.errors import InputError
from automatch.reading.source import Context, File, FileFormat, Found, listed

# in the order in which the libraries themselves look for them
USUAL = tuple(
    f"{stem}{ending}"
    for stem, suffix in (
        ("model", "safetensors"),
        ("pytorch_model", "bin"),
        ("diffusion_pytorch_model", "safetensors"),
        ("diffusion_pytorch_model", "bin"),
        ("adapter_model", "safetensors"),
        ("adapter_model", "bin"),
    )
    for ending in (f".{suffix}", f".{suffix}.index.json")
)
SUFFIXES = (".safetensors", ".index.json", ".bin", ".pt", ".pth", ".ckpt", ".keys.json", ".keys.json.gz")
SHARD = re.compile(r"-\d+-of-\d+\.\w+")


def accepts(file: File) -> bool:
    """Whether it is a folder."""
    return file.is_folder


def read(file: File, context: Context) -> Found:
    """Reads the checkpoint in a folder.

    Raises:
        InputError: there is none, or several and none of them has a usual name.
    """
    return context.read_part(_checkpoint(file.path))


def _checkpoint(folder: Path) -> Path:
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from None
    for usual in USUAL:
        if usual in names:
            return folder / usual
    if ".metadata" in names and any(name.endswith(".distcp") for name in names):
        raise InputError(
            f"{folder}: a distributed checkpoint; turn it into one file first: "
            f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} OUT.pt"
        )
    known = [name for name in names if name.endswith(SUFFIXES)]
    whole = [name for name in known if not SHARD.search(name)]
    if len(whole) == 1:
        return folder / whole[0]
    if whole:
        raise InputError(f"{folder}: holds several checkpoints ({listed(whole)}); name one of them")
    if known:
        raise InputError(f"{folder}: holds {len(known)} shards but not their index; fetch the *.index.json too")
    inside = [name for name in names if _holds_checkpoint(folder / name)]
    if inside:
        raise InputError(f"{folder}: the checkpoints are in sub-folders ({listed(inside)}); name one of them")
    raise InputError(f"{folder}: a folder without a checkpoint (no {', '.join('*' + s for s in SUFFIXES[:6])})")


def _holds_checkpoint(path: Path) -> bool:
    try:
        return path.is_dir() and any(entry.name.endswith(SUFFIXES) for entry in path.iterdir())
    except OSError:
        return False


FORMAT = FileFormat("folder", accepts, read)
