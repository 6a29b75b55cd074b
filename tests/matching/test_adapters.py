"""Adapter files and other files whose every key the model has, beside more."""

from __future__ import annotations

import pytest

from automatch.matching import match
from tests.matching.truth import Served, Truth, honest, solved, spec, truth

Keys = list[tuple[str, tuple[int, ...]]]

WIDTH = 16
PROJECTIONS = ("k_proj", "v_proj", "q_proj", "out_proj")


def whisper(rank: int, name: str) -> Keys:
    """PEFT's model of a speech model with two layers a side, as it registers its projections: k, v, q, out."""
    keys: Keys = [("base_model.model.encoder.conv1.weight", (WIDTH, 8, 3))]
    for side in ("encoder", "decoder"):
        for i in range(2):
            for attention in ("self_attn", "encoder_attn")[: 1 + (side == "decoder")]:
                for part in PROJECTIONS:
                    path = f"base_model.model.{side}.layers.{i}.{attention}.{part}"
                    adapted = part in ("v_proj", "q_proj")
                    keys.append((f"{path}.base_layer.weight" if adapted else f"{path}.weight", (WIDTH, WIDTH)))
                    if adapted:
                        keys += [(f"{path}.lora_A{name}.weight", (rank, WIDTH))]
                        keys += [(f"{path}.lora_B{name}.weight", (WIDTH, rank))]
    return keys


def adapter_of(model: Keys) -> tuple[Keys, Truth]:
    """The file that PEFT writes: the halves alone, without the adapter's name."""
    halves = [(key, shape) for key, shape in model if "lora_" in key]
    return [(key.replace(".default", ""), shape) for key, shape in halves], truth(
        (key.replace(".default", ""), key) for key, _ in halves
    )


@pytest.mark.parametrize("rank", [4, WIDTH])
def test_an_adapter_goes_where_its_keys_say_though_its_rank_is_the_width(rank: int) -> None:
    model = whisper(rank, ".default")
    solved(spec(adapter_of(model)[0]), spec(model), adapter_of(model)[1])


def test_an_adapter_of_other_modules_too_takes_no_others_place() -> None:
    """The model was made without adapters on the values of the encoder, which the file has."""
    whole = whisper(WIDTH, ".default")
    given, expected = adapter_of(whole)
    gone = [key for key, _ in whole if "encoder.layers" in key and "v_proj.lora_" in key]
    left: Truth = {keys: served for keys, served in expected.items() if keys[0] not in gone}
    solved(spec(given), spec([pair for pair in whole if pair[0] not in gone]), left)


def test_two_adapters_in_one_model_are_not_taken_for_one() -> None:
    """The first is taken, and flagged."""
    model = whisper(WIDTH, ".default")
    second = [(key.replace(".default", ".french"), shape) for key, shape in model if ".default" in key]
    given, _ = adapter_of(model)
    expected: dict[tuple[str, ...], Served] = {}
    for name in (".default", ".french"):
        expected |= {
            (key.replace(".lora_A", f".lora_A{name}").replace(".lora_B", f".lora_B{name}"),): Served((key,))
            for key, _ in given
        }
    answer = honest(spec(given), spec([*model, *second]), expected)
    assert {m.model_keys for m in answer.matches if m.ambiguous} == {m.model_keys for m in answer.matches}
    assert len(answer.matches) == len(given)


def test_adapters_of_one_name_find_each_other_in_whatever_order_they_were_attached() -> None:
    def adapters(prefix: str, names: tuple[str, ...]) -> Keys:
        halves = ("lora_A", "lora_B")
        parts = [(i, name, half) for i in range(2) for name in names for half in halves]
        return [(f"{prefix}layers.{i}.q.{half}.{name}.weight", (WIDTH, WIDTH)) for i, name, half in parts]

    mine, theirs = adapters("", ("cat", "dog")), adapters("base_model.model.", ("dog", "cat"))
    solved(spec(mine), spec(theirs), truth((key, f"base_model.model.{key}") for key, _ in mine))


def test_a_file_without_names_for_a_model_with_two_adapters_is_flagged_in_kohyas_names_too() -> None:
    model = t5(("lora_A.default", "lora_B.default"), "base_model.model.", 2)
    model += t5(("lora_A.style", "lora_B.style"), "base_model.model.", 2)
    answer = match(spec(t5(KOHYA, "", 2)), spec(model))
    assert len(answer.matches) == 16
    assert [m for m in answer.matches if not m.ambiguous or ".default" not in m.model_keys[0]] == []


@pytest.mark.parametrize("names", [("cat", "dog"), ("dog", "cat")])
def test_adapters_of_other_names_on_the_two_sides_are_flagged(names: tuple[str, str]) -> None:
    def adapters(prefix: str, called: tuple[str, ...]) -> Keys:
        halves = (("lora_A", (4, WIDTH)), ("lora_B", (WIDTH, 4)))
        return [
            (f"{prefix}layers.{i}.q.{half}.{name}.weight", shape)
            for i in range(2)
            for half, shape in halves
            for name in called
        ]

    answer = match(spec(adapters("", names)), spec(adapters("base_model.model.", ("dog_v2", "cat_v2"))))
    assert [m for m in answer.matches if not m.ambiguous] == []


def t5(halves: tuple[str, str], prefix: str, layers: int, rank: int = 4, base: bool = False) -> Keys:
    """An encoder in T5's names; the model has the base weights too, of which those of positions are in one block."""
    keys: Keys = []
    for i in range(layers):
        for part in ("q", "k", "v", "o"):
            path = f"{prefix}encoder.block.{i}.layer.0.SelfAttention.{part}"
            keys += [(f"{path}.base_layer.weight", (WIDTH, WIDTH))] if base else []
            keys += [(f"{path}.{halves[0]}.weight", (rank, WIDTH)), (f"{path}.{halves[1]}.weight", (WIDTH, rank))]
        if base and i == 0:
            keys.append((f"{prefix}encoder.block.{i}.layer.0.SelfAttention.relative_attention_bias.weight", (8, 2)))
        keys += [(f"{prefix}encoder.block.{i}.layer.1.wi.weight", (64, WIDTH))] if base else []
    return keys


KOHYA = ("lora_down", "lora_up")


@pytest.mark.parametrize("layers", [2, 5])
@pytest.mark.parametrize("rank", [4, WIDTH])
@pytest.mark.parametrize("flat", [False, True])
def test_halves_under_other_names_stay_with_their_modules(layers: int, rank: int, flat: bool) -> None:
    """Kohya's scripts join the names by `_`; the first block of the model holds a tensor more."""
    model = t5(("lora_A.default", "lora_B.default"), "base_model.model.", layers, rank, base=True)
    file, expected = [], []
    plain = t5(KOHYA, "", layers, rank)
    wanted = [key for key, _ in model if "lora" in key]
    for (key, shape), other in zip(plain, wanted, strict=True):
        module, half = key.split(".lora_")
        file.append((f"lora_te_{module.replace('.', '_')}.lora_{half}" if flat else key, shape))
        expected.append((file[-1][0], other))
    solved(spec(file), spec(model), truth(expected))


def test_halves_that_mlx_stores_turned_are_transposed() -> None:
    model = t5(("lora_A.default", "lora_B.default"), "base_model.model.", 3, base=True)
    names = ("lora_A", "lora_a"), ("lora_B", "lora_b")
    file: Keys = []
    expected: dict[tuple[str, ...], Served] = {}
    for key, shape in model:
        for peft, mlx in names:
            if peft in key:
                file.append((key.removeprefix("base_model.model.").split(f".{peft}")[0] + f".{mlx}", shape[::-1]))
                expected[(key,)] = Served((file[-1][0],), "transpose")
    solved(spec(file), spec(model), expected)


def test_halves_of_an_adapter_are_no_base_weights() -> None:
    """JAX' kernels, of a rank that is the width."""
    file: Keys = []
    model: Keys = []
    for i in range(2):
        for part, rows in (("c_attn", 48), ("c_proj", WIDTH)):
            own, other = f"transformer/h/{i}/attn/{part}", f"base_model.model.transformer.h.{i}.attn.{part}"
            file += [(f"{own}/lora_a/kernel", (WIDTH, WIDTH)), (f"{own}/lora_b/kernel", (WIDTH, rows))]
            model += [(f"{other}.base_layer.weight", (WIDTH, rows))]
            model += [
                (f"{other}.lora_A.default.weight", (WIDTH, WIDTH)),
                (f"{other}.lora_B.default.weight", (rows, WIDTH)),
            ]
    answer = match(spec(file), spec(model))
    assert [m for m in answer.matches if "base_layer" in m.model_keys[0]] == []


def test_the_rest_of_an_adapter_is_looked_for_under_other_names() -> None:
    """Half of its modules have their namesakes, the others were renamed."""

    def adapter(parts: dict[str, int]) -> Keys:
        return [
            (f"layers.{i}.{part}.{half}.weight", shape)
            for i in range(2)
            for part, rows in parts.items()
            for half, shape in (("lora_A", (4, WIDTH)), ("lora_B", (rows, 4)))
        ]

    mine = adapter({"attn.q_proj": WIDTH, "attn.v_proj": WIDTH, "mlp.fc1": 64})
    theirs = adapter({"attn.q_proj": WIDTH, "attn.v_proj": WIDTH, "ffn.up": 64})
    answer = match(spec(mine), spec(theirs))
    pairs = {m.model_keys[0]: m.checkpoint_keys[0] for m in answer.matches}
    assert pairs == {key: key.replace("ffn.up", "mlp.fc1") for key, _ in theirs}


def test_the_lengths_that_dora_learns_go_with_the_halves() -> None:
    model = t5(("lora_A.default", "lora_B.default"), "base_model.model.", 3, base=True)
    lengths = [
        (key.replace("base_layer", "lora_magnitude_vector.default"), (WIDTH,))
        for key, _ in model
        if "base_layer" in key
    ]
    file, expected = adapter_of(model)
    file += [(key.replace(".default.weight", ""), shape) for key, shape in lengths]
    solved(
        spec(file),
        spec([*model, *lengths]),
        {**expected, **truth((key.replace(".default.weight", ""), key) for key, _ in lengths)},
    )


def test_a_half_is_tied_to_no_embedding() -> None:
    """The adapter of the embedding has the shape of another's first half, which the file lacks."""
    model = t5(("lora_A.default", "lora_B.default"), "base_model.model.", 2)
    model.append(("base_model.model.embeddings.lora_embedding_A.default", (4, WIDTH)))
    file, _ = adapter_of(model)
    file = [(key.removesuffix(".default"), shape) for key, shape in file]
    lost = [key for key, _ in file if ".o.lora_A" in key]
    answer = match(spec([pair for pair in file if pair[0] not in lost]), spec(model))
    assert len(answer.missing_keys) == len(lost)


def test_an_encoder_whose_keys_the_model_has_all_goes_there() -> None:
    """The model's other branch has the same layers."""
    layer = [("attn.qkv.weight", (48, WIDTH)), ("attn.proj.weight", (WIDTH, WIDTH)), ("norm.weight", (WIDTH,))]
    own: Keys = [(f"blocks.{i}.{name}", shape) for i in range(3) for name, shape in layer]
    other: Keys = [(f"towers.{i}.{name}", shape) for i in range(3) for name, shape in layer]
    solved(spec(own), spec([*other, *own, ("head.weight", (5, WIDTH))]), truth((key, key) for key, _ in own))
