"""Networks that are one list of layers, lists cut at other places, and modules without a name."""

from __future__ import annotations

import pytest
from torch import nn

from automatch.matching import match
from automatch.matching.basis.evidence import Evidence
from automatch.matching.basis.leaves import Leaf
from automatch.matching.left_overs.sequence import in_one_list
from tests.matching.built import built
from tests.matching.truth import Served, flagged, found, honest, silent, solved, spec, truth

Keys = list[tuple[str, tuple[int, ...]]]


def conv(at: str, wide: int, out: int, size: int, names: tuple[str, str] = ("conv", "bn")) -> Keys:
    keys: Keys = [(f"{at}{names[0]}.weight", (out, wide, size, size))]
    return keys + [(f"{at}{names[1]}.{role}", (out,)) for role in ("weight", "bias", "running_mean", "running_var")]


BACK = ((128, 64, 1), (64, 128, 3))
"""Layers of the shapes of those in the backbone's last stage."""


def darknet(heads: int) -> tuple[Keys, Keys]:
    """The same network in blocks, and as one list in which each convolution has its number."""
    layers = [("backbone.", 3, 8, 3, ("conv1", "bn1"))]
    wide = 8
    for stage, out in enumerate((16, 32, 64, 128)):
        layers.append((f"backbone.layer{stage}.", wide, out, 3, ("ds_conv", "ds_bn")))
        for i in range(2):
            at = f"backbone.layer{stage}.residual_{i}."
            layers += [(at, out, out // 2, 1, ("conv1", "bn1")), (at, out // 2, out, 3, ("conv2", "bn2"))]
        wide = out
    for i in range(3):
        layers += [(f"last.{2 * i + n}.", a, b, size, ("conv", "bn")) for n, (a, b, size) in enumerate(BACK)]
    nested, flat = [], []
    for n, layer in enumerate(layers):
        nested += conv(*layer)
        flat += conv(f"module_list.{n + n // 4}.", *layer[1:4], (f"conv_{n}", f"batch_norm_{n}"))
    nested.append(("head.weight", (heads, 128, 1, 1)))
    flat.append(("module_list.99.conv_99.weight", (24, 128, 1, 1)))
    return nested, flat


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("heads", [24, 36])
def test_a_network_against_one_list_of_its_layers(heads: int, back: bool) -> None:
    """YOLOv3: the last layers have the shapes of the backbone's, and only their place tells them apart."""
    nested, flat = darknet(heads)
    pairs = [(s, t) for (s, _), (t, _) in zip(nested, flat, strict=True)][: None if heads == 24 else -1]
    if back:
        solved(flat, nested, truth((t, s) for s, t in pairs))
    else:
        solved(nested, flat, truth(pairs))


def test_names_that_contradict_the_places_of_a_list() -> None:
    """The list has its layers' up-projection before the gate, the other side after it; both are of one shape."""
    given: Keys = []
    wanted: Keys = []
    for i in range(9):
        for name in ("up_proj", "gate_proj", "down_proj"):
            shape = (8, 40 + i) if name == "down_proj" else (40 + i, 8)
            given.append((f"layers.{i}.{name}.weight", shape))
            other = {"up_proj": "gate_proj", "gate_proj": "up_proj"}.get(name, name)
            wanted.append((f"stages.{i // 3}.blocks.{i % 3}.{other}.weight", shape))
    stage = {f"layers.{i}": f"stages.{i // 3}.blocks.{i % 3}" for i in range(9)}
    solved(given, wanted, truth((f"{a}.{n}", f"{b}.{n}") for a, b in stage.items() for n in NAMED))


NAMED = ("up_proj.weight", "gate_proj.weight", "down_proj.weight")


def test_another_network_in_one_list_is_not_read_by_its_order() -> None:
    """Two layers changed places: what is left has another order, and nothing is read place by place."""
    nested, flat = darknet(24)
    moved = flat[:5] + flat[10:15] + flat[5:10] + flat[15:]
    expected = truth((s, t) for (s, _), (t, _) in zip(nested, flat, strict=True))
    honest(nested, moved, expected)


@pytest.mark.parametrize("blocks", [2, 4, 6])
def test_a_block_before_a_list_of_its_like(blocks: int) -> None:
    """MobileFaceNet: the block that leads to a stage is the first of the stage elsewhere, and built as all others."""
    given: Keys = conv("conv1.", 3, 16, 3)
    wanted: Keys = conv("stem.", 3, 16, 3)
    for i in range(2):
        wide = 16 << i
        names = [f"conv_{i}{i + 1}", *(f"conv_{i + 1}.model.{n}" for n in range(blocks))]
        for n, name in enumerate(names):
            for part, (a, b, size) in {"expand": (wide, 4 * wide, 1), "project": (4 * wide, 16 << i, 3)}.items():
                given += conv(f"{name}.{part}.", a, b, size)
                wanted += conv(f"stages.{i}.{n}.{part}.", a, b, size, names=("c", "norm"))
        given += conv(f"out_{i}.", 16 << i, 32 << i, 1)
        wanted += conv(f"outs.{i}.", 16 << i, 32 << i, 1, names=("c", "norm"))
    solved(given, wanted, truth((s, t) for (s, _), (t, _) in zip(given, wanted, strict=True)))


@pytest.mark.parametrize(("lost", "gone"), [("inner.bias", "in.weight"), ("in.weight", "in.bias")])
def test_a_damaged_block_before_a_list_of_its_like(lost: str, gone: str) -> None:
    """MS-TCN: a `stage1` that reads features, and a list `stages` of those that refine; one list on the other side."""
    given: Keys = []
    wanted: Keys = []
    for n, name in enumerate(("stage1", "stages.0", "stages.1", "stages.2")):
        tensors = {f"layers.{i}.inner.{role}": (8,) * dims for i in range(3) for role, dims in _ROLES}
        tensors |= {"in.weight": (8, 5 if n else 40), "in.bias": (8,), "out.weight": (5, 8), "out.bias": (5,)}
        given += [(f"{name}.{key}", shape) for key, shape in tensors.items() if n or not key.endswith(lost)]
        wanted += [(f"refiners.{n}.{key}", shape) for key, shape in tensors.items() if key != gone]
    whole = {"stage1": "refiners.0", **{f"stages.{n}": f"refiners.{n + 1}" for n in range(3)}}
    expected = truth((key, key.replace(a, b)) for key, _ in given for a, b in whole.items() if key.startswith(f"{a}."))
    assert silent(match(spec(given), spec(wanted)), expected) == []


_ROLES = (("weight", 2), ("bias", 1))


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(
    ("names", "flags"), [(("self", "cross"), True), (("encoder", "decoder"), False), (("lower", "upper"), False)]
)
def test_one_list_that_fills_two_may_do_so_by_turns(names: tuple[str, str], flags: bool, swap: bool) -> None:
    """SuperGlue's layers look at their own image and at the other one by turns; parts that have an order do not."""
    parts = {"attn.weight": (24, 8), "out.weight": (8, 8), "mlp.0.weight": (32, 8), "mlp.2.weight": (8, 32)}
    given = [(f"layers.{i}.{key}", shape) for i in range(6) for key, shape in parts.items()]
    wanted = [(f"{name}.{i}.{key}", shape) for name in names for i in range(3) for key, shape in parts.items()]
    turns = [(i, names[i % 2], i // 2) if flags else (i, names[i // 3], i % 3) for i in range(6)]
    pairs = [(f"layers.{i}.{key}", f"{name}.{at}.{key}") for i, name, at in turns for key in parts]
    given, wanted = (wanted, given) if swap else (given, wanted)
    answer = match(spec(given), spec(wanted))
    assert found(answer) == truth((t, s) if swap else (s, t) for s, t in pairs)
    assert flagged(answer) == ({key for key, _ in wanted} if flags else set())


@pytest.mark.parametrize("sizes", [(0, 0, 0, 5), (0, 3, 5, 7)])
def test_what_only_some_items_have_shows_which_item_is_which(sizes: tuple[int, ...]) -> None:
    """A block before a list is not the first of the other list where shapes say that it is the last."""
    given: Keys = []
    wanted: Keys = []
    for n, size in enumerate(sizes):
        tensors = {f"layers.{i}.inner.{role}": (8,) * dims for i in range(3) for role, dims in _ROLES}
        tensors |= {"in.weight": (8, 8), "in.bias": (8,)} | ({"skip.weight": (size, 8)} if size else {})
        given += [(f"stages.{n}.{key}" if n < 3 else f"stage0.{key}", shape) for key, shape in tensors.items()]
        wanted += [(f"refiners.{n}.{key}", shape) for key, shape in tensors.items()]
    expected = truth((s, t) for (s, _), (t, _) in zip(given, wanted, strict=True))
    first = [pair for pair in given if pair[0].startswith("stage0")]
    solved(first + given[: -len(first)], wanted, expected)


def test_one_list_that_fills_the_stages_of_another_is_read_in_order() -> None:
    """Stages are counted, and hold their blocks one after the other."""
    parts = {"attn.weight": (24, 8), "out.weight": (8, 8), "mlp.0.weight": (32, 8), "mlp.2.weight": (8, 32)}
    given = [(f"layers.{i}.{key}", shape) for i in range(6) for key, shape in parts.items()]
    wanted = [(f"stages.{n}.blocks.{i}.{key}", shape) for n in (0, 1) for i in range(3) for key, shape in parts.items()]
    solved(given, wanted, truth((s, t) for (s, _), (t, _) in zip(given, wanted, strict=True)))


def test_the_odd_item_of_a_longer_list_stands_outside_of_the_shorter_one() -> None:
    """MobileFaceNet's second stage: its first block has other widths than the list, and none of the list is missing."""
    given: Keys = []
    wanted: Keys = []
    for i, width in enumerate((16, 24, 40)):
        for n in range(7):
            name, wide = (f"conv_{i + 1}.model.{n - 1}", width) if n else (f"conv_{i}{i + 1}", width - 4)
            for part, (a, b, size) in {
                "expand": (wide, 64, 1),
                "inner": (64, 64, 3),
                "project": (64, width, 1),
            }.items():
                given += conv(f"{name}.{part}.", a, b, size)
                wanted += conv(f"stages.{i}.{n}.{part}.", a, b, size, names=("c", "norm"))
    solved(given, wanted, truth((s, t) for (s, _), (t, _) in zip(given, wanted, strict=True)))


@pytest.mark.parametrize("before", ["tail", "mtp_layer", "last_block"])
def test_a_block_that_is_declared_before_a_list_is_no_part_of_it(before: str) -> None:
    """Order of declaration is not order of use: what is called otherwise than the list is left for the end."""
    layer: Keys = [("up.weight", (32, 8)), ("down.weight", (8, 32)), ("norm.weight", (8,))]
    given = [(f"{before}.{name}", shape) for name, shape in layer]
    given += [(f"layers.{i}.{name}", shape) for i in range(4) for name, shape in layer]
    wanted = [(f"layers.{i}.{name}", shape) for i in range(5) for name, shape in layer]
    pairs = [(key, key) for key, _ in wanted[:-3]] + [(f"{before}.{n}", f"layers.4.{n}") for n, _ in layer]
    honest(given, wanted, truth(pairs))


def test_parts_that_stand_in_the_next_item_do_not_turn_a_list_round() -> None:
    """What merges two stages ends the first here and begins the second there: the last is built as the first."""
    given: Keys = []
    wanted: Keys = []
    pairs: list[tuple[str, str]] = []
    for i in range(4):
        for name in "qkv":
            given.append((f"a.{i}.{name}.weight", (16, 16)))
            wanted.append((f"b.{i}.{name}.weight", (16, 16)))
            pairs.append((given[-1][0], wanted[-1][0]))
        if i < 3:
            given.append((f"a.{i}.merge.weight", (20 + i, 16)))
        if i > 0:
            wanted.append((f"b.{i}.merge.weight", (19 + i, 16)))
            pairs.append((f"a.{i - 1}.merge.weight", wanted[-1][0]))
    honest(given, wanted, truth(pairs))
    answer = found(match(spec(given), spec(wanted)))
    assert all(answer[(t,)] == Served((s,)) for s, t in pairs)


def exported(model: nn.Module) -> tuple[Keys, dict[tuple[str, ...], Served]]:
    """What torch's ONNX export makes of it: matrices of linear layers lose their names and are transposed."""
    keys: Keys = []
    expected: dict[tuple[str, ...], Served] = {}
    matrices: list[tuple[str, tuple[int, ...]]] = []
    for key, tensor in model.state_dict().items():
        if tensor.dim() == 2:
            matrices.append((key, tuple(tensor.shape)))
        else:
            keys.append((key, tuple(tensor.shape)))
            expected[(key,)] = Served((key,))
    for n, (key, shape) in enumerate(matrices):
        keys.append((f"onnx::MatMul_{90 + 7 * n}", shape[::-1]))
        expected[(key,)] = Served((keys[-1][0],), "transpose")
    return keys, expected


def test_matrices_that_an_exporter_left_without_a_name() -> None:
    parts = {}
    for i in range(3):
        parts |= {f"h.{i}.norm1": nn.LayerNorm(16), f"h.{i}.q": nn.Linear(16, 16), f"h.{i}.k": nn.Linear(16, 16)}
        parts |= {f"h.{i}.norm2": nn.LayerNorm(16), f"h.{i}.up": nn.Linear(16, 40), f"h.{i}.down": nn.Linear(40, 16)}
    model = built(parts)
    keys, expected = exported(model)
    assignment = match(spec(keys), spec(model))
    assert found(assignment) == expected
    # a model may use its modules in another order than it declares them in
    matrices = {f"h.{i}.{name}.weight" for i in range(3) for name in ("q", "k", "up", "down")}
    assert flagged(assignment) == matrices


@pytest.mark.parametrize("more", [("embed.weight", (50, 16)), ("head.weight", (7, 16))])
def test_matrices_that_the_model_has_besides_leave_the_others_in_their_order(more: tuple[str, tuple[int, ...]]) -> None:
    """A head for other classes, or a table that is not in the file; of one that is as large any may be meant."""
    parts = {}
    for i in range(3):
        parts |= {f"h.{i}.norm1": nn.LayerNorm(16), f"h.{i}.q": nn.Linear(16, 16)}
        parts |= {f"h.{i}.up": nn.Linear(16, 40), f"h.{i}.down": nn.Linear(40, 16)}
    model = built(parts)
    keys, expected = exported(model)
    held = [(tensor.key, tensor.shape) for tensor in spec(model).tensors]
    assert found(match(spec(keys), spec([more, *held]))) == expected
    assert found(match(spec(keys), spec([*held, more]))) == expected
    honest(keys, [*held[:8], ("h.0.other.weight", (16, 16)), *held[8:]], expected)


def test_matrices_that_fit_as_they_are_in_several_ways_are_not_turned() -> None:
    """Four of five may be meant, as they are stored; that four others fit transposed decides nothing."""
    stored, turned = [(f"a.{i}.weight", (24, 16)) for i in range(5)], [(f"b.{i}.weight", (16, 24)) for i in range(4)]
    file = [(f"onnx::MatMul_{90 + i}", (24, 16)) for i in range(4)]
    answer = match(spec([*file, ("x.bias", (5,))]), spec([*stored, *turned, ("x.bias", (5,))]))
    assert {key for key, _ in turned} <= {*answer.missing_keys}
    assert {key for key, _ in stored} <= flagged(answer) | {*answer.missing_keys}


def test_a_pin_of_a_matrix_without_a_name_turns_it() -> None:
    model = built({f"h.{i}.{name}": nn.Linear(8, 8) for i in range(2) for name in "qk"} | {"up": nn.Linear(8, 16)})
    keys, expected = exported(model)
    for target, served in expected.items():
        if served.op == "transpose":
            assignment = match(spec(keys), spec(model), pin=[(served.checkpoint[0], target[0])])
            assert found(assignment)[target] == served
            assert target[0] not in flagged(assignment)


def test_a_pin_shows_the_matrices_of_a_feed_forward_no_other_way() -> None:
    """Both of its matrices fit crosswise as they are stored; the order says that all are transposed."""
    model = built({"q": nn.Linear(8, 8), "k": nn.Linear(8, 8), "fc1": nn.Linear(8, 16), "fc2": nn.Linear(16, 8)})
    keys, expected = exported(model)
    pins = [(served.checkpoint[0], target[0]) for target, served in expected.items() if target[0][0] in "qk"]
    pins = [(mine, theirs) for mine, theirs in pins if theirs.endswith("weight")]
    assert found(match(spec(keys), spec(model), pin=pins)) == expected


def test_a_matrix_too_many_has_no_order() -> None:
    model = built({f"h.{i}": nn.Linear(8 + i, 9 + i) for i in range(6)})
    keys, expected = exported(model)
    keys.append(("onnx::MatMul_999", (40, 50)))
    assert silent(match(spec(keys), spec(model)), expected) == []


def test_one_of_several_items_for_what_has_no_number_is_flagged() -> None:
    """CARN's three blocks each have a fusion as large as that of the whole; where theirs are lost, any might be it."""
    parts = {"0.weight": (8, 16), "1.weight": (8, 24), "2.weight": (8, 32), "2.bias": (8,)}
    given: Keys = [(f"b.{i}.conv.{n}.weight", (8, 8, 3, 3)) for i in range(3) for n in range(4)]
    wanted = [(key.replace("b.", "body.units."), shape) for key, shape in given]
    given += [(f"b.{i}.c.{key}", shape) for i in range(3) for key, shape in parts.items()]
    wanted += [(f"body.fuse.{key}", shape) for key, shape in parts.items()]
    answer = match(spec(given), spec(wanted))
    assert {key for key, _ in wanted if "fuse" in key} <= flagged(answer) | set(answer.missing_keys)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("parts", [{"early": 2, "late": 4}, {"a": 1, "b": 5}])
def test_a_list_that_was_cut_in_two_keeps_its_order(parts: dict[str, int], swap: bool) -> None:
    """The longer part does not take the first layers."""
    block = {"norm.weight": (8,), "norm.bias": (8,), "fc1.weight": (16, 8), "fc2.weight": (8, 16)}
    given: Keys = [(f"blocks.{i}.{key}", shape) for i in range(6) for key, shape in block.items()]
    wanted: Keys = [
        (f"{name}.{i}.{key}", s) for name, count in parts.items() for i in range(count) for key, s in block.items()
    ]
    given.append(("head.weight", (3, 8)))
    wanted.append(("head.weight", (3, 8)))
    pairs = [(s, t) for (s, _), (t, _) in zip(given, wanted, strict=True)]
    if swap:
        solved(wanted, given, truth((t, s) for s, t in pairs))
    else:
        solved(given, wanted, truth(pairs))


def test_a_list_is_not_turned_where_a_tensor_would_serve_twice() -> None:
    """The block before the list has lent one of its tensors to something else."""
    mine = [(f"{block}.{part}", (4,)) for block in ("b0", "b.0", "b.1") for part in "acx"]
    theirs = [(f"l.{i}.{part}", (4,)) for i in range(3) for part in ("ac" if i == 2 else "acx")] + [("other.x", (4,))]
    source, target = (
        {key: Leaf(tuple(key.split(".")), shape, (key,), n, raw=shape) for n, (key, shape) in enumerate(keys)}
        for keys in (mine, theirs)
    )
    partners = {"l.0": "b.0", "l.1": "b.1", "l.2": "b0", "other": "b0"}
    given = [(source[partners[key[:-2]] + key[-2:]], leaf, Evidence()) for key, leaf in target.items()]
    turned = in_one_list(given, list(source.values()), list(target.values()))
    assert len({id(s) for s, _, _ in turned}) == len(turned) == len(given)
