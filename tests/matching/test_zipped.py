"""Lists beside each other on one side that are one list of layers on the other; stages that run backwards."""

from __future__ import annotations

import pytest

from automatch.describing.tree import Interner, Tree, below
from automatch.matching import match
from automatch.matching.basis.leaves import leaves_of
from automatch.matching.blocks.ways import facing
from automatch.matching.keys.zipped import zip_lists
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


def together(mine: Entries, theirs: Entries) -> dict[str, str]:
    """Of the checkpoint's tensors that stand in one list as the model has it, the paths there."""
    shapes, structs = Interner(), Interner()
    leaves = [leaves_of(spec(side)) for side in (mine, theirs)]
    trees = [Tree([leaf.path for leaf in side], [shapes(leaf.shape) for leaf in side], structs) for side in leaves]
    return {leaf.keys[0]: ".".join(path) for leaf, path in zip_lists(leaves[0], *trees)}


def rows(*kinds: tuple[str, int, tuple[int, ...]]) -> Entries:
    return [(f"{name}.{i}.w", (size, 7)) for name, size, numbers in kinds for i in numbers]


BOTH: Entries = [(f"layers.{i}.{part}.w", (size, 7)) for i in (0, 1) for part, size in (("a", 3), ("b", 4))]


@pytest.mark.parametrize(
    ("mine", "gone"),
    [
        pytest.param(
            rows(("a", 3, (0, 1)), ("b", 4, (0, 1))), {"a.1.w": "·.1.a.w", "b.0.w": "·.0.b.w"}, id="two lists"
        ),
        pytest.param(
            rows(("a", 3, (0, 1)), ("b", 4, (0, 1, 2))),
            {},
            id="one more, and nothing says which",
        ),
        pytest.param(
            [*rows(("a", 3, (0, 1))), ("b.0.w", (9, 7)), ("b.1.w", (4, 7)), ("b.2.w", (4, 7))],
            {"b.1.w": "·.0.b.w", "b.2.w": "·.1.b.w"},
            id="the first stands for itself",
        ),
        pytest.param(rows(("a", 3, (0, 2)), ("b", 4, (0, 2))), {}, id="numbers that go on over activations"),
        pytest.param(rows(("a", 3, (0, 1)), ("b", 5, (0, 1))), {}, id="no block there has both"),
        pytest.param(BOTH, {}, id="one list already"),
        pytest.param(
            rows(("own_fc", 3, (0, 1)), ("own_norm", 4, (0, 1)), ("shared", 3, (0, 1))),
            {"own_fc.0.w": "·.0.own_fc.w", "own_norm.1.w": "·.1.own_norm.w"},
            id="of two that fit the one that is called like the other",
        ),
        pytest.param(
            [(f"g{n}.{i}.w", (size, 7)) for n, size in ((1, 3), (2, 4)) for i in (0, 1)],
            {"g1.0.w": "·.0.g1.w", "g2.1.w": "·.1.g2.w"},
            id="lists that are numbered themselves",
        ),
    ],
)
def test_which_lists_are_one(mine: Entries, gone: dict[str, str]) -> None:
    paths = together([("embed.w", (20, 7)), *mine], [("embed.w", (20, 7)), *BOTH])
    assert (paths.items() >= gone.items()) if gone else paths == {}


@pytest.mark.parametrize("depth", [2, 5])
def test_an_encoder_and_its_norms_beside_a_decoder_of_the_same_sizes(depth: int) -> None:
    """Of an autoencoder the encoder is kept: item by item a layer with its norm, and nothing of the decoder's."""
    norm = ("weight", "bias", "running_mean", "running_var")

    def half(lists: str, norms: str, first: int) -> Entries:
        keys: Entries = []
        for i in range(depth):
            keys += [(f"{lists}.{i}.weight", (32, 32 if i else first)), (f"{lists}.{i}.bias", (32,))]
        return keys + [(f"{norms}.{i}.{role}", (32,)) for i in range(depth) for role in norm]

    neck: Entries = [("neck.weight", (6, 32)), ("neck.bias", (6,))]
    mine = [*half("net.encoder", "net.enc_norm", 51), *((f"net.{key}", shape) for key, shape in neck)]
    mine += [*half("net.decoder", "net.dec_norm", 6), ("net.out.weight", (51, 32)), ("net.out.bias", (51,))]
    names = {f"net.{key}": key for key, _ in neck}
    for key, _ in half("net.encoder", "net.enc_norm", 51):
        _, kind, i, role = key.split(".")
        names[key] = f"features.{i}.{'norm' if kind == 'enc_norm' else 'dense'}.{role}"
    shapes = dict(mine)
    theirs = [(other, shapes[key]) for key, other in sorted(names.items(), key=lambda pair: pair[1])]
    theirs += [("fault.weight", (9, 6)), ("fault.bias", (9,))]
    served = found(honest(mine, theirs, truth(names.items())))
    assert {other: served[other,].checkpoint[0] for other in names.values()} == {o: key for key, o in names.items()}


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


def test_where_both_sides_have_stages_one_of_them_is_turned() -> None:
    """`up.2` and `up.1` hold equal blocks, and so do `stages.1` and `stages.2`; `up.0` is `stages.3` by its shapes."""
    mine, theirs = (
        [entry for at, width in enumerate(widths) for i in (0, 1) for entry in block(f"{home}.{at}.{i}", width, width)]
        for home, widths in (("up", (8, 16, 24, 24)), ("stages", (24, 24, 16, 8)))
    )
    shapes, structs = Interner(), Interner()
    sides = []
    for entries in (mine, theirs):
        leaves = leaves_of(spec(entries))
        tree = Tree([leaf.path for leaf in leaves], [shapes(leaf.shape) for leaf in leaves], structs)
        nodes = [node for node in below(tree.root) if len(node.tokens()) == 3]
        sides.append([node for node in nodes if node.signature == nodes[0 if entries is theirs else -1].signature])
    left, right = facing(*sides)
    assert [".".join(node.tokens()) for node in left] == ["up.3.0", "up.3.1", "up.2.0", "up.2.1"]
    assert [".".join(node.tokens()) for node in right] == ["stages.0.0", "stages.0.1", "stages.1.0", "stages.1.1"]
