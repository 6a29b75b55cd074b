"""What is left of modules that lost tensors on one side, and what only its shape shows."""

from __future__ import annotations

import pytest
from torch import nn

from automatch.describing.lexicon import lexicon
from automatch.matching import match
from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.names import Names
from automatch.matching.reviews.items import doubt_other_homes
from automatch.matching.reviews.remains import of_damaged_modules, of_one_shape
from automatch.spec import StateDictSpec, TensorSpec
from tests.matching.built import built, layered
from tests.matching.truth import Truth, flagged, found, solved, spec, truth

Keys = list[tuple[str, tuple[int, ...]]]


def leaves(keys: Keys) -> list[Leaf]:
    return [Leaf(tuple(key.split(".")), shape, (key,), i, raw=shape) for i, (key, shape) in enumerate(keys)]


def remains(
    mine: Keys, theirs: Keys, served: dict[str, str] | None = None, find=of_damaged_modules, forbid: str = ""
) -> dict[str, str]:
    """What is put together beside the pairs that are served already; all of it is flagged."""
    source, target = leaves(mine), leaves(theirs)
    by_key = {leaf.keys[0]: leaf for leaf in (*source, *target)}
    done: list[Found] = [(by_key[s], by_key[t], Evidence()) for s, t in (served or {}).items()]
    more = find(done, source, target, Names(lexicon()), lambda s, t: s.keys[0] == forbid)
    assert all(judge(e).ambiguous for _, _, e in more)
    return {s.keys[0]: t.keys[0] for s, t, _ in more}


def sizes(modules: dict[str, nn.Module]) -> Keys:
    return [(key, tuple(tensor.shape)) for key, tensor in built(modules).state_dict().items()]


BIAS: Keys = [("decoder.bias", (97,))]
WHOLE: Keys = [("lm_head.weight", (97, 16)), ("lm_head.bias", (97,))]


def test_a_bias_whose_weight_is_not_there() -> None:
    assert remains(BIAS, WHOLE) == {"decoder.bias": "lm_head.bias"}
    assert remains(WHOLE, BIAS) == {"lm_head.bias": "decoder.bias"}


def test_several_in_their_order() -> None:
    mine: Keys = [(f"features.{3 * i}.bias", (8,)) for i in range(3)]
    theirs: Keys = [
        (f"conv{i}.{role}", (8, 8)[: 1 + (role == "weight")]) for i in range(3) for role in ("weight", "bias")
    ]
    assert remains(mine, theirs) == {f"features.{3 * i}.bias": f"conv{i}.bias" for i in range(3)}


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ([*BIAS, ("other.bias", (97,))], WHOLE),
        ([("decoder.bias", (96,))], WHOLE),
        ([*BIAS, ("decoder.weight", (97, 32))], WHOLE),
        (BIAS, BIAS),
        ([("query.bias", (97,))], [("value.weight", (97, 16)), ("value.bias", (97,))]),
        ([("bias", (97,))], WHOLE),
    ],
    ids=["one more", "another size", "another weight", "nothing lost", "names", "bare"],
)
def test_less_is_no_evidence(mine: Keys, theirs: Keys) -> None:
    assert remains(mine, theirs) == {}


def test_what_a_person_forbids() -> None:
    assert remains(BIAS, WHOLE, forbid="decoder.bias") == {}


def test_only_in_the_block_that_the_others_of_its_block_say() -> None:
    rest: Keys = [("layers.0.fc.weight", (4, 5)), ("layers.1.fc.weight", (4, 5))]
    mine: Keys = [*rest, ("layers.0.out.bias", (6,))]
    theirs: Keys = [*rest, ("layers.1.proj.weight", (6, 7)), ("layers.1.proj.bias", (6,))]
    twins = {f"layers.{i}.fc.weight": f"h.{i}.fc.weight" for i in range(2)}
    renamed: Keys = [(key.replace("layers", "h"), shape) for key, shape in theirs]
    assert remains(mine, renamed, twins) == {}
    moved: Keys = [(key.replace("h.1.proj", "h.0.proj"), shape) for key, shape in renamed]
    assert remains(mine, moved, twins) == {"layers.0.out.bias": "h.0.proj.bias"}


FC: Keys = [("mm.model.fc.weight", (24, 8))]
ADAPT: Keys = [("projector.adapt.weight", (24, 8)), ("text.norm.weight", (24,))]


def test_the_only_matrix_of_its_shape() -> None:
    assert remains(FC, ADAPT, find=of_one_shape) == {"mm.model.fc.weight": "projector.adapt.weight"}


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ([*FC, ("v.again", (24, 8))], ADAPT),
        (FC, [*ADAPT, ("text.other", (24, 8))]),
        ([("a.weight", (8, 8))], [("b.weight", (8, 8))]),
        ([("a.query.weight", (24, 8))], [("b.value.weight", (24, 8))]),
        ([("output.weight", (24, 8))], [("model.embed_tokens.weight", (24, 8))]),
    ],
    ids=["twice here", "twice there", "square", "names", "a head for an embedding"],
)
def test_a_shape_that_says_nothing(mine: Keys, theirs: Keys) -> None:
    assert remains(mine, theirs, find=of_one_shape) == {}


def test_a_head_that_lost_its_weight_in_a_whole_model() -> None:
    """The file's embedding and the weight of the model's head are gone; its bias is still the head's."""
    mine = sizes({f"blocks.{i}.up": nn.Linear(16, 40 + i) for i in range(6)})
    theirs = sizes({f"layers.{i}.fc_in": nn.Linear(16, 40 + i) for i in range(6)})
    mine = [*mine, ("decoder.weight", (97, 16)), *BIAS]
    theirs = [("tok.weight", (97, 12)), *theirs, WHOLE[1]]
    answer = match(spec(mine), spec(theirs))
    assert found(answer)["lm_head.bias",].checkpoint == ("decoder.bias",)
    assert "lm_head.bias" in flagged(answer)


def test_an_embedding_that_three_share_whose_own_key_is_not_there() -> None:
    layers = layered({"q": (16, 16), "fc": (16, 20)}).state_dict()
    mine: Keys = [("shared.embedding", (77, 16))] + [(key, tuple(t.shape)) for key, t in layers.items()]
    model: Keys = [("encoder.embed_tokens.weight", (77, 16)), ("decoder.embed_tokens.weight", (77, 16))]
    model += [(key, tuple(t.shape)) for key, t in layers.items()] + [("lm_head.weight", (77, 16))]
    answer = match(spec(mine), spec(model))
    tables = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"}
    assert {
        key for keys, served in found(answer).items() if served.checkpoint == ("shared.embedding",) for key in keys
    } == tables
    assert tables <= flagged(answer)


def test_halves_of_adapters_do_not_change_partners() -> None:
    """`k` lost its B here and its A there; `v`, which lost nothing, is none of the two."""
    parts = {"q_proj", "k_proj", "v_proj"}
    keys: Keys = [
        (f"model.layers.{i}.self_attn.{part}.lora_{half}.weight", (4, 64) if half == "A" else (64, 4))
        for i in range(2)
        for part in sorted(parts)
        for half in "AB"
    ]
    mine = [(key, shape) for key, shape in keys if "k_proj.lora_B" not in key]
    theirs = [(f"base.{key}".replace(".weight", ".default.weight"), s) for key, s in keys if "k_proj.lora_A" not in key]
    kept = [key for key, _ in mine if "k_proj" not in key]
    expected: Truth = truth((key, f"base.{key}".replace(".weight", ".default.weight")) for key in kept)
    solved(mine, theirs, expected)


def test_whole_numbers_are_no_weight() -> None:
    """Swin's relative_position_index has the size of its square output matrix in a small model."""
    names = ("self.q", "self.k", "self.v", "output.dense")
    blocks = layered({f"attn.{name}": (16, 16) for name in names})
    model = layered({f"attn.{name}": (16, 16) for name in ("q_proj", "k_proj", "v_proj", "o_proj")})
    entries = spec(blocks).tensors
    index = [TensorSpec(f"layers.{i}.attn.self.relative_position_index", (16, 16), "int64") for i in range(3)]
    checkpoint = StateDictSpec("file", (*index, *entries))
    answer = match(checkpoint, spec(model))
    used = {key for served in found(answer).values() for key in served.checkpoint}
    assert not used & {tensor.key for tensor in index}
    assert found(answer)["layers.0.attn.o_proj.weight",].checkpoint == ("layers.0.attn.output.dense.weight",)


def test_kernels_that_are_stored_as_whole_numbers_are_weights() -> None:
    """Quantized weights keep their modules, whatever a kernel is called."""
    names = {"up": (16, 40), "down": (40, 16)}
    model = layered(names)
    entries = [
        TensorSpec(t.key.replace("weight", "kernel"), t.shape[::-1], "int8" if len(t.shape) > 1 else t.dtype)
        for t in spec(model).tensors
    ]
    answer = match(StateDictSpec("file", tuple(entries)), spec(model))
    wanted = {f"layers.{i}.{name}.{role}" for i in range(3) for name in names for role in ("weight", "bias")}
    assert wanted <= {key for m in answer.matches for key in m.model_keys}


def test_an_encoders_table_is_no_decoders() -> None:
    rest: Keys = [(f"h.{i}.{name}.weight", (16, 16 + i)) for i in range(3) for name in ("a", "b")]
    mine: Keys = [("encoder.embed_tokens.weight", (77, 16)), *rest]
    theirs: Keys = [*rest, ("decoder.embed_tokens.weight", (77, 16))]
    assert ("decoder.embed_tokens.weight",) not in found(match(spec(mine), spec(theirs)))


def test_a_weight_and_a_bias_of_one_module_come_from_one() -> None:
    """`skip` lost its weight here and `out` there; the biases say that the two weights are no pair."""
    source = leaves([("skip.bias", (8,)), ("out.weight", (8, 4)), ("out.bias", (8,))])
    target = leaves([("skip.weight", (8, 4)), ("skip.bias", (8,)), ("out.bias", (8,))])
    pairs: list[Found] = [
        (source[0], target[1], Evidence()),
        (source[1], target[0], Evidence(name=0.6)),
        (source[2], target[2], Evidence()),
    ]
    doubted = [e.level for _, _, e in doubt_other_homes(pairs, source)]
    assert doubted == ["unit", "astray", "unit"]
