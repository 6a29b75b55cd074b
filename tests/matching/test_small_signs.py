"""Small signs that decide a pair: which parts a name says to be joined, steps, scales of one number, shared tables."""

from __future__ import annotations

import pytest

from automatch.matching import match
from automatch.matching.basis.evidence import Evidence
from automatch.matching.basis.leaves import Leaf
from automatch.matching.reviews.strays import drop_lonely
from automatch.spec import StateDictSpec, TensorSpec
from tests.matching.truth import Served, found, honest, spec, truth

Entries = list[tuple[str, tuple[int, ...]]]


def layers(depth: int, parts: dict[str, tuple[int, ...]], home: str) -> Entries:
    return [(f"{home}.{i}.{part}", shape) for i in range(depth) for part, shape in parts.items()]


def test_what_is_called_qk_holds_the_query_and_the_key() -> None:
    """DehazeFormer's `QK` beside `V`: of three matrices of one shape, these two and no others."""
    mine = layers(3, {"attn.V.weight": (16, 16), "attn.QK.weight": (32, 16), "mlp.0.weight": (40, 16)}, "layers")
    parts = ("value", "query", "key")
    theirs = layers(3, {**{f"attn.{p}.weight": (16, 16) for p in parts}, "ff.up.weight": (40, 16)}, "blocks")
    expected = truth(
        pair
        for i in range(3)
        for pair in (
            (f"layers.{i}.attn.V.weight", f"blocks.{i}.attn.value.weight"),
            (f"layers.{i}.mlp.0.weight", f"blocks.{i}.ff.up.weight"),
        )
    ) | {
        (f"blocks.{i}.attn.query.weight", f"blocks.{i}.attn.key.weight"): Served(
            (f"layers.{i}.attn.QK.weight",), "chunk"
        )
        for i in range(3)
    }
    honest(mine, theirs, expected)
    served = found(match(spec(mine), spec(theirs)))
    assert all(served[keys] == one for keys, one in expected.items() if one.op == "chunk")


def test_what_is_called_kv_holds_both_though_a_feed_forward_layer_has_its_shape() -> None:
    """As many matrices of [2 d, d] stand on either side, as names go: `cross_kv` tells those that are joined."""
    mine: Entries = []
    theirs: Entries = []
    for i in range(4):
        for half, home in (("enc", f"encoder.layers.{i}"), ("dec", f"decoder.layers.{i}")):
            mine += [(f"{half}_{i}.qkv.weight", (48, 16)), (f"{half}_{i}.o.weight", (16, 16))]
            theirs += [(f"{home}.self.{part}.weight", (16, 16)) for part in "qkvo"]
            if half == "dec":
                mine += [(f"dec_{i}.cross_q.weight", (16, 16)), (f"dec_{i}.cross_kv.weight", (32, 16))]
                mine.append((f"dec_{i}.cross_o.weight", (16, 16)))
                theirs += [(f"{home}.cross.{part}.weight", (16, 16)) for part in "qkvo"]
            mine += [(f"{half}_{i}.w1.weight", (32, 16)), (f"{half}_{i}.w2.weight", (16, 32))]
            theirs += [(f"{home}.ff.0.weight", (32, 16)), (f"{home}.ff.2.weight", (16, 32))]
    answer = found(match(spec(mine), spec(theirs)))
    for i in range(4):
        keys = f"decoder.layers.{i}.cross.k.weight", f"decoder.layers.{i}.cross.v.weight"
        assert answer[keys] == Served((f"dec_{i}.cross_kv.weight",), "chunk")


def test_what_is_called_neither_holds_the_key_and_the_value() -> None:
    """q and k are joined where a name says so alone."""
    mine = layers(3, {"attn.query.weight": (16, 16), "attn.both.weight": (32, 16), "up.weight": (40, 16)}, "layers")
    theirs = layers(3, {**{f"attn.{p}.weight": (16, 16) for p in "qkv"}, "up.weight": (40, 16)}, "blocks")
    answer = found(match(spec(mine), spec(theirs)))
    for i in range(3):
        keys = f"blocks.{i}.attn.k.weight", f"blocks.{i}.attn.v.weight"
        assert answer[keys] == Served((f"layers.{i}.attn.both.weight",), "chunk")


@pytest.mark.parametrize("heads", [4, 8])
def test_query_key_and_value_of_every_head_are_the_rows_of_three_matrices(heads: int) -> None:
    """And their biases, though a head's `picks` has the shape of a part."""
    of, width = 24, 24 // heads
    mine: Entries = []
    theirs: Entries = []
    expected: dict[tuple[str, ...], Served] = {}
    for i in range(4):
        for role, shape in (("weight", (width, of)), ("bias", (width,))):
            for part in ("query", "key", "value"):
                members = tuple(f"encoder.{i}.heads.{j}.{part}.{role}" for j in range(heads))
                mine += [(key, shape) for key in members]
                theirs.append((f"layers.{i}.attn.{part[0]}.{role}", (of, *shape[1:])))
                expected[f"layers.{i}.attn.{part[0]}.{role}",] = Served(members, "concat")
        for name, other in (("merge", "attn.out"), ("up", "fc")):
            for role, shape in (
                ("weight", (of, of) if name == "merge" else (60, of)),
                ("bias", (of if name == "merge" else 60,)),
            ):
                mine.append((f"encoder.{i}.{name}.{role}", shape))
                theirs.append((f"layers.{i}.{other}.{role}", shape))
                expected |= truth([(f"encoder.{i}.{name}.{role}", f"layers.{i}.{other}.{role}")])
    theirs += [("picks.weight", (width, of)), ("norm.weight", (of,)), ("norm.bias", (of,))]
    honest(mine, theirs, expected)
    answer = found(match(spec(mine), spec(theirs)))
    assert all(answer[keys] == one for keys, one in expected.items() if one.op == "concat")


def test_an_epoch_is_no_counter_of_a_norm() -> None:
    """Norms were put into the blocks later: what counts their batches is missing, whatever else the file counts."""
    mine: Entries = [("state_dict.net.lift.weight", (8, 6, 1)), ("state_dict.net.lift.bias", (8,))]
    theirs: Entries = [("lift.weight", (8, 6, 1)), ("lift.bias", (8,))]
    names = {key: key.removeprefix("state_dict.net.") for key, _ in mine}
    for i in (0, 1):
        for old, new in ((0, 0), (3, 4)):
            for role, shape in (("weight", (8, 8, 3)), ("bias", (8,))):
                mine.append((f"state_dict.net.body.{i}.{old}.{role}", shape))
                theirs.append((f"body.{i}.{new}.{role}", shape))
                names[mine[-1][0]] = theirs[-1][0]
            theirs += [
                (f"body.{i}.{new + 1}.{part}", (8,)) for part in ("weight", "bias", "running_mean", "running_var")
            ]
            theirs.append((f"body.{i}.{new + 1}.num_batches_tracked", ()))
    given = StateDictSpec("file", tuple(TensorSpec(k, s) for k, s in mine) + COUNTERS)
    wanted = [TensorSpec(k, s, "int64" if k.endswith("tracked") else "float32") for k, s in theirs]
    answer = found(match(given, StateDictSpec("model", tuple(wanted))))
    assert {keys[0]: one.checkpoint[0] for keys, one in answer.items()} == {o: key for key, o in names.items()}


COUNTERS = TensorSpec("epoch", (), "int64"), TensorSpec("global_step", (), "int64")


def test_a_temperature_of_one_head_is_a_scale_of_one_number() -> None:
    """[1, 1, 1] is no row of a table, as a class token is, and [heads] the same as [heads, 1, 1]."""
    mine: Entries = []
    theirs: Entries = []
    for half in ("encoder", "decoder"):
        for i, n in enumerate((1, 2, 4) if half == "encoder" else (2, 1)):
            home, other = f"{half}_level{n}.0", f"{half}.{i}.0"
            mine += [(f"{home}.attn.temperature", (n, 1, 1)), (f"{home}.attn.qkv.weight", (24 * n, 8 * n))]
            mine += [(f"{home}.attn.out.weight", (8 * n, 8 * n)), (f"{home}.ffn.in.weight", (32 * n, 8 * n))]
            theirs += [(f"{other}.scale", (n,)), (f"{other}.qkv.weight", (24 * n, 8 * n))]
            theirs += [(f"{other}.out.weight", (8 * n, 8 * n)), (f"{other}.up.weight", (32 * n, 8 * n))]
    answer = found(match(spec(mine), spec(theirs)))
    assert answer["encoder.0.0.scale",].checkpoint == ("encoder_level1.0.attn.temperature",)
    assert answer["decoder.1.0.scale",].checkpoint == ("decoder_level1.0.attn.temperature",)


def test_biggans_stored_statistics_are_the_running_ones() -> None:
    norm = {"gain": "gain", "bias": "bias", "stored_mean": "running_mean", "stored_var": "running_var"}
    mine: Entries = [("out.0." + part, (8,)) for part in norm] + [("out.2.weight", (3, 8, 3, 3))]
    theirs: Entries = [("rgb_norm." + part, (8,)) for part in norm.values()] + [("rgb.weight", (3, 8, 3, 3))]
    pairs = [(f"out.0.{part}", f"rgb_norm.{other}") for part, other in norm.items()]
    answer = found(honest(mine, theirs, truth([*pairs, ("out.2.weight", "rgb.weight")])))
    assert answer["rgb_norm.running_var",].checkpoint == ("out.0.stored_var",)


@pytest.mark.parametrize("width", [24, 40])
def test_a_table_that_all_share_serves_the_decoder_and_its_head(width: int) -> None:
    """Pegasus for causal language models: matrices of layers may be as large as the table, which may be square."""
    inner = {"fc1.weight": (40, width), "fc2.weight": (width, 40), "self_attn.q_proj.weight": (width, width)}
    decoder = layers(2, inner, "model.decoder.layers")
    encoder = layers(2, inner, "model.encoder.layers")
    mine: Entries = [("model.shared.weight", (40, width)), *encoder, *decoder]
    theirs: Entries = [("model.decoder.embed_tokens.weight", (40, width)), *decoder, ("lm_head.weight", (40, width))]
    answer = match(spec(mine), spec(theirs))
    served = {m.model_keys[0]: (m.checkpoint_keys[0], m.ambiguous) for m in answer.matches}
    for key in ("model.decoder.embed_tokens.weight", "lm_head.weight"):
        assert served[key] == ("model.shared.weight", True)
    assert all(served[key] == (key, False) for key, _ in decoder)


def leaf(key: str) -> Leaf:
    return Leaf(tuple(key.split(".")), (8, 8), (key,), 0, raw=(8, 8))


@pytest.mark.parametrize(
    ("mine", "theirs", "kept"),
    [
        pytest.param("backbone.norm3.weight", "fc.weight", False, id="two modules that are called otherwise"),
        pytest.param("bbox_embed.layers.2.weight", "linear_bbox.weight", True, id="a word in common"),
        pytest.param("net.positions", "encoder.table.weight", True, id="a bare table"),
    ],
)
def test_a_lonely_module_that_shares_no_word_is_no_pair(mine: str, theirs: str, kept: bool) -> None:
    lonely, other = (
        (leaf(mine), leaf(theirs), Evidence(level="lonely")),
        (leaf("a.weight"), leaf("b.weight"), Evidence()),
    )
    assert drop_lonely([lonely, other]) == ([lonely, other] if kept else [other])
