"""safetensors: tensor bytes are copied as they are and only the header is written anew; metadata is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from automatch.applying.plan import Plan, Writer
from automatch.errors import InputError

COPY_BYTES = 1 << 22
METADATA = "__metadata__"


def write(source: Path, part: Path, plan: Plan) -> None:
    """Write the source under the plan's keys to `part`.

    Args:
        source: a safetensors file that the reading stage accepted.
        part: an empty file.
        plan: what becomes of each tensor.

    Raises:
        OSError: a file cannot be read or written.
    """
    if plan.renamed is not None:
        _rename(source, part, plan.renamed)
    else:
        _transform(source, part, plan)


def _rename(source: Path, part: Path, renamed: Mapping[str, str]) -> None:
    """Write a new header, then the data byte for byte."""
    with source.open("rb") as stream, part.open("wb") as out:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        if METADATA in renamed.values():
            raise InputError(f"{source}: no tensor can be called {METADATA} in a safetensors file; mend the rules")
        entries = {renamed.get(key, key): entry for key, entry in header.items()}
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
        text += b" " * (-len(text) % 8)  # the data stays aligned to 8 bytes, as the format's own writer does it
        out.write(len(text).to_bytes(8, "little") + text)
        shutil.copyfileobj(stream, out, COPY_BYTES)


def _transform(source: Path, part: Path, plan: Plan) -> None:
    """Write tensors that change, through memory."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(source, framework="pt") as opened:
        metadata = opened.metadata()
        changed = plan.apply({key: opened.get_tensor(key) for key in plan.keys})
    # Pieces of a chunk share memory, which the format cannot say: each gets its own.
    save_file({key: tensor.contiguous().clone() for key, tensor in changed.items()}, part, metadata)


WRITER = Writer("safetensors", (".safetensors",), ("safetensors",), write)
