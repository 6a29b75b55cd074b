"""Builds a model from `package.module:factory` or `path/file.py:factory`, on the meta device where it allows it.

This is the one place of automatch that runs code that somebody names; only the user can name it.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from automatch.errors import InputError, quoted

FORM = re.compile(r"(?P<place>.+?):(?P<name>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)(?P<call>\(.*\))?", re.DOTALL)
OPENED = re.compile(r"[^:]+:[A-Za-z_][\w.]*\(.*", re.DOTALL)
KEYWORD = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True)
class Factory:
    """A factory and its arguments, as the user wrote them.

    Attributes:
        text: the whole, for messages.
        place: module name, or path of a file that ends in `.py`.
        name: what to call in it, dots allowed.
        args: positional arguments.
        kwargs: keyword arguments.
    """

    text: str
    place: str
    name: str
    args: tuple[object, ...] = ()
    kwargs: tuple[tuple[str, object], ...] = ()


def parse_factory(text: str, args: Sequence[str] = ()) -> Factory | None:
    """Takes `place:name` or `place:name(arguments)` apart.

    Args:
        text: what the user wrote; the arguments in it must be Python literals.
        args: more arguments, `value` or `name=value`; what is no literal is taken as a text.

    Returns:
        The factory, or None if the text does not have this form.

    Raises:
        InputError: an argument is not a literal, or their parenthesis is not closed.
    """
    form = FORM.fullmatch(text.strip())
    if form is None and OPENED.fullmatch(text.strip()):
        raise InputError(
            f"{text}: its arguments end without a closing parenthesis; write package.module:factory(10, bias=False)"
        )
    if form is None:
        return None
    positional, keywords = _arguments(form["call"] or "()", text)
    for arg in args:
        pair = KEYWORD.fullmatch(arg)
        if pair:
            if any(name == pair["name"] for name, _ in keywords):
                raise InputError(f"{text}: {pair['name']} is given twice, again by {arg!r}; leave one of them out")
            keywords.append((pair["name"], _literal_or_text(pair["value"])))
        else:
            positional.append(_literal_or_text(arg))
    return Factory(text, form["place"], form["name"], tuple(positional), tuple(keywords))


def _arguments(call: str, text: str) -> tuple[list[object], list[tuple[str, object]]]:
    try:
        parsed = ast.parse(f"f{call}", mode="eval").body
        if not isinstance(parsed, ast.Call) or not isinstance(parsed.func, ast.Name):
            raise ValueError
        positional = [ast.literal_eval(arg) for arg in parsed.args]
        keywords = [(k.arg, ast.literal_eval(k.value)) for k in parsed.keywords if k.arg]
        if len(keywords) != len(parsed.keywords):
            raise ValueError
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise InputError(
            f"{text}: the arguments must be literals such as 10, 'text', True or [1, 2]; "
            f"write a factory of your own for anything else"
        ) from None
    return positional, keywords


def _literal_or_text(value: str) -> object:
    try:
        return ast.literal_eval(value)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return value


def build(factory: Factory) -> tuple[Any, str]:
    """Calls the factory.

    What it prints goes to stderr, so that our own output stays clean.

    Returns:
        What the factory returned (or the object itself if it cannot be called), and the device: "meta" or "cpu".

    Raises:
        InputError: the module or the name does not exist, or the factory raises; carries the original error.
    """
    with contextlib.redirect_stdout(sys.stderr), _importable(factory.place):
        target = _find(factory)
        if not callable(target) or _is_built(target):
            return target, "cpu"
        import torch

        try:
            with torch.device("meta"):
                return target(*factory.args, **dict(factory.kwargs)), "meta"
        except (Exception, SystemExit):  # noqa: BLE001  # a model that needs real numbers to be built
            pass
        try:
            return target(*factory.args, **dict(factory.kwargs)), "cpu"
        except (Exception, SystemExit) as error:  # it is the user's code: anything may come
            raise InputError(f"{factory.text}: the factory raised {_one_line(error)}") from error


def _is_built(target: object) -> bool:
    return not isinstance(target, type) and callable(getattr(target, "state_dict", None))


@contextlib.contextmanager
def _importable(place: str) -> Iterator[None]:
    """Makes the working directory (and a file's own folder) importable while the factory runs."""
    folders = [str(Path.cwd())]
    if place.endswith(".py"):
        folders.insert(0, str(_package_root(Path(place).resolve())[0]))
    before = list(sys.path)
    sys.path[:0] = folders
    try:
        yield
    finally:
        sys.path[:] = before


def _package_root(file: Path) -> tuple[Path, str]:
    """The folder to import from and the dotted name, so that relative imports of a file in a package work."""
    folder, names = file.parent, [file.stem]
    while (folder / "__init__.py").exists() and folder != folder.parent:
        names.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(names)


def _find(factory: Factory) -> Any:
    try:
        module = _import_file(factory) if factory.place.endswith(".py") else importlib.import_module(factory.place)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # it is the user's code: anything may come
        raise InputError(f"{factory.text}: importing {factory.place} raised {_one_line(error)}") from error
    target: Any = module
    for part in factory.name.split("."):
        try:
            target = getattr(target, part)
        except AttributeError:
            raise InputError(
                f"{factory.text}: {factory.place} has no {factory.name!r}{_similar(part, target)}"
            ) from None
        except (Exception, SystemExit) as error:  # a module that imports its names when they are asked for
            raise InputError(f"{factory.text}: importing {factory.name} raised {_one_line(error)}") from error
    return target


def _import_file(factory: Factory) -> ModuleType:
    file = Path(factory.place).resolve()
    if not file.is_file():
        raise InputError(f"{factory.text}: no such file; the working directory is {Path.cwd()}")
    _, name = _package_root(file)
    if "." in name:
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(f"_automatch_model_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise InputError(f"{factory.text}: {factory.place} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickling look their own module up there
    spec.loader.exec_module(module)
    return module


def _similar(part: str, target: object) -> str:
    import difflib

    close = difflib.get_close_matches(part, [name for name in dir(target) if not name.startswith("_")], n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _one_line(error: BaseException) -> str:
    text, name = quoted(error), type(error).__name__
    return name if text == name else f"{name}: {text}"
