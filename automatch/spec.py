"""What a state_dict holds, without its values: keys, shapes and dtypes in order.

Every reader produces a `StateDictSpec`; every later stage starts from two of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

Shape = tuple[int, ...]


class TensorSpec(NamedTuple):
    """One entry of a state_dict.

    A named tuple, not a dataclass: a checkpoint may hold a hundred thousand of them.

    Attributes:
        key: its name in the state_dict.
        shape: sizes of its dimensions; `()` for a scalar.
        dtype: torch's word for it without the `torch.` ("float32", "bfloat16", "int64").
        kind: "parameter" or "buffer", or None where the source does not say (files do not).
        tied: key of the first entry that shares its storage, or None.
    """

    key: str
    shape: Shape
    dtype: str = "float32"
    kind: str | None = None
    tied: str | None = None


_ZEROS = bytes.maketrans(b"123456789", b"000000000")


def _zeroed(text: str) -> str:
    """A text with every digit a zero; bytes are translated fastest."""
    return text.encode(errors="surrogatepass").translate(_ZEROS).decode(errors="surrogatepass")


@dataclass(frozen=True)
class StateDictSpec:
    """The keys of one side, in state_dict order.

    Attributes:
        name: what to call it in reports: the path, or the class of the model.
        tensors: one `TensorSpec` per key, in state_dict order; keys are unique.
        origin: how it was read, e.g. "safetensors, header only".
        at: dotted path to the state_dict inside a nested checkpoint, "" at its top.
        notes: sentences the reader wants the user to see.
        files: paths of the files that it was read from: one, or the shards; empty for objects.
        rivals: dotted paths of other dicts with the same keys and shapes: nothing but the values tells them apart.
        versions: what it says of its modules by their paths (torch's `_metadata`), such as `{"version": 2}`; empty
            where it says nothing, as files that keep none.
        beside: what else of the file might have been meant, such as "`D` (9 tensors)"; empty where the user chose.
    """

    name: str
    tensors: tuple[TensorSpec, ...]
    origin: str = ""
    at: str = ""
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    versions: Mapping[str, Mapping[str, object]] = field(default_factory=dict, compare=False, repr=False)
    beside: tuple[str, ...] = field(default=(), compare=False)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys in state_dict order."""
        return tuple(t.key for t in self.tensors)

    @cached_property
    def by_key(self) -> dict[str, TensorSpec]:
        """Each entry under its key."""
        return {t.key: t for t in self.tensors}

    @cached_property
    def plain_keys(self) -> list[str]:
        """The keys with every digit a zero, in the same order: what those of all layers have in common."""
        plain = _zeroed("\n".join(self.keys)).split("\n")
        return plain if len(plain) == len(self.keys) else list(map(_zeroed, self.keys))  # a line break in a key

    @property
    def places(self) -> tuple[str, ...]:
        """Where it lies in its file, and where its rivals lie, in words."""
        return tuple(f"`{place}`" if place else "the top level (--at '')" for place in (self.at, *self.rivals))

    def __len__(self) -> int:
        return len(self.tensors)
