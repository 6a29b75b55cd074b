"""torch's own format: loaded safely and mapped, renamed in place, saved again; every other entry is kept.

The `_metadata` that `nn.Module.state_dict` hangs on its dict, the versions of modules, goes with the tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from automatch.applying.plan import Plan, Writer
from automatch.applying.torch_document import at_path, load_document, locate, state_dict_at
from automatch.errors import InputError
from automatch.rules.versions import versions_of, with_versions

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar")


def write(source: Path, part: Path, plan: Plan) -> None:
    """Write the source with the plan's keys to `part`.

    Args:
        source: a checkpoint that the reading stage accepted.
        part: an empty file.
        plan: what becomes of each tensor.

    Raises:
        InputError: torch's safe loader refuses the source, or its state_dict lies in something that cannot be changed.
        OSError: a file cannot be read or written.
    """
    import torch

    document = load_document(source)
    path = locate(document, plan.at, str(source))
    changed = _changed(state_dict_at(document, path), plan, str(source))
    if path:
        parent = at_path(document, path[:-1])
        if isinstance(parent, tuple):
            raise InputError(f"{source}: the state_dict at {plan.at!r} lies in a tuple, which cannot be changed")
        parent[path[-1]] = changed
    else:
        document = changed
    torch.save(document, part)


def _changed(state_dict: dict[Any, Any], plan: Plan, where: str) -> dict[Any, Any]:
    """The state_dict under new keys; its entries that are no tensors follow as they are."""
    changed = plan.apply(with_versions({key: state_dict[key] for key in plan.keys}, versions_of(state_dict)))
    meant = set(plan.keys)
    others = {key: value for key, value in state_dict.items() if key not in meant}
    taken = next((key for key in others if key in changed), None)
    if taken is not None:
        raise InputError(f"{where}: the rules call a tensor {taken!r}, but another entry has that key; mend the rules")
    kind = OrderedDict if isinstance(state_dict, OrderedDict) else dict
    return with_versions(kind({**changed, **others}), versions_of(changed))


WRITER = Writer("torch", SUFFIXES, ("torch zip", "torch legacy"), write)
