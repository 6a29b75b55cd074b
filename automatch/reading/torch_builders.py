"""The names of a torch pickle whose meaning is known: rebuild functions, storages, dtypes, plain containers.

They are known by name only. Whatever is not in these tables stays an opaque record.
Sources: torch/_utils.py, torch/_tensor.py and torch/storage.py of torch 0.1 to 2.13.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from automatch.reading.limits import DEFAULT_LIMITS
from automatch.reading.records import ArrayRecord, Call, Global, StorageRecord, TensorRecord
from automatch.spec import Shape

Args = tuple[Any, ...]
LARGEST = 2**63
MOST_DIMS = DEFAULT_LIMITS.rank
LONGEST_KEY = 64

# bytes of one element of a storage
ITEMSIZE: dict[str, int] = {
    **dict.fromkeys(("bool", "uint8", "int8", "quint8", "qint8"), 1),
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"), 1),
    **dict.fromkeys(("bits8", "float4_e2m1fn_x2"), 1),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16", "bits16"), 2),
    **dict.fromkeys(("float32", "int32", "uint32", "qint32", "complex32"), 4),
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 8),
    "complex128": 16,
    **dict.fromkeys(("quint4x2", "quint2x4", "bits4x2", "bits2x4", "bits1x8"), 1),
    **dict.fromkeys((f"{sign}{bits}" for sign in ("int", "uint") for bits in range(1, 8)), 1),
}
# how many elements of a tensor share one element of its storage
PACKED = {"quint4x2": 2, "quint2x4": 4}
DTYPE_ALIASES = {"half": "float16", "float": "float32", "double": "float64", "long": "int64", "int": "int32"}
STORAGES: dict[str, str] = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "uint8",
    "_UntypedStorage": "uint8",
}
STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")

# mentioned in nearly every training checkpoint; opaque all the same, but not worth a sentence
HARMLESS = frozenset(
    (
        "torch.device",
        "torch.Tensor",
        "torch._tensor.Tensor",
        "torch.nn.parameter.Parameter",
        "torch.serialization._get_layout",
        "_codecs.encode",
        "builtins.bytes",
        "builtins.bytearray",
        "builtins.complex",
        "builtins.slice",
        "builtins.object",
        "datetime.datetime",
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
        "numpy.dtype",
        "numpy.ndarray",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
    )
)
QUANTIZERS = ("per_tensor_affine", "per_tensor_symmetric", "per_channel_affine", "per_channel_symmetric")
PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


def make_global(module: str, name: str) -> Global:
    """The record of a name that a pickle wants imported, with its meaning if it has one for us."""
    module = PYTHON_2.get(module, module)
    full = f"{module}.{name}"
    known = (
        (module in STORAGE_MODULES and name in STORAGES)
        or dtype_of_global(module, name) is not None
        or (module == "torch" and name.startswith(QUANTIZERS))
    )
    return Global(module, name, DESCRIBE.get(full), known or full in DESCRIBE or full in HARMLESS)


def dtype_of_global(module: str, name: str) -> str | None:
    """The dtype that a global such as `torch.float32` stands for, or None."""
    dtype = DTYPE_ALIASES.get(name, name)
    return dtype if module == "torch" and dtype in ITEMSIZE else None


def storage_record(kind: object, key: str, numel: object) -> StorageRecord:
    """The record of a storage.

    Args:
        kind: the global that names its type.
        key: tells it from the other storages of the file.
        numel: number of elements that the pickle says it has.

    Raises:
        ValueError: it is no storage type, or the number cannot be true.
    """
    if not isinstance(kind, Global) or kind.module not in STORAGE_MODULES or kind.name not in STORAGES:
        raise ValueError(f"{kind if isinstance(kind, Global) else 'an object'} is no storage type")
    if type(numel) is not int or not 0 <= numel < LARGEST:
        raise ValueError("a storage has an impossible number of elements")
    dtype = STORAGES[kind.name]
    return StorageRecord(key, dtype, ITEMSIZE[dtype], numel)


def _view(storage: object, offset: Any, size: Any, stride: Any, dtype: str | None = None) -> TensorRecord:
    """A tensor that shows part of a storage; refuses one that would reach beyond it."""
    if type(storage) is not StorageRecord or type(size) is not tuple or type(stride) is not tuple:
        raise ValueError("a tensor is rebuilt from something else than a storage and its sizes")
    if len(size) != len(stride) or type(offset) is not int or not 0 <= offset < LARGEST:
        raise ValueError("a tensor has sizes and strides that do not belong together")
    if len(size) > MOST_DIMS:
        raise ValueError(f"a tensor has {len(size)} dimensions, more than {MOST_DIMS}")
    last, empty = offset, False
    for d, s in zip(size, stride, strict=True):
        if type(d) is not int or type(s) is not int or not 0 <= d < LARGEST or not 0 <= s < LARGEST:
            raise ValueError("a tensor has a size or stride that is no whole number >= 0 of at most 63 bits")
        last += (d - 1) * s
        empty = empty or d == 0
    if dtype is None:
        dtype, itemsize = storage.dtype, storage.itemsize
    else:
        itemsize = ITEMSIZE[dtype]
    if not empty and (last // PACKED.get(dtype, 1) + 1) * itemsize > storage.numel * storage.itemsize:
        raise ValueError(f"a tensor of shape {list(size)} reaches beyond its storage")
    return TensorRecord(size, dtype, None if empty else (storage.key, offset, size, stride, dtype))


def _tensor(args: Args) -> TensorRecord:
    return _view(args[0], args[1], args[2], args[3])


def _tensor_v3(args: Args) -> TensorRecord:
    return _view(args[0], args[1], args[2], args[3], _dtype(args[6]))


def _dtype(value: object) -> str:
    dtype = dtype_of_global(value.module, value.name) if isinstance(value, Global) else None
    if dtype is None:
        raise ValueError("a tensor has an unknown dtype")
    return dtype


def _sizes(size: object, what: str) -> Shape:
    """The sizes of something that has no storage to compare them with."""
    if type(size) is not tuple:
        raise ValueError(f"{what} has no sizes")
    if len(size) > MOST_DIMS:
        raise ValueError(f"{what} has {len(size)} dimensions, more than {MOST_DIMS}")
    if any(type(d) is not int or not 0 <= d < LARGEST for d in size):
        raise ValueError(f"{what} has a size that is no whole number >= 0 of at most 63 bits")
    return size


def _without_storage(dtype: object, size: object) -> TensorRecord:
    return TensorRecord(_sizes(size, "a tensor"), _dtype(dtype))


def _sparse(args: Args) -> TensorRecord:
    """Sparse layouts are listed by their outer shape; their indices are never looked at."""
    data = args[1]
    size = data[2] if len(data) < 4 or isinstance(data[2], tuple) else data[3]
    values = data[1] if isinstance(data[2], tuple) else data[2]
    if not isinstance(values, TensorRecord) or type(size) is not tuple:
        raise ValueError("a sparse tensor is rebuilt from something else than indices, values and sizes")
    return TensorRecord(_sizes(size, "a sparse tensor"), values.dtype)


def _from_type(args: Args) -> object:
    function, _, inner = args[:3]
    # only what rebuilds a tensor: anything else could copy, or call this again without end
    if isinstance(function, Global) and function.module == "torch._utils" and type(inner) is tuple:
        return function.describe(inner) if function.describe else Call(function, inner)
    return Call(function, (inner,))


def _converted(args: Args) -> TensorRecord:
    """A tensor of another device, saved as a CPU tensor (or an array) beside its real dtype."""
    if not isinstance(args[0], TensorRecord):
        raise ValueError("a tensor is rebuilt from something else than a tensor or an array")
    return _without_storage(args[1], args[0].shape)


def _dict(args: Args) -> dict[Any, Any]:
    if not args:
        return {}
    pairs = args[-1]
    if isinstance(pairs, dict):
        return dict(pairs)
    if isinstance(pairs, list) and all(isinstance(p, (list, tuple)) and len(p) == 2 for p in pairs):
        check_keys([key for key, _ in pairs])
        return {key: value for key, value in pairs}
    return {}


def check_keys(keys: list[Any]) -> None:
    """Refuses dict keys whose hash might recurse or be costly to compute.

    Raises:
        ValueError: a key is a container, a number of more than 64 bits or a tuple of very many values.
    """
    for key in keys:
        parts = key if type(key) is tuple else (key,)
        if len(parts) > LONGEST_KEY:
            raise ValueError("a dict has a key that cannot be one")
        for part in parts:
            if isinstance(part, (tuple, list, dict)) or (type(part) is int and abs(part) >= LARGEST):
                raise ValueError("a dict has a key that cannot be one")


def _size(args: Args) -> tuple[Any, ...]:
    return tuple(args[-1]) if args else ()


def _members(kind: str, args: Args) -> Call:
    values = args[-1] if args else []
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"a {kind} is made from something else than a list")
    return Call(Global("builtins", kind, harmless=True), members=list(values))


def _reconstructor(args: Args) -> Call:
    return Call(args[0], args[1:3])


def describe_array(array: ArrayRecord, state: object) -> None:
    """Fills in a NumPy array from the state `(version, shape, dtype, is_fortran, data)` that BUILD hands to it.

    Raises:
        ValueError: the state is not of this form.
    """
    if type(state) is not tuple or len(state) != 5:
        raise ValueError("a NumPy array has a state of unknown form")
    known = _array(state[1], state[2])
    array.shape, array.dtype = known.shape, known.dtype


def _array(shape: object, dtype: object) -> ArrayRecord:
    return ArrayRecord(_sizes(shape, "a NumPy array"), _numpy_dtype(dtype))


def _numpy_dtype(dtype: object) -> str:
    code = dtype.args[0] if isinstance(dtype, Call) and dtype.args else None
    if not isinstance(code, str) or code[:1] not in NUMPY_KINDS or not code[1:].isdecimal():
        return "object"
    return "bool" if code == "b1" else f"{NUMPY_KINDS[code[0]]}{int(code[1:]) * 8}"


NUMPY_KINDS = {"f": "float", "i": "int", "u": "uint", "c": "complex", "b": "bool"}
DESCRIBE: dict[str, Callable[[Args], object]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_qtensor": _tensor,
    "torch._utils._rebuild_parameter": lambda args: args[0],
    "torch._utils._rebuild_parameter_with_state": lambda args: args[0],
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_meta_tensor_no_storage": lambda args: _without_storage(args[0], args[1]),
    "torch._utils._rebuild_wrapper_subclass": lambda args: _without_storage(args[1], args[2]),
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _converted,
    "torch._utils._rebuild_device_tensor_from_numpy": _converted,
    "torch._tensor._rebuild_from_type": _from_type,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Size": _size,
    "collections.OrderedDict": _dict,
    "collections.defaultdict": lambda _: {},
    "collections.Counter": _dict,
    "builtins.dict": _dict,
    "builtins.set": lambda args: _members("set", args),
    "builtins.frozenset": lambda args: _members("frozenset", args),
    "builtins.list": lambda args: list(args[-1]) if args else [],
    "copyreg._reconstructor": _reconstructor,
    "numpy.core.multiarray._reconstruct": lambda _: ArrayRecord((), "object"),
    "numpy._core.multiarray._reconstruct": lambda _: ArrayRecord((), "object"),
    "numpy.core.numeric._frombuffer": lambda args: _array(args[2], args[1]),
    "numpy._core.numeric._frombuffer": lambda args: _array(args[2], args[1]),
}
