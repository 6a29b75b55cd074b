"""The story that half of the field knows: a DenseNet checkpoint of old, `denselayer1.norm.1`, and today's model.

A small DenseNet with the module names of torchvision's is made here, saved under the names of 2017, and brought back.
"""

from __future__ import annotations

import re
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from automatch.errors import NotProvenError
from automatch.pipeline import diagnose, load
from automatch.reporting.formats import table

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from automatch.reporting.style import Style

BLOCKS = (3, 4, 6, 4)
GROWTH = 8
TODAY = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))([12])\.")
SHOWN = 2


def tell(say: Callable[[str], None], style: Style) -> bool:
    """Tell the story.

    Args:
        say: prints one paragraph.
        style: how the report is drawn.

    Returns:
        Whether the loaded model gave the same outputs as the one that was saved.
    """
    import torch

    def head(text: str) -> None:
        """Prints a heading."""
        say("\n" + style.paint(text, "title"))

    torch.manual_seed(0)
    trained, model = small_densenet().eval(), small_densenet().eval()
    image = torch.rand(2, 3, 32, 32)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "densenet-2017.pth"
        torch.save(old_names(trained.state_dict()), path)
        head("1. An old DenseNet checkpoint, and the model of today:")
        say("   model.load_state_dict(torch.load('densenet-2017.pth'))")
        say(_error_of(model, path))
        head("2. What automatch says: print(automatch.diagnose('densenet-2017.pth', model))")
        diagnosis = diagnose(path, model)
        # The folder is of no interest and gone in a moment.
        named = replace(diagnosis.checkpoint, name=path.name)
        say(table.render(replace(diagnosis, checkpoint=named, sources=(path.name, "MODEL")), style))
        head("3. automatch.load(model, 'densenet-2017.pth')")
        before = (model(image) - trained(image)).abs().max().item()
        try:
            say(f"   {load(model, path)}")
        except NotProvenError as error:
            say(f"   {error}")
        after = (model(image) - trained(image)).abs().max().item()
        say(f"   largest difference of the outputs to the saved model's: {before:.4f} before, {after:.4f} after")
    return bool(after == 0)


def _error_of(model: Module, path: Path) -> str:
    """What torch says, the lists cut short."""
    import torch

    try:
        model.load_state_dict(torch.load(path, weights_only=True))
    except RuntimeError as error:
        lines = str(error).splitlines()
    return "\n".join(f"   {_cut(line.strip())}" for line in lines)


def _cut(line: str) -> str:
    """A line of torch's error with the first few keys of its list."""
    keys = line.split(", ")
    return line if len(keys) <= SHOWN else f"{', '.join(keys[:SHOWN])}, ... ({len(keys) - SHOWN} more)"


def old_names(state_dict: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """The state_dict as torchvision 0.2 saved it: `norm.1` for `norm1`, no `num_batches_tracked`."""
    return OrderedDict(
        (TODAY.sub(r"\1.\2.", key), tensor)
        for key, tensor in state_dict.items()
        if not key.endswith("num_batches_tracked")
    )


def small_densenet() -> Module:
    """A DenseNet of 17 layers with random weights and statistics, its modules named as torchvision names them."""
    from torch import nn

    features, width = nn.Sequential(), 2 * GROWTH
    features.add_module("conv0", nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False))
    features.add_module("norm0", nn.BatchNorm2d(width))
    features.add_module("relu0", nn.ReLU())
    for b, layers in enumerate(BLOCKS, 1):
        block = nn.Sequential()
        for layer in range(layers):
            block.add_module(f"denselayer{layer + 1}", _dense_layer(width + layer * GROWTH))
        features.add_module(f"denseblock{b}", block)
        width += layers * GROWTH
        if b < len(BLOCKS):
            features.add_module(f"transition{b}", _transition(width))
            width //= 2
    features.add_module("norm5", nn.BatchNorm2d(width))

    class DenseNet(nn.Sequential):
        """A name for the report."""

    net = DenseNet(
        OrderedDict(features=features, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), classifier=nn.Linear(width, 10))
    )
    _shake(net)
    return net


def _dense_layer(width: int) -> Module:
    """A layer whose output is laid beside its input."""
    import torch
    from torch import nn

    class DenseLayer(nn.Sequential):
        """Gives the next layer all that it was given, and its own output."""

        def forward(self, x: Tensor) -> Tensor:
            """The input with the new channels behind it."""
            new = x
            for module in self:
                new = module(new)
            return torch.cat([x, new], 1)

    return DenseLayer(
        OrderedDict(
            norm1=nn.BatchNorm2d(width),
            relu1=nn.ReLU(),
            conv1=nn.Conv2d(width, 4 * GROWTH, 1, bias=False),
            norm2=nn.BatchNorm2d(4 * GROWTH),
            relu2=nn.ReLU(),
            conv2=nn.Conv2d(4 * GROWTH, GROWTH, 3, padding=1, bias=False),
        )
    )


def _transition(width: int) -> Module:
    """Half the channels, half the size."""
    from torch import nn

    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(width),
            relu=nn.ReLU(),
            conv=nn.Conv2d(width, width // 2, 1, bias=False),
            pool=nn.AvgPool2d(2, ceil_mode=True),
        )
    )


def _shake(net: Module) -> None:
    """Gives norms the weights and statistics of a trained net, so that exchanging any two of them shows."""
    import torch

    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if "norm" in name and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
