"""The values of a checkpoint that was described before, loaded safely."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automatch.applying.stand_in import StandIn, tensors_of
from automatch.applying.torch_document import load_document, locate, state_dict_at
from automatch.errors import InputError
from automatch.reading import format_of
from automatch.rules.versions import versions_of, with_versions
from automatch.spec import StateDictSpec

if TYPE_CHECKING:
    from torch import Tensor


EXTRA_STATE = "_extra_state"  # how torch ends the key of what a module's get_extra_state() gave


def load_values(source: object, spec: StateDictSpec) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a checkpoint, on the CPU if they come from files.

    safetensors are opened by their library; torch files by `torch.load(weights_only=True)`, mapped where they can be.

    Args:
        source: what `read_checkpoint` was given.
        spec: what it answered.

    Returns:
        A tensor for each key of `spec`, in its order, with the versions of modules where the source has them; and the
        extra states of modules that are no tensors.

    Raises:
        InputError: the source holds keys but no values, or its values are not those that were described.
    """
    if spec.files:
        found: Mapping[str, Any] = _from_files(spec)
    elif isinstance(source, (Mapping, list, tuple)):
        found = state_dict_at(source, locate(source, spec.at, spec.name))
    elif callable(state_dict := getattr(source, "state_dict", None)):
        found = state_dict()
    else:
        raise InputError(f"{spec.name}: holds keys and shapes but no values; give the checkpoint itself")
    tensors = {t.key: _checked(found, t.key, t.shape, spec.name) for t in spec.tensors}
    states = {
        key: value
        for key, value in found.items()
        if type(key) is str and key.endswith(EXTRA_STATE) and key not in tensors and not isinstance(value, StandIn)
    }
    return with_versions(tensors, versions_of(found)), states


def _from_files(spec: StateDictSpec) -> dict[str, Any]:
    """The tensors of one file, or of all shards."""
    found: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    for path in map(Path, spec.files):
        found_as = format_of(path)
        if found_as == "safetensors":
            found.update(_safetensors(path))
        elif found_as == "NumPy archive":
            found.update(_arrays(path, spec))
        elif found_as in ("torch zip", "torch legacy"):
            document = load_document(path, whole=False)
            inside = state_dict_at(document, locate(document, spec.at, str(path)))
            versions |= versions_of(inside)
            found.update(tensors_of(inside, str(path)))
        else:
            raise InputError(
                f"{path}: read as {spec.origin}, which gives no values; give the file of tensors, or a dict of tensors "
                f"that you loaded yourself"
            )
    return with_versions(found, versions)


def _safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as opened:
        return {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - it is no dict


def _arrays(path: Path, spec: StateDictSpec) -> dict[str, Tensor]:
    """The arrays of a NumPy archive, in the byte order of this machine."""
    import numpy
    import torch

    with numpy.load(path, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in spec.keys}
    return {key: torch.from_numpy(a.astype(a.dtype.newbyteorder("="))) for key, a in arrays.items()}


def _checked(found: Mapping[str, Any], key: str, shape: tuple[int, ...], name: str) -> Any:
    """The value of a key, which must be there with the shape that was described."""
    tensor = found.get(key)
    if tensor is None or tuple(tensor.shape) != shape:
        raise InputError(f"{name}: {key!r} is not what its description says; has the file changed meanwhile?")
    return tensor
