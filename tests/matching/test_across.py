"""Lists that lie across each other, that run as the lists beside them, and files that are sorted by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from automatch.matching import match
from automatch.matching.basis.grids import across
from tests.matching.built import built
from tests.matching.truth import by_rename, flagged, found, honest, solved, spec, truth

ROLES = ("0", "2")


def convolutions(paths: Iterable[str]) -> nn.Module:
    """Equal blocks under these paths, between a stem and a head."""
    modules: dict[str, nn.Module] = {"stem": nn.Conv2d(3, 8, 3)}
    for path in paths:
        modules[f"{path}.c1"] = nn.Conv2d(8, 8, 3)
        modules[f"{path}.n"] = nn.BatchNorm2d(8)
        modules[f"{path}.c2"] = nn.Conv2d(8, 8, 3)
    return built({**modules, "head": nn.Linear(8, 10)})


def by_path(pairs: dict[str, str]) -> Callable[[str], str]:
    """Keys with the path in front of them renamed."""
    return lambda key: next((new + key[len(old) :] for old, new in pairs.items() if key.startswith(f"{old}.")), key)


@pytest.mark.parametrize("roles", [("0", "2"), ("0", "1")])
@pytest.mark.parametrize("back", [False, True], ids=["to lists by kind", "to lists by number"])
def test_numbers_decide_where_lists_lie_across_each_other(roles: tuple[str, str], back: bool) -> None:
    """In the order in which they stand, `blocks.0.2` would be `ins.1`."""
    pairs = {f"blocks.{i}.{r}": f"{kind}.{i}" for r, kind in zip(roles, ("ins", "outs"), strict=True) for i in range(3)}
    mine = convolutions(f"blocks.{i}.{r}" for i in range(3) for r in roles)
    theirs = convolutions(f"{kind}.{i}" for kind in ("ins", "outs") for i in range(3))
    if back:
        solved(theirs, mine, by_rename(theirs, by_path({new: old for old, new in pairs.items()})))
    else:
        solved(mine, theirs, by_rename(mine, by_path(pairs)))


@given(rows=st.integers(2, 4), columns=st.integers(2, 4))
def test_what_lies_across_is_put_together_by_its_numbers(rows: int, columns: int) -> None:
    left = [("blocks", str(i), f"kind{r}") for i in range(columns) for r in range(rows)]
    right = [(f"list{r}", str(i)) for r in range(rows) for i in range(columns)]
    order = across(left, right)
    assert sorted(order) == list(range(len(right)))
    assert all(left[k][2][4:] == right[j][0][4:] and left[k][1] == right[j][1] for k, j in enumerate(order))
    assert across(left, left) == across(right, right) == sorted(order)


def test_a_list_of_equal_items_runs_as_the_list_beside_it() -> None:
    """A pyramid: the lateral convolutions show by their shapes that one side begins with the deepest."""
    widths = (8, 16, 32)

    def pyramid(lateral: str, smooth: str, sizes: Iterable[int]) -> nn.Module:
        modules: dict[str, nn.Module] = {f"{lateral}.{i}.conv": nn.Conv2d(n, 4, 1) for i, n in enumerate(sizes)}
        modules |= {f"{smooth}.{i}.conv": nn.Conv2d(4, 4, 3) for i in range(len(widths))}
        modules |= {f"{smooth}.{i}.norm": nn.BatchNorm2d(4) for i in range(len(widths))}
        return built({f"neck.{path}": module for path, module in modules.items()})

    mine = pyramid("lateral_convs", "fpn_convs", widths)
    theirs = pyramid("reduce", "refine", reversed(widths))
    pairs = {
        f"neck.{a}.{i}": f"neck.{b}.{2 - i}"
        for a, b in (("lateral_convs", "reduce"), ("fpn_convs", "refine"))
        for i in range(3)
    }
    assignment = match(spec(mine), spec(theirs))
    assert found(assignment) == by_rename(mine, by_path(pairs))


def test_files_sorted_by_name_are_read_by_their_numbers() -> None:
    """kohya's LoRA files: `blocks_10` stands before `blocks_2`, and the model has much beside the adapters."""
    parts = ("attn_to_k", "attn_to_q", "attn_to_v")
    given: dict[str, tuple[int, ...]] = {}
    wanted: dict[str, tuple[int, ...]] = {}
    truth: dict[str, str] = {}
    for i in range(100):
        for part in parts:
            model, file = f"blocks.{i}.attn.{part[5:]}", f"lora_unet_blocks_{i}_{part}"
            wanted |= {f"{model}.base_layer.weight": (16, 16), f"{model}.base_layer.bias": (16,)}
            for ours, theirs, shape in (
                ("lora_A.default", "lora_down", (4, 16)),
                ("lora_B.default", "lora_up", (16, 4)),
            ):
                wanted[f"{model}.{ours}.weight"] = given[f"{file}.{theirs}.weight"] = shape
                truth[f"{model}.{ours}.weight"] = f"{file}.{theirs}.weight"
            given[f"{file}.alpha"] = ()
        wanted |= {f"blocks.{i}.mlp.{k}.weight": (64, 16) for k in ("a", "b", "c", "d")}
    assignment = match(spec(sorted(given.items())), spec(list(wanted.items())))
    served = {m.model_keys[0]: m.checkpoint_keys[0] for m in assignment.matches}
    assert served == truth


def test_a_norm_with_statistics_is_no_norm_without() -> None:
    """Where both sides have as many of each, names do not give a layer norm what a batch norm holds."""
    mine = {"block.fc": nn.Linear(8, 8), "block.zeta": nn.LayerNorm(8), "block.theta": nn.BatchNorm1d(8)}
    theirs = {"part.fc": nn.Linear(8, 8), "part.zeta": nn.BatchNorm1d(8), "part.theta": nn.LayerNorm(8)}
    pairs = {"block.fc": "part.fc", "block.zeta": "part.theta", "block.theta": "part.zeta"}
    checkpoint = built(mine)
    assignment = match(spec(checkpoint), spec(built(theirs)))
    assert found(assignment) == by_rename(checkpoint, by_path(pairs))


def test_of_three_copies_one_is_matched() -> None:
    """A trainer's file: the network, and beside it a wrapper that holds two more."""
    net = convolutions(f"blocks.{i}" for i in range(6))
    state = {f"model.model.{k}": v for k, v in net.state_dict().items()}
    state |= {f"ema.{part}.model.{k}": v for part in ("online_model", "ema_model") for k, v in net.state_dict().items()}
    state |= {"ema.initted": torch.ones(1), "ema.step": torch.ones(1), "step": torch.tensor(3)}
    assignment = match(spec(state), spec(net))
    assert {m.checkpoint_keys[0] for m in assignment.matches} == {f"model.model.{k}" for k in net.state_dict()}
    assert not any(m.ambiguous for m in assignment.matches)


def test_grids_of_other_sizes_are_turned_or_cut_elsewhere() -> None:
    """Two stages of three blocks, and three of two: the numbers are those of a grid that was turned, and may not be."""
    parts = {"norm.weight": (8,), "up.weight": (16, 8), "down.weight": (8, 16), "qkv.weight": (24, 8)}
    mine = [(f"s.{i}.{j}.{key}", shape) for i in range(2) for j in range(3) for key, shape in parts.items()]
    theirs = [(f"stages.{i}.{j}.{key}", shape) for i in range(3) for j in range(2) for key, shape in parts.items()]
    assert flagged(match(spec(mine), spec(theirs))) == {key for key, _ in theirs}


@pytest.mark.parametrize("steps", [2, 3])
@pytest.mark.parametrize("back", [False, True])
def test_two_lists_beside_each_other_and_a_list_of_two(steps: int, back: bool) -> None:
    """MeshGraphNets' steps of an edge and a node network each, as two lists: with two steps all sizes fit crosswise."""
    parts = {"eb_module": ("edge_updates", 18), "nb_module": ("node_updates", 12)}
    inner = {"net.0": "hidden.0", "net.2": "hidden.1", "net.4": "out", "net.5": "norm"}
    pairs: dict[str, str] = {}
    sizes: dict[str, tuple[int, ...]] = {}
    for i in range(steps):
        for part, (name, width) in parts.items():
            for own, other in inner.items():
                matrix = (6,) if other == "norm" else (6, width if own == "net.0" else 6)
                for role, shape in (("weight", matrix), ("bias", (6,))):
                    key = f"steps.{i}.{part}.{own}.{role}"
                    pairs[key], sizes[key] = f"{name}.{i}.{other}.{role}", shape
    mine = [(key, sizes[key]) for key in pairs]
    theirs = sorted(((other, sizes[key]) for key, other in pairs.items()), key=lambda pair: pair[0].startswith("edge"))
    file, model = (theirs, mine) if back else (mine, theirs)
    expected = truth((b, a) for a, b in pairs.items()) if back else truth(pairs.items())
    assert found(match(spec(file), spec(model))) == expected


KINDS = [
    ("norm_layers_{k}.{i}", "blocks.{i}.norm{k}", (1, 2), 3),
    ("norms{k}.{i}", "blocks.{i}.norm{k}", (1, 2), 2),
    ("convs{k}.{i}", "units.{i}.conv{k}", (1, 2), 3),
    ("w{k}.{i}", "layers.{i}.w{k}", (1, 2, 3), 3),
    ("conv{k}.layer{i}", "layer{i}.conv{k}", (0, 1), 2),
]


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize(("mine", "theirs", "kinds", "items"), KINDS)
@pytest.mark.parametrize("shape", [(4, 4), (4,)])
def test_lists_of_kinds_that_a_number_tells_apart(
    mine: str, theirs: str, kinds: tuple[int, ...], items: int, shape: tuple[int, ...], back: bool
) -> None:
    """VITS' `norm_layers_1.0` is `blocks.0.norm1`, not its second item the second norm of the first block."""
    cells = [(k, i) for k in kinds for i in range(items)]
    pairs = {f"{mine.format(k=k, i=i)}.weight": f"{theirs.format(k=k, i=i)}.weight" for k, i in cells}
    given = [(key, shape) for key in pairs]
    wanted = [(f"{theirs.format(k=k, i=i)}.weight", shape) for i in range(items) for k in kinds]
    file, model = (wanted, given) if back else (given, wanted)
    expected = truth((b, a) for a, b in pairs.items()) if back else truth(pairs.items())
    assert found(match(spec(file), spec(model))) == expected


def test_a_pin_against_the_numbers_of_two_lists_puts_all_in_doubt() -> None:
    """A person says that the rows are rows: what the numbers say of the others is no longer sure."""
    cells = [(k, i) for k in (1, 2) for i in range(2)]
    file = [(f"norms{k}.{i}.weight", (4,)) for k, i in cells]
    model = [(f"blocks.{i}.norm{k}.weight", (4,)) for i in range(2) for k in (1, 2)]
    answer = match(spec(file), spec(model), pin=[("norms1.0.weight", "blocks.0.norm2.weight")])
    assert found(answer)[("blocks.0.norm2.weight",)].checkpoint == ("norms1.0.weight",)
    assert {key for key, _ in model} - flagged(answer) == {"blocks.0.norm2.weight"}
    agreed = match(spec(file), spec(model), pin=[("norms2.1.weight", "blocks.1.norm2.weight")])
    assert not flagged(agreed)


def test_kinds_in_a_network_of_other_modules() -> None:
    """The layers of an encoder in VITS, whose attentions and feed-forwards stand in lists of their own."""
    pairs: dict[str, str] = {}
    sizes: dict[str, tuple[int, ...]] = {}
    parts = {"attn_layers.{i}.conv_q": "attn.q", "attn_layers.{i}.conv_o": "attn.o", "norm_layers_1.{i}": "norm1"}
    parts |= {"ffn_layers.{i}.conv_1": "ffn.up", "ffn_layers.{i}.conv_2": "ffn.down", "norm_layers_2.{i}": "norm2"}
    shapes = {"up": (32, 8, 3), "down": (8, 32, 3), "norm1": (8,), "norm2": (8,)}
    for own, other in parts.items():
        for i in range(6):
            for role in ("weight", "bias"):
                key = f"encoder.{own.format(i=i)}.{role}"
                pairs[key] = f"text.blocks.{i}.{other}.{role}"
                matrix = shapes.get(other.split(".")[-1], (8, 8, 1))
                sizes[key] = matrix if role == "weight" else (matrix[0],)
    model = sorted(((pairs[key], sizes[key]) for key in pairs), key=lambda one: int(one[0].split(".")[2]))
    honest(list(sizes.items()), model, truth(pairs.items()))


@pytest.mark.parametrize("depth", [3, 4, 12])
def test_the_last_block_of_a_list_that_stands_first(depth: int) -> None:
    """Shards in another order: the numbers are those of the model, and nothing is turned round."""
    order = [depth - 1, *range(depth - 1)]
    file = [(f"module.blocks.{i}.{r}", s) for i in order for r, s in (("weight", (4, 4)), ("bias", (4,)))]
    model = [(f"blocks.{i}.{r}", s) for i in range(depth) for r, s in (("weight", (4, 4)), ("bias", (4,)))]
    assert found(match(spec(file), spec(model))) == by_rename(file, lambda key: key[7:])


@pytest.mark.parametrize("depth", [3, 12])
def test_a_list_that_may_have_lost_its_first_item(depth: int) -> None:
    """`layers.1` may be counted from 1, or what stood before it is lost."""
    parts = {"q.weight": (16, 16), "fc.weight": (32, 16)}
    file = [(f"layers.{i}.{key}", shape) for i in range(1, depth) for key, shape in parts.items()]
    model = [(f"blocks.{i}.{key}", shape) for i in range(depth) for key, shape in parts.items()]
    answer = match(spec(file), spec(model))
    assert {key for key, _ in model} <= flagged(answer) | {*answer.missing_keys}
