"""A live `nn.Module`, on any device including meta."""

from __future__ import annotations

from typing import Any

from automatch.errors import InputError
from automatch.module_versions import ATTRIBUTE, plain_versions
from automatch.reading.source import Candidate, Context, Found, ObjectFormat, listed
from automatch.reading.torch_words import dtype_of, is_module, is_tensor, shape_of, storage_of, with_ties
from automatch.spec import TensorSpec


def read(module: Any, context: Context) -> Found:
    """Describes the state_dict of a module: kinds and ties included, in registration order.

    Raises:
        InputError: a lazy module has not seen its first input, so its shapes are not known; or a tensor has none.
    """
    parameters = {id(p) for _, p in module.named_parameters(remove_duplicate=False)}
    entries = module.state_dict(keep_vars=True)
    tensors: list[TensorSpec] = []
    dropped: list[str] = []
    for key, value in entries.items():
        if type(value).__name__ in ("UninitializedParameter", "UninitializedBuffer"):
            raise InputError(
                f"model {type(module).__name__}: {key} has no shape yet (lazy module); "
                f"run one forward pass before the comparison"
            )
        if is_tensor(value):
            kind = "parameter" if id(value) in parameters else "buffer"
            tensors.append(TensorSpec(key, shape_of(value, key), dtype_of(value), kind))
        else:
            dropped.append(str(key))
    notes = (f"not tensors, left out: {listed(dropped)}",) if dropped else ()
    versions = plain_versions(getattr(entries, ATTRIBUTE, None))
    tied = with_ties(tensors, [storage_of(entries[t.key]) for t in tensors])
    candidates = (Candidate((), tied, notes=notes, versions=versions),) if tied else ()
    return Found("live module", candidates, empty="has no state_dict entries")


FORMAT = ObjectFormat(is_module, read)
