"""What can be asked of a tensor or a module without importing torch."""

from __future__ import annotations

from typing import Any

from automatch.errors import InputError
from automatch.reading.records import TensorRecord
from automatch.spec import Shape, TensorSpec


def is_tensor(value: object) -> bool:
    """Whether it has a shape and a dtype, like a tensor, an array or a record of one (numpy's scalars are numbers)."""
    if type(value).__module__ == "numpy" and type(value).__name__ != "ndarray":
        return False
    return hasattr(type(value), "shape") and hasattr(type(value), "dtype")


def is_module(value: object) -> bool:
    """Whether it is an `nn.Module`, told by its two methods that give keys."""
    return (
        not isinstance(value, type)
        and callable(getattr(value, "state_dict", None))
        and callable(getattr(value, "named_parameters", None))
    )


def shape_of(tensor: Any, key: str) -> Shape:
    """Its sizes as plain integers.

    Args:
        tensor: what `is_tensor` accepts.
        key: its key, for the error.

    Raises:
        InputError: it is a nested tensor, which has none.
    """
    if getattr(tensor, "is_nested", False):
        raise InputError(f"{key!r} is a nested tensor, which has no sizes to compare; take it out, or pad it to one")
    return tuple(map(int, tensor.shape))


def dtype_of(tensor: Any) -> str:
    """Its dtype in torch's word, without the `torch.`."""
    return str(tensor.dtype).removeprefix("torch.")


def storage_of(tensor: Any) -> object:
    """A value that is equal for two tensors exactly if they show the same elements of the same storage.

    Identity decides where nothing is stored (meta, fake and wrapped tensors).
    """
    if isinstance(tensor, TensorRecord):
        return id(tensor) if tensor.storage is None else tensor.storage
    plain = type(tensor).__name__ in ("Tensor", "Parameter", "Buffer") and type(tensor).__module__.startswith("torch")
    if not plain or tensor.device.type == "meta" or str(tensor.layout) != "torch.strided" or not tensor.numel():
        return id(tensor)
    return (tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype)


def with_ties(tensors: list[TensorSpec], storages: list[object]) -> tuple[TensorSpec, ...]:
    """The same entries, each later one that shares a storage marked as tied to the first.

    Args:
        tensors: entries in state_dict order.
        storages: one value for each, equal where the storage is shared.
    """
    if len(set(storages)) == len(storages):
        return tuple(tensors)
    first: dict[object, str] = {}
    return tuple(
        t if (owner := first.setdefault(s, t.key)) == t.key else t._replace(tied=owner)
        for t, s in zip(tensors, storages, strict=True)
    )
