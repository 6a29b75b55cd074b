"""The model side: what the code wants."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from automatch.errors import InputError
from automatch.reading.factory import Factory, build, parse_factory
from automatch.reading.reader import read_checkpoint
from automatch.reading.source import shown
from automatch.reading.torch_words import is_module
from automatch.spec import StateDictSpec


@dataclass(frozen=True)
class ModelSide:
    """A model's keys, and the module itself where there is one.

    Attributes:
        spec: keys, shapes and dtypes in state_dict order.
        module: the `nn.Module`, perhaps on the meta device; None where only keys are known.
    """

    spec: StateDictSpec
    module: object | None = None


def read_model(source: object, *, args: Sequence[str] = ()) -> ModelSide:
    """Describes the model side.

    Args:
        source: a live `nn.Module`; anything `read_checkpoint` takes; or a text `package.module:factory` or
            `path/file.py:factory`, with literal arguments in parentheses if it needs any
            (`torchvision.models:resnet50(num_classes=10)`). The factory's code is run: name only what you trust.
        args: more arguments for the factory, `value` or `name=value`.

    Returns:
        The description and the module.

    Raises:
        InputError: the source cannot be read, or the factory is missing, raises or returns something else.
    """
    _check_args(args)
    if isinstance(source, (str, os.PathLike)) and not _exists(source):
        factory = parse_factory(os.fsdecode(source), args)
        if factory is not None:
            return _built(factory)
    if args:
        raise InputError(f"{source}: arguments are for a factory `package.module:factory`, and this is none")
    if isinstance(source, type):
        raise InputError(f"{source.__name__} is a class, not a model; call it: {source.__name__}(...)")
    module = source if is_module(source) else None
    return ModelSide(read_checkpoint(source), module)


def _check_args(args: object) -> None:
    """Refuses arguments for a factory that are not a list of texts.

    Raises:
        InputError: they are not; one text alone would be taken letter by letter.
    """
    odd: list[object] = [args]
    if isinstance(args, Sequence) and not isinstance(args, (str, bytes)):
        odd = [arg for arg in args if not isinstance(arg, str)]
    if odd:
        raise InputError(f"{shown(odd[0])}: arguments for a factory are a list of texts, such as ['10', 'bias=False']")


def _exists(path: str | os.PathLike[str]) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _built(factory: Factory) -> ModelSide:
    result, device = build(factory)
    if is_module(result):
        origin = f"built on the {device} device by {factory.text}"
        return ModelSide(replace(read_checkpoint(result), origin=origin), result)
    if isinstance(result, (Mapping, StateDictSpec)):
        spec = read_checkpoint(result)
        return ModelSide(replace(spec, name=factory.name, origin=f"returned by {factory.text}"))
    kind = type(result).__name__
    raise InputError(f"{factory.text}: returned {kind}, not an nn.Module or a mapping of names to tensors")
