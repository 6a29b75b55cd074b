"""The versions of modules in key lists: by number, with the modules that have each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from automatch.module_versions import Versions


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
