"""What is left over at the very end on both sides: proposed where it fits nothing else, and always flagged."""

from __future__ import annotations

import pytest

from automatch.describing.lexicon import lexicon
from automatch.matching import match
from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.names import Names
from automatch.matching.left_overs.left_over import left_over
from tests.matching.truth import Served, flagged, found, spec

Keys = list[tuple[str, tuple[int, ...]]]

BODY = {f"trunk.{i}.lin.weight": f"body.{i}.fc.weight" for i in range(3)}
SIZES: Keys = [(key, (7 + i, 6)) for i, key in enumerate(BODY)]
OTHERS: Keys = [(BODY[key], shape) for key, shape in SIZES]


def leaves(keys: Keys) -> list[Leaf]:
    return [Leaf(tuple(key.split(".")), shape, (key,), i, raw=shape) for i, (key, shape) in enumerate(keys)]


def left(mine: Keys, theirs: Keys, served: dict[str, str] = BODY, forbid: str = "") -> dict[str, tuple[str, str]]:
    """What is put together beside the pairs of the body, with the operation that it takes."""
    source, target = leaves(SIZES + mine), leaves(OTHERS + theirs)
    by_key = {leaf.keys[0]: leaf for leaf in (*source, *target)}
    done: list[Found] = [(by_key[s], by_key[t], Evidence()) for s, t in (BODY | served).items()]
    more = left_over(done, source, target, Names(lexicon()), lambda s, t: s.keys[0] == forbid)
    assert all(judge(e).ambiguous for _, _, e in more)
    return {s.keys[0]: (t.keys[0], "+".join(s.ops)) for s, t, _ in more}


@pytest.mark.parametrize("kept", [("weight", "bias"), ("bias",)])
def test_what_fits_nothing_else(kept: tuple[str, ...]) -> None:
    """A head that names do not give away, and one that lost its weight."""
    mine: Keys = [(f"judgement.{role}", (9, 6) if role == "weight" else (9,)) for role in kept]
    theirs: Keys = [("out.weight", (9, 6)), ("out.bias", (9,))]
    expected = {f"judgement.{role}": (f"out.{role}", "") for role in kept}
    assert left(mine, theirs) == expected
    assert left(mine, theirs, forbid=f"judgement.{kept[0]}") == {}


def test_as_many_are_taken_in_their_order() -> None:
    mine: Keys = [(f"scales.{i}.weight", (4, 1)) for i in range(3)]
    theirs: Keys = [(f"inputs.{name}.scale.weight", (4, 1)) for name in ("price", "volume", "tag")]
    served = {key: (other, "") for (key, _), (other, _) in zip(mine, theirs, strict=True)}
    assert left(mine, theirs) == served
    assert left(mine[:2], theirs) == {}  # which of the three is missing, nothing says


def test_what_is_missing_of_a_module_that_was_matched() -> None:
    """Not in another module, which fits as well."""
    mine: Keys = [("head.weight", (9, 6)), ("head.bias", (9,)), ("other.bias", (9,))]
    theirs: Keys = [("out.weight", (9, 6)), ("out.bias", (9,)), ("none.weight", (3,))]
    assert left(mine, theirs, {"head.weight": "out.weight"}) == {"head.bias": ("out.bias", "")}


def test_another_shape_of_a_module_that_has_both_speaks_against_it() -> None:
    mine: Keys = [("a.weight", (9, 6)), ("a.bias", (9,))]
    theirs: Keys = [("b.weight", (9, 5)), ("b.bias", (9,))]
    assert left(mine, theirs) == {}


def test_a_table_in_one_row_and_a_parameter_that_became_a_layer() -> None:
    """Krea's modulations of a block, and the weights of torch_geometric's convolutions before version 2."""
    mine: Keys = [(f"trunk.{i}.mod.lin", (24,)) for i in range(3)]
    theirs: Keys = [(f"body.{i}.scale_shift_table", (6, 4)) for i in range(3)]
    assert left(mine, theirs) == {key: (other, "reshape") for (key, _), (other, _) in zip(mine, theirs, strict=True)}
    conv: Keys = [("conv1.weight", (4, 10)), ("conv1.bias", (5,))]
    layer: Keys = [("conv1.lin.weight", (10, 4)), ("conv1.bias", (5,))]
    assert left(conv, layer, {"conv1.bias": "conv1.bias"}) == {"conv1.weight": ("conv1.lin.weight", "transpose")}


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (("lm_head.weight", (50, 6)), ("embed_tokens.weight", (50, 6))),  # a head is no table
        (("noise.epsilon", (5,)), ("atoms.support", (5,))),  # parameters that nothing says to be one
        (("trunk.0.alpha.weight", (9, 6)), ("body.0.omega.weight", (6, 9))),  # nothing shows that it is turned
        (("trunk.0.ffn_norm.weight", (6,)), ("body.1.norm.weight", (6,))),  # of another layer
        (("trunk.0.mask.bias", (1, 1, 4, 4)), ("body.0.ff.bias", (16,))),  # a mask is no bias
    ],
)
def test_what_only_fits_is_not_proposed(mine: tuple[str, tuple[int, ...]], theirs: tuple[str, tuple[int, ...]]) -> None:
    assert left([mine], [theirs]) == {}


def test_what_has_its_own_name_on_the_other_side_is_nothing_else() -> None:
    """One lost the weight of its `early`, the other that of its `late`."""
    mine: Keys = [("trunk.0.early.bias", (5,)), ("trunk.0.late.bias", (5,)), ("trunk.0.late.weight", (5, 6))]
    theirs: Keys = [("body.0.early.bias", (5,)), ("body.0.early.weight", (5, 6)), ("body.0.late.bias", (5,))]
    served = {f"trunk.0.{name}.bias": f"body.0.{name}.bias" for name in ("early", "late")}
    assert left(mine, theirs, served) == {}


def test_what_fits_several_of_which_some_fit_others_is_left() -> None:
    """Both fit the first table; the second fits another one besides."""
    mine: Keys = [("a.weight", (9, 6)), ("b.weight", (9, 6)), ("b.bias", (9,))]
    theirs: Keys = [("c.weight", (9, 6)), ("d.bias", (9,)), ("d.scale", (3,))]
    assert left(mine, theirs) == {}


def test_two_heads_of_one_model_are_two_heads() -> None:
    """All else is called the same behind one prefix each: the head for masked words is not the classifier's."""
    body: Keys = [(f"layer.{i}.{part}.weight", (6, 6 + i)) for i in range(20) for part in ("query", "output")]
    mine = [(f"electra.{key}", shape) for key, shape in body] + [("predictions.dense.weight", (8, 8))]
    theirs = [(f"bert.{key}", shape) for key, shape in body] + [("transform.dense.weight", (8, 8))]
    assert left(mine, theirs, {f"electra.{key}": f"bert.{key}" for key, _ in body}) == {}


def test_a_file_and_a_model_that_lost_different_tensors() -> None:
    """The whole way: the head's weight is not in the file, and a norm's weight not in the model."""
    parts = {"conv": "lin", "norm": "scale"}
    shapes = {"conv.weight": (8, 8, 3), "conv.bias": (8,), "norm.weight": (8,), "norm.bias": (8,)}
    file: Keys = [(f"trunk.{i}.{key}", shape) for i in range(3) for key, shape in shapes.items()]
    model = [
        (f"features.{i}.{parts[k.split('.')[0]]}.{k.split('.')[1]}", v) for i in range(3) for k, v in shapes.items()
    ]
    model = [(key, shape) for key, shape in model if not key.endswith("scale.weight")]
    head: Keys = [("out.weight", (11, 8)), ("out.bias", (11,)), ("aux.weight", (3, 5))]
    answer = match(spec([*file, ("judge.bias", (11,)), ("noise.weight", (6, 5))]), spec([*model, *head]))
    assert found(answer)[("out.bias",)] == Served(("judge.bias",))
    assert "out.bias" in flagged(answer)
    assert {"out.weight", "aux.weight"} <= {*answer.missing_keys}


@pytest.mark.parametrize("wide", [3, 5])
def test_the_bias_of_a_layer_of_another_input_is_its_bias(wide: int) -> None:
    """A stem for more channels: its weight is of another shape, its bias fits, and is flagged."""
    mine: Keys = [("conv_stem.weight", (11, 1, 3)), ("conv_stem.bias", (11,)), *SIZES]
    theirs: Keys = [("stem.conv.weight", (11, wide, 3)), ("stem.conv.bias", (11,)), *OTHERS]
    answer = match(spec(mine), spec(theirs))
    assert [(pair.checkpoint_key, pair.key) for pair in answer.mismatched] == [(mine[0][0], theirs[0][0])]
    assert found(answer)[("stem.conv.bias",)] == Served(("conv_stem.bias",))
    assert flagged(answer) == {"stem.conv.bias"}
    refused = match(spec(mine), spec(theirs), forbid=[("conv_stem.bias", "stem.conv.bias")])
    assert ("stem.conv.bias",) not in found(refused)


def test_biases_of_another_length_are_none() -> None:
    mine: Keys = [("conv_stem.weight", (11, 1, 3)), ("conv_stem.bias", (11,)), *SIZES]
    theirs: Keys = [("stem.conv.weight", (13, 1, 3)), ("stem.conv.bias", (13,)), *OTHERS]
    assert ("stem.conv.bias",) not in found(match(spec(mine), spec(theirs)))
