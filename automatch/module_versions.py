"""The versions of modules that `nn.Module.state_dict` hangs on its dict as `_metadata`, as plain data."""

from __future__ import annotations

from collections.abc import Mapping

Versions = Mapping[str, Mapping[str, object]]

ATTRIBUTE = "_metadata"
_OF_A_LOAD = "assign_to_params_buffers"
PLAIN = (int, float, bool, str, type(None))


def plain_versions(metadata: object) -> Versions:
    """What is said of modules by their paths ("" for the whole), with nothing but texts and numbers in it.

    Args:
        metadata: what stands as `_metadata`: of a live state_dict, or as a pickle describes it.

    Returns:
        For each path its plain entries, such as `{"version": 2}`; empty where it is no `_metadata`. A version that is
        no whole number is left out, and so is what torch notes there about one load (`assign_to_params_buffers`): a
        file does not decide how it is loaded.
    """
    if not isinstance(metadata, Mapping):
        return {}
    return {
        path: {name: value for name, value in said.items() if _is_plain(name, value)}
        for path, said in metadata.items()
        if type(path) is str and isinstance(said, Mapping)
    }


def _is_plain(name: object, value: object) -> bool:
    if name == "version":
        return type(value) is int
    return type(name) is str and name != _OF_A_LOAD and type(value) in PLAIN
