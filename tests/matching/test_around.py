"""What stands around two tensors says whether they belong together: their blocks, their norm, the rest of a list."""

from __future__ import annotations

from automatch.matching import match
from automatch.matching.basis.evidence import Evidence
from automatch.matching.basis.leaves import leaves_of
from automatch.matching.reviews.counters import as_their_modules
from tests.matching.truth import Served, flagged, found, silent, solved, spec, truth

Keys = list[tuple[str, tuple[int, ...]]]


def test_what_two_blocks_with_other_partners_have_left_is_flagged() -> None:
    """ConvNeXt's `gamma` in the last stage is as wide as ConvNeXt V2's `grn` two stages before."""
    given: Keys = []
    wanted: Keys = []
    for stage, width in enumerate((16, 32, 64)):
        for block in range(2):
            at = f"stages.{stage}.blocks.{block}"
            same: Keys = [(f"{at}.conv_dw.weight", (width, 1, 7, 7)), (f"{at}.conv_dw.bias", (width,))]
            same += [(f"{at}.norm.weight", (width,)), (f"{at}.norm.bias", (width,))]
            same += [(f"{at}.mlp.fc1.weight", (4 * width, width)), (f"{at}.mlp.fc2.weight", (width, 4 * width))]
            given += [(f"{at}.gamma", (width,)), *same]
            wanted += [*same, (f"{at}.mlp.grn.weight", (4 * width,))]
    expected = truth((key, key) for key, _ in wanted if "grn" not in key)
    assert silent(match(spec(given), spec(wanted)), expected) == []


def test_a_block_too_many_is_an_item_of_the_list_and_no_part_of_one() -> None:
    """MobileNetV3: the last convolution stands beside the blocks in one, and behind them in the other."""

    def norm(at: str, width: int) -> Keys:
        return [(f"{at}.{role}", (width,)) for role in ("weight", "bias", "running_mean", "running_var")]

    given: Keys = [("features.0.0.weight", (16, 3, 3, 3)), *norm("features.0.1", 16)]
    wanted: Keys = [*given]
    pairs = {key: key for key, _ in given}
    for i in range(1, 6):
        parts = [(96, (96, 16, 1, 1)), (96, (96, 1, 5, 5)), (16, (16, 96, 1, 1))]
        for n, (width, shape) in enumerate(parts):
            mine = [(f"features.{i}.conv.{3 * n}.weight", shape), *norm(f"features.{i}.conv.{3 * n + 1}", width)]
            theirs = [(f"features.{i}.block.{n}.0.weight", shape), *norm(f"features.{i}.block.{n}.1", width)]
            given, wanted = given + mine, wanted + theirs
            pairs |= {t: s for (s, _), (t, _) in zip(mine, theirs, strict=True)}
    last: Keys = [("conv.0.weight", (96, 16, 1, 1)), *norm("conv.1", 96)]
    pairs |= {key.replace("conv.", "features.6."): key for key, _ in last}
    wanted += [(key.replace("conv.", "features.6."), shape) for key, shape in last]
    solved([*given, *last], wanted, truth((s, t) for t, s in pairs.items()))


def test_a_counter_is_as_sure_as_its_norm() -> None:
    """Two norms of one size and a third: nothing tells which is not there, of their counters neither."""
    given: Keys = []
    for name in ("norm2", "norm3", "norm9"):
        given += [
            (f"layer.{name}.weight", (8,)),
            (f"layer.{name}.bias", (8,)),
            (f"layer.{name}.num_batches_tracked", ()),
        ]
    wanted = [(key.replace("layer.norm2", "block.unit.1"), shape) for key, shape in given if "norm2" in key]
    wanted += [("block.conv.weight", (8, 8, 3, 3))]
    given += [("layer.conv.weight", (8, 8, 3, 3))]
    doubted = flagged(match(spec(given), spec(wanted)))
    roles = {key.rpartition(".")[2] for key in doubted if "unit" in key}
    assert roles == {"weight", "bias", "num_batches_tracked"}


def test_a_counter_that_was_found_apart_from_its_norm_is_no_surer() -> None:
    """Stages that doubt a norm by its tensors of one shape do not see its counter."""
    norms = [spec([(f"{name}.weight", (8,)), (f"{name}.num_batches_tracked", ())]) for name in ("a.norm", "b.bn")]
    pairs = list(zip(*map(leaves_of, norms), strict=True))
    found = [(s, t, Evidence(level="unit" if s.integer else "astray")) for s, t in pairs]
    assert [e.level for _, _, e in as_their_modules(found)] == ["astray", "astray"]


def test_pointwise_convolutions_whose_size_the_linear_layers_have_as_well() -> None:
    """iTransformer's feed-forward is of two Conv1d of size 1, as wide as the attention."""
    width = 32
    given: Keys = []
    wanted: Keys = []
    expected: dict[tuple[str, ...], Served] = {}
    for i in range(2):
        a, b = f"layers.{i}", f"blocks.{i}"
        qkv = tuple(f"{a}.attention.{name}_projection.weight" for name in ("query", "key", "value"))
        given += [(key, (width, width)) for key in qkv]
        given += [(f"{a}.attention.out_projection.weight", (width, width))]
        given += [(f"{a}.conv{n}.weight", (width, width, 1)) for n in (1, 2)]
        wanted += [(f"{b}.to_qkv.weight", (3 * width, width)), (f"{b}.to_out.weight", (width, width))]
        wanted += [(f"{b}.ffn.{n}.weight", (width, width)) for n in (0, 2)]
        expected[(f"{b}.to_qkv.weight",)] = Served(qkv, "concat")
        expected[(f"{b}.to_out.weight",)] = Served((f"{a}.attention.out_projection.weight",))
        for n, there in ((1, 0), (2, 2)):
            expected[(f"{b}.ffn.{there}.weight",)] = Served((f"{a}.conv{n}.weight",), "reshape")
    assert found(match(spec(given), spec(wanted))) == expected


def test_an_attention_that_lost_a_projection_is_not_taken_for_the_other() -> None:
    """T5: `layer.0` and `layer.1` are called by what they hold, and a tensor less makes no cross-attention."""
    given: Keys = []
    wanted: Keys = []
    pairs: list[tuple[str, str]] = []
    kinds = (("self_attention", "layer.0.SelfAttention"), ("encoder_decoder_attention", "layer.1.EncDecAttention"))
    for i in range(3):
        for mine, theirs in kinds:
            for name, short in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "o")):
                s, t = f"decoder.layers.{i}.{mine}.{name}.weight", f"decoder.block.{i}.{theirs}.{short}.weight"
                shape = (48, 96) if short == "o" else (96, 48)
                given += [(s, shape)] if (mine, name) != ("self_attention", "out") else []
                wanted += [(t, shape)] if (mine, name) != ("encoder_decoder_attention", "query") else []
                pairs.append((s, t))
    given_keys, wanted_keys = {key for key, _ in given}, {key for key, _ in wanted}
    expected = {(t,): Served((s,)) for s, t in pairs if s in given_keys and t in wanted_keys}
    assert silent(match(spec(given), spec(wanted)), expected) == []
