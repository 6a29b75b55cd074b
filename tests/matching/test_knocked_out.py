"""Two state_dicts that each lost something of one module: what is left keeps its name, its module and its copy."""

from __future__ import annotations

from itertools import pairwise

import pytest

from automatch.describing.lexicon import lexicon
from automatch.matching import match
from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.names import Names
from automatch.matching.reviews.items import doubt_other_homes
from automatch.matching.reviews.remains import of_no_layer
from tests.matching.truth import flagged, found, spec

Keys = list[tuple[str, tuple[int, ...]]]


def leaves(keys: Keys) -> list[Leaf]:
    return [Leaf(tuple(key.split(".")), shape, (key,), i, raw=shape) for i, (key, shape) in enumerate(keys)]


def levels(mine: Keys, theirs: Keys, pairs: dict[str, str]) -> dict[str, str]:
    """How each pair is judged once the homes of all are known, by model key."""
    source, target = leaves(mine), leaves(theirs)
    by_key = {leaf.keys[0]: leaf for leaf in source}, {leaf.keys[0]: leaf for leaf in target}
    done: list[Found] = [(by_key[0][s], by_key[1][t], Evidence(name=0.6)) for s, t in pairs.items()]
    return {t.keys[0]: e.level for _, t, e in doubt_other_homes(done, source)}


def whisper(lost: str, top: str, separator: str = ".") -> Keys:
    """Layers with two norms and a linear layer; the keys that end in `lost` are not there."""
    modules = {
        "self_attn_layer_norm": {"weight": (16,), "bias": (16,)},
        "fc1": {"weight": (40, 16), "bias": (40,)},
        "final_layer_norm": {"weight": (16,), "bias": (16,)},
    }
    keys = [
        (f"{top}.layers.{i}.{module}.{role}", shape)
        for i in range(4)
        for module, roles in modules.items()
        for role, shape in roles.items()
    ]
    return [(key.replace(".", separator), shape) for key, shape in keys if not key.endswith(lost)]


def test_a_norm_keeps_its_name_though_its_neighbour_lost_both_halves() -> None:
    """The file's final norm has no bias and the model's no weight: two pairs of halves are no better than a whole."""
    mine = whisper("final_layer_norm.bias", "params.model", "/")
    theirs = whisper("final_layer_norm.weight", "encoder")
    answer = found(match(spec(mine), spec(theirs)))
    for i in range(4):
        for role in ("weight", "bias"):
            served = answer[f"encoder.layers.{i}.self_attn_layer_norm.{role}",]
            assert served.checkpoint == (f"params/model/layers/{i}/self_attn_layer_norm/{role}",)
        assert (f"encoder.layers.{i}.final_layer_norm.bias",) not in answer


def test_halves_do_not_change_partners_where_little_else_is_called_the_same() -> None:
    names = {"attn_norm": (16,), "up": (40, 16), "out_norm": (16,)}
    roles = ("weight", "bias")
    sides: list[Keys] = [
        [
            (f"{top}.{i}.{name}.{role}", shape[: 1 + (role == "weight")])
            for i in range(4)
            for name, shape in names.items()
            for role in roles
            if (name, role) != ("out_norm", lost)
        ]
        for top, lost in (("enc.layers", "bias"), ("h", "weight"))
    ]
    sides[1] = [(key.replace("up", "fc1"), shape) for key, shape in sides[1]]
    answer = found(match(spec(sides[0]), spec(sides[1])))
    for i in range(4):
        for role in roles:
            assert answer[f"h.{i}.attn_norm.{role}",].checkpoint == (f"enc.layers.{i}.attn_norm.{role}",)


def test_the_norm_behind_layers_that_lost_one_each() -> None:
    """llama.cpp's names without attn_norm, for a model without post_attention_layernorm."""
    words = {
        "attn_norm": "input_layernorm",
        "attn_q": "q_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_up": "up_proj",
    }
    sizes = dict(zip(words, ((16,), (16, 20), (16,), (40, 16)), strict=True))
    mine: Keys = [(f"blk.{i}.{name}.weight", sizes[name]) for i in range(4) for name in words if name != "attn_norm"]
    theirs: Keys = [
        (f"layers.{i}.{words[name]}.weight", sizes[name]) for i in range(4) for name in words if name != "ffn_norm"
    ]
    around: tuple[Keys, Keys] = ([("tok.weight", (50, 16))], [("embed.weight", (50, 16))])
    answer = match(
        spec([*around[0], *mine, ("output_norm.weight", (16,))]), spec([*around[1], *theirs, ("norm.weight", (16,))])
    )
    assert found(answer)["norm.weight",].checkpoint == ("output_norm.weight",)
    assert "norm.weight" in flagged(answer)


def test_biases_beside_weight_norm_are_those_of_the_same_network() -> None:
    """Next to nothing of the elements is matched, as each weight stands in two parts on one side."""
    parts: Keys = [("bias", (64,)), ("weight_g", (64, 1, 1)), ("weight_v", (64, 64, 3))]
    mine: Keys = [(f"blocks.{i}.{part}", shape) for i in range(4) for part, shape in parts]
    theirs: Keys = [
        (f"blocks.{i}.{part}", shape) for i in range(4) for part, shape in (parts[0], ("weight", (64, 64, 3)))
    ]
    answer = match(spec(mine), spec(theirs))
    assert {keys for keys in found(answer)} == {(f"blocks.{i}.bias",) for i in range(4)}
    assert not flagged(answer)


def test_equal_names_of_two_networks_say_nothing_of_their_weights() -> None:
    """Every weight of the two differs in shape: biases of one length are no reason to load anything."""
    widths = (3, 64, 128, 256, 512)
    sides: list[Keys] = [
        [
            entry
            for i, (before, width) in enumerate(pairwise(widths))
            for entry in ((f"features.{i}.weight", (width, before, k, k)), (f"features.{i}.bias", (width,)))
        ]
        for k in (3, 5)
    ]
    assert found(match(spec(sides[0]), spec(sides[1]))) == {}


def vit(top: str, temporal: bool, lost: str = "") -> Keys:
    """Blocks of an image transformer; a video model has one attention more, of the same shapes."""
    parts = ["norm1", "attn.qkv", "attn.proj"] + ["temporal_attn.qkv", "temporal_attn.proj"] * temporal + ["mlp.fc1"]
    sizes = {"norm1": (16,), "qkv": (48, 16), "proj": (16, 16), "fc1": (64, 16)}
    return [
        (f"{top}.blocks.{i}.{part}.{role}", sizes[part.split(".")[-1]][: 2 if role == "weight" else 1])
        for i in range(4)
        for part in parts
        for role in ("weight", "bias")
        if f"{part}.{role}" != lost
    ]


def test_a_part_keeps_its_name_under_wrappers_on_both_sides() -> None:
    """A DataParallel file for a model that holds the network: `attn` is not the new `temporal_attn`, which is whole."""
    mine, theirs = vit("module", False), vit("model", True, lost="attn.qkv.bias")
    answer = match(spec(mine), spec(theirs))
    served = found(answer)
    for i in range(4):
        for key in ("attn.qkv.weight", "attn.proj.weight", "attn.proj.bias"):
            assert served[f"model.blocks.{i}.{key}",].checkpoint == (f"module.blocks.{i}.{key}",)
    strange = {key for keys in served for key in keys if "temporal_attn" in key}
    assert strange <= flagged(answer)


def test_a_bias_does_not_leave_the_weight_of_its_module() -> None:
    mine: Keys = [("attn.weight", (8, 4)), ("attn.bias", (8,))]
    theirs: Keys = [("attn.weight", (8, 4)), ("time.weight", (8, 4)), ("time.bias", (8,))]
    said = levels(mine, theirs, {"attn.weight": "attn.weight", "attn.bias": "time.bias"})
    assert said == {"attn.weight": "unit", "time.bias": "astray"}


@pytest.mark.parametrize("weight", ["conv.lin.weight", "conv.weight"])
def test_a_bias_may_stand_beside_the_layer_that_holds_its_weight(weight: str) -> None:
    """PyTorch Geometric's layers keep their bias outside the linear layer."""
    mine: Keys = [("gc.weight", (8, 4)), ("gc.bias", (8,))]
    theirs: Keys = [("conv.bias", (8,)), (weight, (8, 4))]
    said = levels(mine, theirs, {"gc.weight": weight, "gc.bias": "conv.bias"})
    assert set(said.values()) == {"unit"}


def block(top: str, *lost: str) -> Keys:
    return [(f"{top}.{part}.weight", (16, 16 + n)) for n, part in enumerate("qkvof") if part not in lost]


def test_a_matrix_of_another_copy_is_flagged() -> None:
    """T5's encoder without one of its matrices: the decoder's, of that name and shape, holds other values."""
    mine = block("encoder.layer.0", "k") + block("decoder.layer.0")
    theirs = block("encoder.block.0")
    pairs = {f"encoder.layer.0.{part}.weight": f"encoder.block.0.{part}.weight" for part in "qvof"}
    said = levels(mine, theirs, pairs | {"decoder.layer.0.k.weight": "encoder.block.0.k.weight"})
    assert said.pop("encoder.block.0.k.weight") == "lent"
    assert judge(Evidence(level="lent")).ambiguous
    assert set(said.values()) == {"unit"}


def test_a_block_of_other_shapes_is_no_copy() -> None:
    mine = [
        *block("self.0", "k"),
        *((key, (9, *shape)) for key, shape in block("cross.0", "k")),
        ("cross.0.k.weight", (16, 17)),
    ]
    pairs = {f"self.0.{part}.weight": f"blocks.0.{part}.weight" for part in "qvof"}
    assert set(levels(mine, block("blocks.0"), pairs | {"cross.0.k.weight": "blocks.0.k.weight"}).values()) == {"unit"}


def test_what_has_no_like_in_the_others_block_is_not_of_a_copy() -> None:
    """A part that was moved out of another block, which has little in common with this one."""
    mine = [*block("encoder.layer.0", "k"), ("extra.layer.0.k.weight", (16, 17)), ("extra.layer.0.z.weight", (3, 3))]
    pairs = {f"encoder.layer.0.{part}.weight": f"encoder.block.0.{part}.weight" for part in "qvof"}
    said = levels(mine, block("encoder.block.0"), pairs | {"extra.layer.0.k.weight": "encoder.block.0.k.weight"})
    assert set(said.values()) == {"unit"}


def outside(mine: Keys, theirs: Keys, forbid: str = "") -> dict[str, str]:
    more = of_no_layer([], leaves(mine), leaves(theirs), Names(lexicon()), lambda s, t: s.keys[0] == forbid)
    assert all(judge(e).ambiguous for _, _, e in more)
    return {s.keys[0]: t.keys[0] for s, t, _ in more}


LOST: Keys = [(f"blk.{i}.attn_norm.weight", (16,)) for i in range(3)]
NORM, FINAL = ("output_norm.weight", (16,)), ("model.norm.weight", (16,))


def test_what_the_layers_lost_is_no_rival_of_the_norm_behind_them() -> None:
    assert outside([*LOST, NORM], [FINAL]) == {"output_norm.weight": "model.norm.weight"}
    assert outside([*LOST, NORM], [FINAL], forbid="output_norm.weight") == {}


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ([NORM, ("input_norm.weight", (16,))], [FINAL]),
        ([NORM], [("model.norm.weight", (16,)), ("model.norm.bias", (16,))]),
        ([("layers.0.norm.weight", (16,))], [FINAL]),
        ([("discriminator.dense.weight", (16, 16))], [("cls.transform.dense.weight", (16, 16))]),
    ],
    ids=["two of them", "holds more", "of a layer", "another head"],
)
def test_modules_beside_the_layers_that_say_nothing(mine: Keys, theirs: Keys) -> None:
    assert outside(mine, theirs) == {}
