"""Blocks that stand in another place on the other side, or of which several would do."""

from __future__ import annotations

import pytest
from torch import nn

from automatch.matching import match
from tests.matching.built import built, either
from tests.matching.transformers import turned
from tests.matching.truth import Truth, by_rename, complete, flagged, found, honest, renamed, spec

BOTH = pytest.mark.parametrize("swap", [False, True], ids=["as it is", "the other way round"])


def pyramid(closing: bool, widths: tuple[int, ...] = (8, 16, 16, 16)) -> nn.Module:
    """Stages with a downsampling between them, which closes the one or opens the other."""
    modules: dict[str, nn.Module] = {"stem": nn.Conv2d(3, widths[0], 3)}
    for i, width in enumerate(widths):
        if not closing and i:
            modules[f"stages.{i}.downsample"] = nn.Conv2d(widths[i - 1], width, 2)
        for block in range(2):
            modules[f"stages.{i}.blocks.{block}.conv"] = nn.Conv2d(width, width, 3)
            modules[f"stages.{i}.blocks.{block}.norm"] = nn.BatchNorm2d(width)
        if closing and i + 1 < len(widths):
            modules[f"stages.{i}.downsample"] = nn.Conv2d(width, widths[i + 1], 2)
    modules["head"] = nn.Linear(widths[-1], 10)
    return built(modules)


def opening(key: str) -> str:
    """The key of a pyramid whose stages are opened by a downsampling, for a key of one where they are closed by it."""
    head, *rest = key.split(".")
    if head == "stages" and rest[1] == "downsample":
        return f"stages.{int(rest[0]) + 1}.downsample.{rest[2]}"
    return key


@BOTH
@pytest.mark.parametrize("widths", [(8, 16, 16, 16), (8, 16, 16, 16, 16)])
def test_downsamplings_of_one_shape_stay_in_order(swap: bool, widths: tuple[int, ...]) -> None:
    """Only the first shows that each belongs to the stage of another number."""
    checkpoint, model = pyramid(True, widths), pyramid(False, widths)
    expected = by_rename(checkpoint, opening)
    either(swap, checkpoint, model, expected)


@pytest.mark.parametrize(
    "lost",
    [
        0,
        *(pytest.param(i, marks=pytest.mark.xfail(strict=True, reason="equal numbers are believed")) for i in (1, 2)),
    ],
)
def test_downsamplings_of_which_one_is_lost(lost: int) -> None:
    """Which one is not there cannot be seen: nothing is put in order, and what is answered is flagged or right."""
    checkpoint, model = pyramid(True, (8, 16, 16, 16, 16)), pyramid(False, (8, 16, 16, 16, 16))
    state = renamed(checkpoint, lambda key: None if key.startswith(f"stages.{lost}.downsample") else key)
    honest(state, model, by_rename(state, opening))


def decoding(items: list[str], whole: str = "decoder") -> nn.Module:
    """An encoder's outputs of several widths, and modules that are all alike to put them together."""
    modules: dict[str, nn.Module] = {"patch": nn.Conv2d(3, 24, 4)}
    for i in range(4):
        modules[f"project.{i}"] = nn.Conv2d(24, 8 * (i + 2), 1)
    for item in items:
        for name, kernel in (("conv1", 3), ("conv2", 3), ("out", 1)):
            modules[f"{whole}.{item}.{name}"] = nn.Conv2d(12, 12, kernel)
    modules["head"] = nn.Conv2d(12, 1, 1)
    return built(modules)


@BOTH
def test_modules_of_a_decoder_that_were_numbered_by_hand(swap: bool) -> None:
    """`refinenet4` may be the first of the fusion layers or the last."""
    pair = [
        decoding([f"refinenet{i}" for i in range(1, 5)]),
        decoding([f"fusion.layers.{i}" for i in range(4)], "neck"),
    ]
    given, wanted = map(spec, pair[::-1] if swap else pair)
    assignment = match(given, wanted)
    complete(assignment, given, wanted)
    assert flagged(assignment) == {key for key in wanted.keys if key.startswith(("decoder.", "neck."))}


@BOTH
def test_layers_of_an_encoder_that_were_numbered_by_hand(swap: bool) -> None:
    """Layers run forwards on both sides: no flag for `layer1 .. layer3`."""
    checkpoint = decoding([f"layer{i}" for i in range(1, 4)], "encoder")
    model = decoding([f"layers.{i}" for i in range(3)], "encoder")
    words = {f"layer{i}": f"layers.{i - 1}" for i in range(1, 4)}
    expected = by_rename(checkpoint, lambda key: ".".join(words.get(token, token) for token in key.split(".")))
    either(swap, checkpoint, model, expected)


IN_ITEM = {"proj": "projection", "ln1": "linear_up", "ln2": "linear_down", "kv": "key_value", "bn": "batch_norm"}


class Levit:
    """A pyramid of attentions whose downsampling is a block of several modules, in two code bases.

    The one opens a stage with it, in a module of its own; the other ends the stage before with it, as two items more.
    """

    def __init__(self, widths: tuple[int, ...], depth: int) -> None:
        self.one: dict[str, nn.Module] = {"stem": nn.Conv2d(3, widths[0], 3)}
        self.other: dict[str, nn.Module] = {"patch": nn.Conv2d(3, widths[0], 3)}
        self.pairs: list[tuple[str, str]] = [("stem", "patch"), ("head", "head")]
        for i, width in enumerate(widths):
            for k in range(depth):
                attention = f"stages.{i}.blocks.{k}.attn", f"encoder.stages.{i}.layers.{2 * k}.module"
                self._add(*attention, qkv=(width, 3 * width), proj=(width, width))
                mlp = f"stages.{i}.blocks.{k}.mlp", f"encoder.stages.{i}.layers.{2 * k + 1}.module"
                self._add(*mlp, ln1=(width, 2 * width), ln2=(2 * width, width))
            if i + 1 < len(widths):
                wide = widths[i + 1]
                attention = f"stages.{i + 1}.downsample.attn", f"encoder.stages.{i}.layers.{2 * depth}"
                self._add(*attention, kv=(width, 3 * width), q=(width, width), proj=(2 * width, wide))
                mlp = f"stages.{i + 1}.downsample.mlp", f"encoder.stages.{i}.layers.{2 * depth + 1}.module"
                self._add(*mlp, ln1=(wide, 2 * wide), ln2=(2 * wide, wide))
        self.one["head"], self.other["head"] = nn.Linear(widths[-1], 10), nn.Linear(widths[-1], 10)

    def _add(self, one: str, other: str, **linears: tuple[int, int]) -> None:
        for name, (before, width) in linears.items():
            mine, theirs = f"{one}.{name}", f"{other}.{IN_ITEM.get(name, name)}"
            for modules, path, norm in ((self.one, mine, "bn"), (self.other, theirs, "batch_norm")):
                modules[f"{path}.linear"] = nn.Linear(before, width, bias=False)
                modules[f"{path}.{norm}"] = nn.BatchNorm1d(width)
            self.pairs += [(f"{mine}.linear", f"{theirs}.linear"), (f"{mine}.bn", f"{theirs}.batch_norm")]


def levits(swap: bool, depth: int) -> tuple[nn.Module, nn.Module, Truth]:
    """Checkpoint, model and truth; swapped, they change places."""
    both = Levit((8, 12, 16), depth)
    one, other = built(dict(sorted(both.one.items(), key=lambda item: place(item[0])))), built(both.other)
    names = dict(both.pairs)
    expected = by_rename(one, lambda key: ".".join((names[key.rpartition(".")[0]], key.rpartition(".")[2])))
    return (other, one, turned(expected)) if swap else (one, other, expected)


@BOTH
@pytest.mark.parametrize("depth", [3, 4])
def test_a_block_that_opens_the_next_stage_or_ends_the_last(swap: bool, depth: int) -> None:
    """Its matrices are not strewn over the blocks of the stage where it stands; some are flagged."""
    checkpoint, model, expected = levits(swap, depth)
    answer = found(match(spec(checkpoint), spec(model)))
    matrices = {keys for keys in expected if keys[0].endswith("linear.weight")}
    assert {keys: answer.get(keys) for keys in matrices} == {keys: expected[keys] for keys in matrices}


def test_the_norms_of_a_block_that_opens_the_next_stage_or_ends_the_last() -> None:
    """Where they are of one length as others of the stage, what is not known is flagged."""
    honest(*levits(True, 3))


def test_the_norms_of_a_block_that_ends_the_last_stage_or_opens_the_next() -> None:
    honest(*levits(False, 3))


def place(path: str) -> tuple[int, int, int]:
    """Where a module of the first of Levit's code bases is registered: the downsampling opens its stage."""
    head, *rest = path.split(".")
    if head != "stages":
        return (0 if head == "stem" else 2, 0, 0)
    return (1, int(rest[0]), 0 if rest[1] == "downsample" else 1)


def nets(names: list[str]) -> nn.Module:
    """Heads of several modules each, all alike."""
    modules: dict[str, nn.Module] = {"embed": nn.Embedding(50, 16)}
    for name in names:
        modules[f"{name}.first"] = nn.Linear(16, 24)
        modules[f"{name}.second"] = nn.Linear(24, 20)
        modules[f"{name}.third"] = nn.Linear(20, 16)
    return built(modules)


@BOTH
def test_a_block_that_two_others_would_serve_as_well(swap: bool) -> None:
    """One of the two is left over, and nothing says which: what is answered for the other is flagged."""
    pair = [nets(["blue"]), nets(["one", "two"])]
    given, wanted = map(spec, pair[::-1] if swap else pair)
    assignment = match(given, wanted)
    complete(assignment, given, wanted)
    assert flagged(assignment) == {keys[0] for keys in found(assignment)} - {"embed.weight"} != set()


def upsampling(stage: str, block: str) -> list[tuple[str, tuple[int, ...]]]:
    """Three stages of one width, of which the last to run does not upsample."""
    keys: list[tuple[str, tuple[int, ...]]] = []
    for n in range(3):
        for b in range(2):
            keys += [(f"decoder.{stage.format(n)}.{block}.{b}.conv{c}.weight", (8, 8, 3, 3)) for c in (1, 2)]
        if n < 2:
            keys.append((f"decoder.{stage.format(n)}.upsample.conv.weight", (8, 8, 5, 5)))
    return keys


def test_a_list_that_runs_backwards_with_lists_inside_is_no_sequence_to_mend() -> None:
    """Latent diffusion's `up.2 .. up.0` are `up_blocks.0 .. 2`, and the blocks in them run forwards."""
    model = spec(upsampling("up_blocks.{}", "resnets"))
    mine, expected = [], {}
    for tensor in model.tensors:
        _, _, number, rest = tensor.key.split(".", 3)
        key = f"decoder.up.{2 - int(number)}.{rest.replace('resnets', 'block')}"
        mine.append((key, tensor.shape))
        expected[tensor.key] = key
    answer = match(spec(sorted(mine)), model)
    wrong = {m.model_keys[0] for m in answer.matches if m.checkpoint_keys[0] != expected[m.model_keys[0]]}
    assert wrong <= flagged(answer)


def test_a_module_stays_with_the_company_that_shapes_show() -> None:
    """Heads of their own sizes tell the towers apart; the others of a tower are not put in order without it."""
    sizes, places = [5, 7, 9, 11], (1, 0, 3, 2)
    parts = (("conv.weight", (16, 16, 3, 3)), ("norm.weight", (16,)))
    mine = [(f"nets.{i}.{key}", shape) for i in range(4) for key, shape in (*parts, ("head.weight", (sizes[i], 16)))]
    theirs = [
        (f"models.{i}.{key}", shape)
        for i in range(4)
        for key, shape in (*parts, ("head.weight", (sizes[places[i]], 16)))
    ]
    answer = match(spec(mine), spec(theirs))
    assert not any("same order as all modules" in m.reason for m in answer.matches)


def test_equal_layers_that_serve_two_lists_are_flagged_though_either_side_lost_a_tensor() -> None:
    """One list of four here, two of two there, the first without its outputs: any two might have been meant."""
    parts = ("query", "key", "value", "out", "gate", "up", "down")
    shapes = {"gate": (24, 16), "up": (24, 16), "down": (16, 24)}
    checkpoint = [(f"blk.{i}.{part}.weight", shapes.get(part, (16, 16))) for i in range(4) for part in parts[:-1]]
    model = [
        (f"model.{name}.layers.{i}.{part}.weight", shapes.get(part, (16, 16)))
        for name in ("low", "high")
        for i in range(2)
        for part in parts
        if (name, part) != ("low", "out")
    ]
    answer = match(spec(checkpoint), spec(model))
    assert answer.matches
    assert flagged(answer) == {key for one in answer.matches for key in one.model_keys}
