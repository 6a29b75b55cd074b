"""The versions of modules that `nn.Module.state_dict` hangs on its dict as `_metadata`, under new names.

A module with a `_version` decides by them, when it is loaded, whether a tensor is of the old kind and must be changed;
one that is handed over without its version is taken for the oldest.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from automatch.module_versions import ATTRIBUTE, plain_versions


def versions_of(state_dict: object) -> Mapping[str, Any]:
    """What a state_dict says of its modules, by their paths ("" for the whole); empty where it says nothing."""
    return plain_versions(getattr(state_dict, ATTRIBUTE, None))


def with_versions(tensors: dict[str, Any], versions: Mapping[str, Any]) -> dict[str, Any]:
    """The same tensors in a dict that carries versions; the very dict where there are none."""
    if not versions:
        return tensors
    out = OrderedDict(tensors)
    out._metadata = OrderedDict((path, dict(said)) for path, said in versions.items())  # type: ignore[attr-defined]
    return out


def moved_versions(versions: Mapping[str, Any], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The versions under the paths to which the tensors went.

    Args:
        versions: by paths of the checkpoint's modules.
        pairs: (checkpoint key, model key).

    Returns:
        For each module of the model the version of the one whose tensor it got (of several, the first), and for those
        around it that of the one as far out in the checkpoint. The whole model gets that of what most of its tensors
        stood in, which is not the whole checkpoint where a wrapper was taken off.
    """
    paths = [(old.split(".")[:-1], new.split(".")[:-1]) for old, new in pairs]
    roots = Counter(".".join(old[: len(old) - len(new)]) for old, new in paths if len(old) >= len(new))
    root = next((path for path, _ in roots.most_common(1) if path in versions), "")
    out = {"": versions[root]} if root in versions else {}
    for old, new in paths:
        if (path := ".".join(old)) in versions:
            out.setdefault(".".join(new), versions[path])
    around = dict.fromkeys((tuple(old), tuple(new)) for old, new in paths)
    while around:
        around = dict.fromkeys((old[:-1], new[:-1]) for old, new in around if old and len(new) > 1)
        for outer, inner in around:
            if (path := ".".join(outer)) in versions:
                out.setdefault(".".join(inner), versions[path])
    return out
