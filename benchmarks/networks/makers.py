"""Networks of each library, made without downloading anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from libraries import import_torchvision

from networks.network import Network


def torchvision(name: str, **options: Any) -> Network:
    """A network that `torchvision.models` makes, with ten classes."""
    return Network("torchvision", name, lambda: getattr(import_torchvision().models, name)(num_classes=10, **options))


def timm(name: str, **options: Any) -> Network:
    """A network of timm's registry, with ten classes; options override its configuration."""

    def build() -> Any:
        import_torchvision()
        from timm import create_model

        return create_model(name, num_classes=10, **options)

    return Network("timm", name, build)


def transformers(
    name: str,
    config: str,
    part: str = "",
    fused: str = "",
    rows: Callable[[int], Any] = range,
    **options: Any,
) -> Network:
    """A network of transformers.

    Args:
        name: its class.
        config: the class of its configuration.
        part: the module of it that is meant, or "" for the whole.
        fused: as in Network.
        rows: as in Network.
        options: of the configuration.
    """

    def build() -> Any:
        import_torchvision()
        import transformers as library

        library.logging.set_verbosity_error()
        model = getattr(library, name)(getattr(library, config)(**options))
        return model.get_submodule(part)

    return Network("transformers", f"{name} {part}".rstrip(), build, fused, rows)
