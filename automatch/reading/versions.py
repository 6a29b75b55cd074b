"""The versions of modules that `nn.Module.state_dict` hangs on its dict as `_metadata`, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


def module_paths(keys: Iterable[str]) -> tuple[str, ...]:
    """The paths of all modules that keys stand in, "" for the whole first."""
    paths = {"": None}
    for key in keys:
        path, _, _ = key.rpartition(".")
        while path and path not in paths:
            paths[path] = None
            path, _, _ = path.rpartition(".")
    return tuple(paths)


def by_number(versions: Versions, keys: Iterable[str]) -> dict[str, list[str]] | None:
    """The modules of each version but the first, which most have: {"2": ["bn1", "bn2"]}.

    Args:
        versions: what a state_dict says of its modules.
        keys: its keys.

    Returns:
        None where the version of a module is not known, or no number.
    """
    out: dict[str, list[str]] = {}
    for path in module_paths(keys):
        number = versions.get(path, {}).get("version")
        if type(number) is not int or number < 1:
            return None
        if number > 1:
            out.setdefault(str(number), []).append(path)
    return out


def from_numbers(numbers: Mapping[str, Iterable[str]], keys: Iterable[str]) -> Versions:
    """The reverse of `by_number`."""
    named = {path: int(number) for number, paths in numbers.items() for path in paths}
    return {path: {"version": named.get(path, 1)} for path in module_paths(keys)}
