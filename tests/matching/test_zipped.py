"""Lists beside each other on one side that are one list of layers on the other; stages that run backwards."""

from __future__ import annotations

import pytest

from automatch.matching import match
from tests.matching.truth import flagged, found, honest, solved, spec, truth

Entries = list[tuple[str, tuple[int, ...]]]


def layer(name: str, width: int) -> Entries:
    return [(f"{name}.weight", (width, width)), (f"{name}.bias", (width,))]


def block(home: str, width: int, before: int) -> Entries:
    """A residual block of a diffusion model."""
    return [
        (f"{home}.norm1.weight", (before,)),
        (f"{home}.conv1.weight", (width, before, 3, 3)),
        (f"{home}.temb.weight", (width, 24)),
        (f"{home}.norm2.weight", (width,)),
        (f"{home}.conv2.weight", (width, width, 3, 3)),
        *([(f"{home}.short.weight", (width, before, 1, 1))] if width != before else []),
    ]


def attention(home: str, width: int) -> Entries:
    return [(f"{home}.{part}.weight", (width, width)) for part in ("q", "k", "v", "out")]


def alternating(depth: int, apart: bool) -> tuple[Entries, dict[str, str]]:
    """Attention over space, then over time: two lists, or one list of layers that have both."""
    keys: Entries = [("embed.weight", (40, 16))]
    names: dict[str, str] = {"embed.weight": "embed.weight"}
    for i in range(depth):
        for kind, call in (("space", "spatial"), ("time", "temporal")):
            for part in ("q", "out", "up"):
                key = f"{kind}.{i}.{part}"
                other = f"layers.{i}.{call}.{part}"
                keys += layer(key if apart else other, 16)
                names |= {f"{key}.{role}": f"{other}.{role}" for role in ("weight", "bias")}
    return keys, names


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("depth", [3, 5])
def test_two_lists_that_are_one_list_of_layers(depth: int, backwards: bool) -> None:
    (apart, names), (together, _) = alternating(depth, True), alternating(depth, False)
    if backwards:
        apart, together, names = together, apart, {other: key for key, other in names.items()}
    solved(apart, together, truth(names.items()))


def mab(home: str, of: int, to: int) -> Entries:
    """An attention of `to` sets over `of` sets, both of eight features but for the network's input, of three."""
    return [
        *[(f"{home}.{norm}.weight", (8,)) for norm in ("ln0", "ln1")],
        (f"{home}.q.weight", (8, to)),
        (f"{home}.k.weight", (8, of)),
        (f"{home}.v.weight", (8, of)),
        (f"{home}.o.weight", (8, 8)),
    ]


@pytest.mark.parametrize("depth", [3, 4])
def test_learnt_points_and_the_two_attentions_of_each_layer_in_three_lists(depth: int) -> None:
    """The Set Transformer (Lee et al., 2019): what is gathered by the points is spread again, layer by layer."""
    mine: Entries = []
    lists: dict[str, Entries] = {"points": [], "gather": [], "spread": []}
    names: dict[str, str] = {}
    for i in range(depth):
        of = 3 if i == 0 else 8
        own: Entries = [(f"enc.{i}.I", (1, 5, 8)), *mab(f"enc.{i}.mab0", of, 8), *mab(f"enc.{i}.mab1", 8, of)]
        mine += own
        lists["points"].append((f"points.{i}", (1, 5, 8)))
        lists["gather"] += mab(f"gather.{i}", of, 8)
        lists["spread"] += mab(f"spread.{i}", 8, of)
        for key, _ in own:
            other = key.replace(f"enc.{i}.I", f"points.{i}").replace(f"enc.{i}.mab0", f"gather.{i}")
            names[key] = other.replace(f"enc.{i}.mab1", f"spread.{i}")
    theirs = [entry for own in lists.values() for entry in own]
    answer = found(honest(mine, theirs, truth(names.items())))
    assert {other: answer[other,].checkpoint[0] for other in names.values()} == {o: key for key, o in names.items()}


def test_the_first_of_one_item_more_stands_for_itself() -> None:
    """Kandinsky 3 has an attention before its layers, which diffusers keeps in the list of their attentions."""
    mine: Entries = [("embed.weight", (9, 32)), *attention("before", 24)]
    theirs: Entries = [("embed.weight", (9, 32))]
    lists: dict[str, Entries] = {"ins": [], "attentions": attention("attentions.0", 24), "outs": []}
    names = {key: key.replace("before", "attentions.0") for key, _ in mine}
    for i in range(3):
        mine += block(f"layers.{i}.0", 24, 24) + attention(f"layers.{i}.1", 24) + block(f"layers.{i}.2", 24, 24)
        lists["ins"] += block(f"ins.{i}", 24, 24)
        lists["attentions"] += attention(f"attentions.{i + 1}", 24)
        lists["outs"] += block(f"outs.{i}", 24, 24)
        names |= {key: key.replace(f"layers.{i}.0", f"ins.{i}") for key, _ in block(f"layers.{i}.0", 24, 24)}
        names |= {key: key.replace(f"layers.{i}.2", f"outs.{i}") for key, _ in block(f"layers.{i}.2", 24, 24)}
        names |= {key: key.replace(f"layers.{i}.1", f"attentions.{i + 1}") for key, _ in attention(f"layers.{i}.1", 24)}
    for own in lists.values():
        theirs += own
    solved(mine, theirs, truth(names.items()))


def test_lists_that_leave_out_numbers_are_no_layers() -> None:
    """The numbers of a Sequential go on over its activations: `tcn.0, tcn.2` and `residual.0, residual.1` are none."""
    mine: Entries = [
        (f"net.{i}.{part}.{at}.weight", (16, 16))
        for i in range(4)
        for part, numbers in (("tcn", (0, 2)), ("residual", (0, 1)))
        for at in numbers
    ]
    answer = match(spec(mine), spec([(key.replace("net", "gcn"), shape) for key, shape in mine]))
    served = {m.model_keys[0]: m.checkpoint_keys[0] for m in answer.matches}
    assert served == {key.replace("net", "gcn"): key for key, _ in mine}


def test_stages_that_run_backwards_take_their_blocks_and_their_last_modules_along() -> None:
    """`up.3.block.0` is `ups.0`: the shapes of the first two stages say it of the last two, which are alike."""
    widths = (8, 16, 24, 24)
    mine: Entries = []
    names: dict[str, str] = {}
    theirs: Entries = []
    at = 0
    for stage in reversed(range(4)):
        width, before = widths[stage], widths[min(stage + 1, 3)]
        for i in range(2):
            of = before + width if i == 0 else 2 * width
            names |= {
                f"{key}": f"ups.{at}{key[len(f'up.{stage}.block.{i}') :]}"
                for key, _ in block(f"up.{stage}.block.{i}", width, of)
            }
            theirs += block(f"ups.{at}", width, of)
            at += 1
        if stage:
            names[f"up.{stage}.upsample.conv.weight"] = f"ups.{at}.main.weight"
            theirs.append((f"ups.{at}.main.weight", (24, 24, 5, 5)))
            at += 1
    for stage in range(4):
        width, before = widths[stage], widths[min(stage + 1, 3)]
        for i in range(2):
            mine += block(f"up.{stage}.block.{i}", width, before + width if i == 0 else 2 * width)
        mine += [(f"up.{stage}.upsample.conv.weight", (24, 24, 5, 5))] if stage else []
    honest(mine, theirs, truth(names.items()))
    answer = match(spec(mine), spec(theirs))
    served = {m.model_keys[0]: m.checkpoint_keys[0] for m in answer.matches}
    assert {key: served[other] for key, other in names.items()} == {key: key for key in names}


def test_two_blocks_numbered_from_one_are_the_two_numbered_from_zero() -> None:
    """The first of the two holds the attention there, so that the second is the only one of its build."""
    mine = block("mid.block_1", 24, 24) + attention("mid.attn_1", 24) + block("mid.block_2", 24, 24)
    theirs = block("middle.0", 24, 24) + attention("middle.0.attn", 24) + block("middle.1", 24, 24)
    names = {key: key.replace("mid.block_1", "middle.0").replace("mid.block_2", "middle.1") for key, _ in mine}
    names = {key: other.replace("mid.attn_1", "middle.0.attn") for key, other in names.items()}
    edges: Entries = [("conv_in.weight", (24, 3, 3, 3)), ("conv_out.weight", (3, 24, 3, 3))]
    whole = {key: key for key, _ in edges}
    honest([*edges, *mine], [*edges, *theirs], truth((names | whole).items()))
    served = found(match(spec([*edges, *mine]), spec([*edges, *theirs])))
    assert served["middle.0.conv1.weight",].checkpoint == ("mid.block_1.conv1.weight",)
    assert not flagged(match(spec([*edges, *mine]), spec([*edges, *theirs])))
