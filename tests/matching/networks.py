"""Small networks as people write them: one architecture in two code bases."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def convs(widths: list[int], norm: bool, dropout: bool = False, kernel: int = 3) -> nn.Sequential:
    """VGG's features: a long Sequential whose indices depend on what stands between the convolutions."""
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        layers.append(nn.Conv2d(width, following, kernel))
        if norm:
            layers.append(nn.BatchNorm2d(following))
        layers.append(nn.ReLU())
        if dropout:
            layers.append(nn.Dropout())
    return nn.Sequential(*layers)


class Vgg(nn.Module):
    def __init__(self, widths: list[int], norm: bool = False, dropout: bool = False, classes: int = 10) -> None:
        super().__init__()
        self.features = convs(widths, norm, dropout)
        head: list[nn.Module] = [nn.Linear(widths[-1], 40), nn.ReLU()]
        head += [nn.Dropout()] if dropout else []
        head += [nn.Linear(40, 40), nn.ReLU()]
        head += [nn.Dropout()] if dropout else []
        self.classifier = nn.Sequential(*head, nn.Linear(40, classes))


class BasicBlock(nn.Module):
    """A residual block as torchvision writes it."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        if before != width:
            self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width))


class ResNet(nn.Module):
    def __init__(self, widths: tuple[int, ...] = (8, 16, 32, 64), depth: int = 2, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 7, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        before = widths[0]
        for stage, width in enumerate(widths, 1):
            blocks = [BasicBlock(before if i == 0 else width, width) for i in range(depth)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            before = width
        self.fc = nn.Linear(before, classes)


class NestedResNet(nn.Module):
    """The same network of another code base: stem, nested stages, named convolutions."""

    class Unit(nn.Module):
        def __init__(self, before: int, width: int) -> None:
            super().__init__()
            if before != width:
                self.shortcut = nn.Module()
                self.shortcut.conv = nn.Conv2d(before, width, 1, bias=False)
                self.shortcut.norm = nn.BatchNorm2d(width)
            self.residual = nn.ModuleList()
            for inner in (before, width):
                layer = nn.Module()
                layer.convolution = nn.Conv2d(inner, width, 3, bias=False)
                layer.normalization = nn.BatchNorm2d(width)
                self.residual.append(layer)

    def __init__(self, widths: tuple[int, ...] = (8, 16, 32, 64), depth: int = 2, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Module()
        self.stem.convolution = nn.Conv2d(3, widths[0], 7, bias=False)
        self.stem.normalization = nn.BatchNorm2d(widths[0])
        self.encoder = nn.Module()
        self.encoder.stages = nn.ModuleList()
        before = widths[0]
        for width in widths:
            stage = nn.Module()
            stage.layers = nn.ModuleList(self.Unit(before if i == 0 else width, width) for i in range(depth))
            self.encoder.stages.append(stage)
            before = width
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(before, classes))


UNIT = {
    "conv1": "residual.0.convolution",
    "bn1": "residual.0.normalization",
    "conv2": "residual.1.convolution",
    "bn2": "residual.1.normalization",
    "downsample.0": "shortcut.conv",
    "downsample.1": "shortcut.norm",
}
"""Modules in a block of `ResNet` and of `NestedResNet` that are the same."""


def to_nested(key: str) -> str:
    """The key of `NestedResNet` for a key of `ResNet`."""
    path, role = key.rsplit(".", 1)
    if not path.startswith("layer"):
        return {"conv1": "stem.convolution", "bn1": "stem.normalization", "fc": "classifier.1"}[path] + f".{role}"
    stage, block, rest = path.split(".", 2)
    return f"encoder.stages.{int(stage.removeprefix('layer')) - 1}.layers.{block}.{UNIT[rest]}.{role}"


class Layer(nn.Module):
    """An encoder layer after fairseq."""

    def __init__(self, width: int, inner: int, bias: bool = True) -> None:
        super().__init__()
        self.self_attn = nn.Module()
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            setattr(self.self_attn, name, nn.Linear(width, width, bias=bias))
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, inner, bias=bias)
        self.fc2 = nn.Linear(inner, width, bias=bias)
        self.final_layer_norm = nn.LayerNorm(width)


class Encoder(nn.Module):
    """A text encoder after fairseq."""

    def __init__(self, depth: int = 3, width: int = 16, inner: int = 48, words: int = 60, places: int = 24) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(words, width)
        self.embed_positions = nn.Embedding(places, width)
        self.layers = nn.ModuleList(Layer(width, inner) for _ in range(depth))
        self.layer_norm = nn.LayerNorm(width)


class HfLayer(nn.Module):
    """The same layer after transformers' BERT."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.attention = nn.Module()
        self.attention.self = nn.Module()
        for name in ("query", "key", "value"):
            setattr(self.attention.self, name, nn.Linear(width, width))
        self.attention.output = nn.Module()
        self.attention.output.dense = nn.Linear(width, width)
        self.attention.output.LayerNorm = nn.LayerNorm(width)
        self.intermediate = nn.Module()
        self.intermediate.dense = nn.Linear(width, inner)
        self.output = nn.Module()
        self.output.dense = nn.Linear(inner, width)
        self.output.LayerNorm = nn.LayerNorm(width)


class HfEncoder(nn.Module):
    """The same encoder after transformers' BERT."""

    def __init__(self, depth: int = 3, width: int = 16, inner: int = 48, words: int = 60, places: int = 24) -> None:
        super().__init__()
        self.embeddings = nn.Module()
        self.embeddings.word_embeddings = nn.Embedding(words, width)
        self.embeddings.position_embeddings = nn.Embedding(places, width)
        self.embeddings.LayerNorm = nn.LayerNorm(width)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(HfLayer(width, inner) for _ in range(depth))


LAYER = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.output.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "output.LayerNorm",
}
"""Modules of `Layer` and of `HfLayer` that are the same."""

ENDS = {
    "embed_tokens": "embeddings.word_embeddings",
    "embed_positions": "embeddings.position_embeddings",
    "layer_norm": "embeddings.LayerNorm",
}
"""Modules of `Encoder` and of `HfEncoder` outside of the layers that are the same."""


def to_hf(key: str) -> str:
    """The key of `HfEncoder` for a key of `Encoder`."""
    path, role = key.rsplit(".", 1)
    if path in ENDS:
        return f"{ENDS[path]}.{role}"
    _, number, rest = path.split(".", 2)
    return f"encoder.layer.{number}.{LAYER[rest]}.{role}"


class ResBlock(nn.Module):
    """A residual block of latent diffusion's autoencoder."""

    def __init__(self, before: int, width: int, names: tuple[str, str] = ("nin_shortcut", "conv")) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(4, before)
        self.conv1 = nn.Conv2d(before, width, 3)
        self.norm2 = nn.GroupNorm(4, width)
        self.conv2 = nn.Conv2d(width, width, 3)
        if before != width:
            setattr(self, names[0], nn.Conv2d(before, width, 1))


class Upsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3)


class Decoder(nn.Module):
    """Latent diffusion's decoder: the stage of highest resolution is `up.0`, the first to run is the last."""

    def __init__(self, widths: tuple[int, ...] = (8, 16, 32, 32), blocks: int = 3) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(4, widths[-1], 3)
        self.up = nn.ModuleList()
        stages = []
        before = widths[-1]
        for number in reversed(range(len(widths))):
            stage = nn.Module()
            stage.block = nn.ModuleList(
                ResBlock(before if i == 0 else widths[number], widths[number]) for i in range(blocks)
            )
            before = widths[number]
            if number:
                stage.upsample = Upsample(before)
            stages.append(stage)
        self.up.extend(reversed(stages))
        self.norm_out = nn.GroupNorm(4, widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3)


class UpBlocks(nn.Module):
    """The same decoder after diffusers: stages in the order in which they run."""

    def __init__(self, widths: tuple[int, ...] = (8, 16, 32, 32), blocks: int = 3) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(4, widths[-1], 3)
        self.up_blocks = nn.ModuleList()
        before = widths[-1]
        for number, width in enumerate(reversed(widths)):
            stage = nn.Module()
            stage.resnets = nn.ModuleList(
                ResBlock(before if i == 0 else width, width, ("conv_shortcut", "conv")) for i in range(blocks)
            )
            before = width
            if number < len(widths) - 1:
                stage.upsamplers = nn.ModuleList([Upsample(width)])
            self.up_blocks.append(stage)
        self.conv_norm_out = nn.GroupNorm(4, widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3)


def to_up_blocks(key: str, stages: int = 4) -> str:
    """The key of `UpBlocks` for a key of `Decoder`."""
    head, _, rest = key.partition(".")
    if head != "up":
        return f"conv_norm_out.{rest}" if head == "norm_out" else key
    number, rest = rest.split(".", 1)
    rest = rest.replace("block.", "resnets.", 1).replace("nin_shortcut", "conv_shortcut")
    rest = rest.replace("upsample.", "upsamplers.0.", 1)
    return f"up_blocks.{stages - 1 - int(number)}.{rest}"


class Flat(nn.Module):
    """A U-Net's way down as one flat list, after guided diffusion."""

    def __init__(self, widths: tuple[int, ...] = (8, 16, 32), blocks: int = 2) -> None:
        super().__init__()
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(4, widths[0], 3)])])
        before = widths[0]
        for number, width in enumerate(widths):
            for _ in range(blocks):
                self.input_blocks.append(nn.ModuleList([self._block(before, width)]))
                before = width
            if number < len(widths) - 1:
                down = nn.Module()
                down.op = nn.Conv2d(width, width, 3)
                self.input_blocks.append(nn.ModuleList([down]))

    @staticmethod
    def _block(before: int, width: int) -> nn.Module:
        block = nn.Module()
        block.in_layers = nn.Sequential(nn.GroupNorm(4, before), nn.SiLU(), nn.Conv2d(before, width, 3))
        block.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(20, width))
        block.out_layers = nn.Sequential(nn.GroupNorm(4, width), nn.SiLU(), nn.Dropout(), nn.Conv2d(width, width, 3))
        if before != width:
            block.skip_connection = nn.Conv2d(before, width, 1)
        return block


class Stages(nn.Module):
    """The same way down as stages that hold lists, after diffusers."""

    def __init__(self, widths: tuple[int, ...] = (8, 16, 32), blocks: int = 2) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(4, widths[0], 3)
        self.down_blocks = nn.ModuleList()
        before = widths[0]
        for number, width in enumerate(widths):
            stage = nn.Module()
            stage.resnets = nn.ModuleList(self._block(before if i == 0 else width, width) for i in range(blocks))
            before = width
            if number < len(widths) - 1:
                stage.downsamplers = nn.ModuleList([Upsample(width)])
            self.down_blocks.append(stage)

    @staticmethod
    def _block(before: int, width: int) -> nn.Module:
        block = ResBlock(before, width, ("conv_shortcut", "conv"))
        block.time_emb_proj = nn.Linear(20, width)
        return block


IN_BLOCK = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
"""Modules in a block of `Flat` and of `Stages` that are the same."""


def to_stages(key: str, blocks: int = 2) -> str:
    """The key of `Stages` for a key of `Flat`."""
    _, number, rest = key.split(".", 2)
    rest = rest.removeprefix("0.")
    if number == "0":
        return f"conv_in.{rest}"
    stage, place = divmod(int(number) - 1, blocks + 1)
    if rest.startswith("op."):
        return f"down_blocks.{stage}.downsamplers.0.conv.{rest.removeprefix('op.')}"
    path, role = rest.rsplit(".", 1)
    return f"down_blocks.{stage}.resnets.{place}.{IN_BLOCK[path]}.{role}"
