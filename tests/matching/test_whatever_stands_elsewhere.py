"""What is said of one part of a model does not change with what stands elsewhere in it, how much, or in which order."""

from __future__ import annotations

from itertools import product

import pytest

from automatch.matching import match
from tests.matching.truth import honest, solved, spec, truth

CONVOLUTIONS = (("weight", (8, 8, 3, 3)), ("bias", (8,)))
LINEAR = (("weight", (8, 8)), ("bias", (8,)))


def block(path: str, names: tuple[str, str, str]) -> list[tuple[str, tuple[int, ...]]]:
    """Two convolutions and a linear layer."""
    kinds = CONVOLUTIONS, CONVOLUTIONS, LINEAR
    return [(f"{path}.{m}.{p}", shape) for m, held in zip(names, kinds, strict=True) for p, shape in held]


def stages(network: str, stem: str, numbers: range, names: tuple[str, str, str]) -> list[tuple[str, tuple[int, ...]]]:
    """Equal stages of a network, numbered by hand or by a list."""
    return [key for i in numbers for key in block(f"{network}.{stem}{i}", names)]


OURS, THEIRS = ("conv_a", "conv_b", "lin"), ("c1", "c2", "lin")


@pytest.mark.parametrize("networks", [("encoder",), ("encoder", "decoder"), ("decoder", "encoder")])
def test_an_encoder_runs_forwards_whether_a_decoder_stands_before_it_or_not(networks: tuple[str, ...]) -> None:
    checkpoint = [key for n in networks for key in stages(n, "stage", range(1, 5), OURS)]
    model = [key for n in networks for key in stages(n, "layers.", range(4), THEIRS)]
    by_key = {m.model_keys[0]: m for m in match(spec(checkpoint), spec(model)).matches}
    for i in range(4):
        first = by_key[f"encoder.layers.{i}.c1.weight"]
        assert (first.checkpoint_keys[0], first.ambiguous) == (f"encoder.stage{i + 1}.conv_a.weight", False)
    if "decoder" in networks:
        assert all(m.ambiguous for key, m in by_key.items() if key.startswith("decoder"))


@pytest.mark.parametrize("lists", [("red",), ("blue", "red"), ("red", "blue")])
def test_a_list_that_was_made_from_its_last_item_on_is_in_doubt_whatever_was_made_before_it(
    lists: tuple[str, ...],
) -> None:
    ways = {"red": range(3, -1, -1), "blue": range(4)}
    checkpoint = [key for n in lists for key in stages(n, "", ways[n], OURS)]
    checkpoint = [(key.replace("red", "red.").replace("blue", "blue.").replace("..", "."), s) for key, s in checkpoint]
    model = [(k.replace("..", "."), s) for n in lists for k, s in stages(n, ".", range(4), THEIRS)]
    doubted = {m.model_keys[0].split(".")[0]: m.ambiguous for m in match(spec(checkpoint), spec(model)).matches}
    assert doubted == {n: n == "red" for n in lists}


@pytest.mark.parametrize("count", [12, 96, 97, 150])
def test_many_networks_go_by_their_names_as_few_do(count: int) -> None:
    names = ["".join(letters) for letters in product("dkmnpr", "aeiou", "lst", "aeio")][:count]
    shapes = (("weight", (8, 4)), ("bias", (8,))), (("weight", (3, 8)), ("bias", (3,)))
    sides = (
        [(f"{n}.{m}.{p}", s) for n in order for m, held in zip(own, shapes, strict=True) for p, s in held]
        for order, own in ((names, ("conv", "lin")), (names[::-1], ("kern", "dens")))
    )
    checkpoint, model = sides
    expected = truth(
        (f"{n}.{a}.{p}", f"{n}.{b}.{p}")
        for n in names
        for a, b in (("conv", "kern"), ("lin", "dens"))
        for p in ("weight", "bias")
    )
    solved(checkpoint, model, expected)


@pytest.mark.parametrize("stages", [3, 20])
def test_many_layers_that_are_numbered_in_stages_go_by_their_numbers(stages: int) -> None:
    held = ("attn", (24, 8)), ("up", (32, 8)), ("down", (8, 32)), ("out", (8, 8))
    checkpoint = [(f"blocks.{i}.{m}.weight", s) for i in range(8 * stages) for m, s in held]
    model = [(f"stages.{i}.block{j}.{m}.weight", s) for i in range(stages) for j in range(8) for m, s in held]
    solved(checkpoint, model, truth((a, b) for (a, _), (b, _) in zip(checkpoint, model, strict=True)))


@pytest.mark.parametrize("count", [97, 150])
def test_many_networks_of_names_that_say_nothing_are_in_doubt(count: int) -> None:
    names = ["".join(letters) for letters in product("dkmnpr", "aeiou", "lst", "aeio", "xz")]
    held = ("conv", (8, 4)), ("lin", (3, 8))
    checkpoint = [(f"{n}.{m}.weight", shape) for n in names[:count] for m, shape in held]
    model = [(f"{n}.{m}.weight", shape) for n in names[-count:] for m, shape in held]
    found = match(spec(checkpoint), spec(model)).matches
    assert len(found) == 2 * count
    assert all(m.ambiguous for m in found)


@pytest.mark.parametrize(("mine", "theirs"), [("question", "document"), ("ctx", "query"), ("ctx", "document")])
def test_two_towers_that_each_lost_something_are_not_told_apart_by_what_they_lost(mine: str, theirs: str) -> None:
    """The towers that are still whole are not each other's for that."""
    parts = [(f"layers.{i}.attn.{p}_proj.weight", (8, 8)) for i in range(2) for p in "qkvo"]
    parts += [(f"layers.{i}.{m}.weight", s) for i in range(2) for m, s in (("up", (32, 8)), ("down", (8, 32)))]
    towers = {"question": "query", "ctx": "document"}
    checkpoint = [(f"{n}_model.{k}", s) for n in towers for k, s in parts if not (n == mine and "v_proj" in k)]
    model = [
        (f"towers.{n}.encoder.{k}", s) for n in towers.values() for k, s in parts if not (n == theirs and "up" in k)
    ] + [("towers.query.pooled.weight", (5, 8))]
    held = {key for key, _ in checkpoint}, {key for key, _ in model}
    pairs = ((f"{n}_model.{k}", f"towers.{m}.encoder.{k}") for n, m in towers.items() for k, _ in parts)
    honest(checkpoint, model, truth((a, b) for a, b in pairs if a in held[0] and b in held[1]))


@pytest.mark.parametrize("first", ["proj", "embed"])
def test_a_square_embedding_is_not_transposed_whatever_stands_before_it(first: str) -> None:
    layers = [(f"blk.{i}.q.w", (4, 64, 16)) for i in range(2)]
    square = {"proj": [("proj.weight", (64, 64)), ("proj.bias", (64,))], "embed": [("embed.weight", (64, 64))]}
    rest = [key for name in (first, *square.keys() - {first}) for key in square[name]]
    model = [(f"blk.{i}.q.weight", (64, 64)) for i in range(2)] + [
        ("proj.weight", (64, 64)), ("proj.bias", (64,)), ("wte.weight", (64, 64))
    ]  # fmt: skip
    by_key = {m.model_keys[0]: m for m in match(spec(layers + rest), spec(model)).matches}
    assert (by_key["wte.weight"].checkpoint_keys, by_key["wte.weight"].op) == (("embed.weight",), "rename")


def test_two_keys_of_one_path_are_rivals() -> None:
    checkpoint = [("blocks_0_x", (3, 4)), ("blocks.0.x", (3, 4)), ("y", (5,))]
    found = match(spec(checkpoint), spec([("m.one", (3, 4)), ("z", (5,))])).matches
    assert [m.ambiguous for m in found if m.model_keys == ("m.one",)] == [True]


def test_a_pair_that_is_forbidden_is_not_made_as_tied_weights_are() -> None:
    import torch

    model = torch.nn.ModuleDict({"emb": torch.nn.Embedding(12, 4), "head": torch.nn.Linear(4, 12, bias=False)})
    model["head"].weight = model["emb"].weight
    checkpoint = [("e.weight", (12, 4))]
    found = match(spec(checkpoint), spec(model), forbid=[("e.weight", "head.weight")])
    assert [m.model_keys for m in found.matches] == [("emb.weight",)]


def test_what_is_left_of_a_variable_of_tensorflow_is_no_module_of_haiku() -> None:
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    checkpoint = [(f"w{suffix}", (3, 4)), (f"b{suffix}", (4,))]
    found = match(spec(checkpoint), spec([("fc.weight", (4, 3)), ("fc.bias", (4,))]))
    assert {m.model_keys for m in found.matches} == {("fc.weight",), ("fc.bias",)}


@pytest.mark.parametrize("count", [300, 600])
def test_half_of_many_tables_are_found_by_their_order_however_many_there_are(count: int) -> None:
    words = product("bdfglm", "ai", "bdfglm", "ai", "bdfglm", "ai"), product("kprstz", "eou", "kprstz", "eou", "kprstz")
    names = [["".join(letters) for letters in own] for own in words]
    checkpoint = [(f"{n}.weight", (8, 4 + i % 7)) for i, n in enumerate(names[0][: 2 * count])]
    model = [(f"{n}.weight", (8, 4 + i % 7)) for i, n in enumerate(names[1][:count])]
    found = match(spec(checkpoint), spec(model)).matches
    assert len(found) == count
    assert all(m.ambiguous for m in found)
