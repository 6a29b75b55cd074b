"""The versions of modules that `nn.Module.state_dict` hangs on its dict as `_metadata`, as plain data."""

from __future__ import annotations

from collections.abc import Mapping

Versions = Mapping[str, Mapping[str, object]]

ATTRIBUTE = "_metadata"
PLAIN = (int, float, bool, str, type(None))


def plain_versions(metadata: object) -> Versions:
    """What is said of modules by their paths ("" for the whole), with nothing but texts and numbers in it.

    Args:
        metadata: what stands as `_metadata`: of a live state_dict, or as a pickle describes it.

    Returns:
        For each path its plain entries, such as `{"version": 2}`; empty where it is no `_metadata`.
    """
    if not isinstance(metadata, Mapping):
        return {}
    return {
        path: {name: value for name, value in said.items() if type(name) is str and type(value) in PLAIN}
        for path, said in metadata.items()
        if type(path) is str and isinstance(said, Mapping)
    }
