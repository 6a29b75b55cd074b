"""How much a file may ask of us before it is refused; every check happens before the allocation."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """Upper bounds for what a file may declare.

    The values leave room for the largest public checkpoints and stop files that lie.

    Attributes:
        header_bytes: JSON header of a safetensors file (the same bound as the safetensors library).
        json_bytes: an index or a key list, after decompression.
        tensors: entries of one checkpoint.
        rank: dimensions of one tensor.
        name_bytes: length of one key in UTF-8.
        pickle_bytes: one pickle stream without the tensor data.
        opcodes: instructions of one pickle stream.
        stack: values on the stack of a pickle at once.
        memo: values that a pickle numbers for later use.
        depth: containers inside containers.
        copied: values in lists and dicts that a pickle wants copied (`list(x)`, `dict(x)`, ...), all copies together.
        zip_entries: members of one archive.
        inflate_ratio: how many times larger than its stored form a compressed member may be.
    """

    header_bytes: int = 100_000_000
    json_bytes: int = 512_000_000
    tensors: int = 2_000_000
    rank: int = 64
    name_bytes: int = 4_096
    pickle_bytes: int = 512_000_000
    opcodes: int = 50_000_000
    stack: int = 1_000_000
    memo: int = 10_000_000
    depth: int = 1_000
    copied: int = 2_000_000
    zip_entries: int = 1_000_000
    inflate_ratio: int = 200

    def __post_init__(self) -> None:
        """Refuses limits that would let nothing through."""
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} must be at least 1")


DEFAULT_LIMITS = Limits()
