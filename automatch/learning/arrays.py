"""The tensors of one side as NumPy arrays, one at a time; files are mapped, nothing is kept.

NumPy has no bfloat16 and no float8: these come as their bits (`uint16`, `uint8`); the description says what they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automatch.errors import InputError
from automatch.reading import format_of
from automatch.spec import Shape, StateDictSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

PLAIN = {
    "bool": "bool",
    "uint8": "u1", "int8": "i1", "uint16": "u2", "int16": "i2", "uint32": "u4", "int32": "i4", "uint64": "u8",
    "int64": "i8", "float16": "f2", "float32": "f4", "float64": "f8", "complex64": "c8", "complex128": "c16",
}  # fmt: skip
"""NumPy's word for each dtype that it knows."""

BITS = {"bfloat16": "u2", "float8_e4m3fn": "u1", "float8_e4m3fnuz": "u1", "float8_e5m2": "u1", "float8_e5m2fnuz": "u1"}
"""What stands for those that it does not know."""

Get = Callable[[str], "NDArray[Any]"]


class Arrays:
    """Reads the tensors of a side when they are asked for.

    Attributes:
        spec: keys, shapes and dtypes of the side.
    """

    def __init__(self, source: object, spec: StateDictSpec) -> None:
        """Find out where the values are; none is read yet.

        Args:
            source: what `read_checkpoint` was given.
            spec: what it answered.

        Raises:
            InputError: there are keys but no values.
        """
        self.spec = spec
        formats = {format_of(Path(file)) for file in spec.files}
        if formats == {"safetensors"}:
            self._get = _from_safetensors(spec)
        elif formats == {"NumPy archive"}:
            self._get = _from_archive(spec)
        else:
            self._get = _from_torch(source, spec)

    def __call__(self, key: str) -> NDArray[Any]:
        """The values under a key, in their shape, row by row in memory.

        Raises:
            InputError: they are not what the description says.
        """
        import numpy as np

        array = self._get(key)
        if array.shape != self.spec.by_key[key].shape:
            raise InputError(f"{self.spec.name}: {key!r} is not what its description says; has the file changed?")
        return np.ascontiguousarray(array) if array.ndim else array

    def readable(self, key: str) -> bool:
        """Whether the dtype is one that can be read."""
        return word_of(self.spec.by_key[key].dtype) != ""


def has_values(source: object, spec: StateDictSpec) -> bool:
    """Whether a side holds values: no key list, and nothing on the meta device.

    Args:
        source: what was described: a module, a mapping, a path.
        spec: its description.
    """
    if spec.files:
        return all(format_of(Path(file)) not in ("key list", "") for file in spec.files)
    state_dict = getattr(source, "state_dict", None)
    held = state_dict() if callable(state_dict) else source
    if not isinstance(held, Mapping):
        return False
    return bool(held) and not any(getattr(value, "is_meta", False) for value in held.values())


def word_of(dtype: str) -> str:
    """NumPy's word for a dtype, or for the bits that stand for it; "" where there is none."""
    return PLAIN.get(dtype) or BITS.get(dtype, "")


def _from_safetensors(spec: StateDictSpec) -> Get:
    """Each tensor is a mapping of its own, so that its memory is given back when nobody looks at it any more."""
    import numpy as np

    places: dict[str, tuple[str, int]] = {}
    for file in spec.files:
        with Path(file).open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        for key, entry in header.items():
            if key != "__metadata__":
                places[key] = (file, 8 + length + entry["data_offsets"][0])

    def get(key: str) -> NDArray[Any]:
        file, offset = places[key]
        tensor = spec.by_key[key]
        dtype = np.dtype(word_of(tensor.dtype)).newbyteorder("<")
        if 0 in tensor.shape:
            return np.empty(tensor.shape, dtype)
        return np.memmap(file, dtype, "r", offset, tensor.shape)

    return get


def _from_archive(spec: StateDictSpec) -> Get:
    """Each array is read from the archive when it is asked for."""
    import numpy as np

    archive = np.load(spec.files[0], allow_pickle=False)

    def get(key: str) -> NDArray[Any]:
        array: NDArray[Any] = archive[key]
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    return get


def _from_torch(source: object, spec: StateDictSpec) -> Get:
    """Files of `torch.save` are mapped by torch; a state_dict in memory is used as it is."""
    from automatch.applying.tensors import load_values

    values, _ = load_values(source, spec)

    def get(key: str) -> NDArray[Any]:
        return _as_array(values[key], spec.by_key[key].dtype, spec.by_key[key].shape)

    return get


def _as_array(value: Any, dtype: str, shape: Shape) -> NDArray[Any]:
    """A tensor or an array as an array.

    Raises:
        InputError: it has no values, as on the meta device.
    """
    import numpy as np

    if isinstance(value, np.ndarray):
        return value.astype(value.dtype.newbyteorder("="), copy=False)
    import torch

    if not isinstance(value, torch.Tensor):
        raise InputError(f"a value of type {type(value).__name__} is no tensor; give the checkpoint itself")
    if value.is_meta:
        raise InputError("tensors on the meta device have no values; give a checkpoint, or a model with values")
    value = value.detach().cpu()
    if value.layout is not torch.strided:
        value = value.to_dense()
    value = value.resolve_conj().resolve_neg()
    if dtype in BITS:
        value = value.contiguous().view({"u2": torch.int16, "u1": torch.uint8}[BITS[dtype]])
        array: NDArray[Any] = value.numpy().view(BITS[dtype])
        return array
    return np.asarray(value.numpy()).reshape(shape)
