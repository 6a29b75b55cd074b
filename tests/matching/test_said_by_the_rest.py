"""One pair that the rest of the file decides or puts in doubt: other blocks, the part that is meant, a whole list."""

from __future__ import annotations

import numpy as np
import pytest

from automatch.matching import match
from automatch.matching.basis.evidence import Evidence
from automatch.matching.basis.leaves import Leaf
from automatch.matching.left_overs.sharing import under_one_name
from automatch.matching.reviews.jumps import doubt_jumps
from automatch.matching.reviews.meant import from_their_part
from automatch.rules.proven import proven
from tests.matching.truth import flagged, found, honest, solved, spec, truth

Entries = list[tuple[str, tuple[int, ...]]]

NORM = ("weight", "bias", "running_mean", "running_var")


def norm(name: str, width: int) -> Entries:
    return [(f"{name}.{leaf}", (width,)) for leaf in NORM]


def conv(name: str, out: int, of: int, size: int = 3) -> Entries:
    return [(f"{name}.weight", (out, of, size, size)), (f"{name}.bias", (out,))]


def stages(joined: bool) -> Entries:
    """RAFT's encoder, each first block of a stage with a shortcut; the original holds its norm under two names."""
    keys: Entries = []
    for stage, width in enumerate((16, 24, 32), 1):
        for block in (0, 1):
            before = width - 8 if block == 0 else width
            home = f"layer{stage}.{block}."
            if joined:
                keys += conv(f"{home}first.0", width, before) + norm(f"{home}first.1", width)
                keys += conv(f"{home}second.0", width, width) + norm(f"{home}second.1", width)
            else:
                keys += conv(f"{home}conv1", width, before) + conv(f"{home}conv2", width, width)
                keys += norm(f"{home}norm1", width) + norm(f"{home}norm2", width)
            if block == 0:
                keys += [] if joined else norm(f"{home}norm3", width)
                keys += conv(f"{home}downsample.0", width, before, 1) + norm(f"{home}downsample.1", width)
    return keys


def test_a_norm_that_a_block_holds_under_two_names_is_not_the_one_that_all_other_blocks_have() -> None:
    answer = match(spec(stages(joined=False)), spec(stages(joined=True)))
    served = {key: m.checkpoint_keys[0] for m in answer.matches for key in m.model_keys}
    for stage in (1, 2, 3):
        for block in (0, 1):
            assert served[f"layer{stage}.{block}.second.1.weight"] == f"layer{stage}.{block}.norm2.weight"


def leaf(key: str, shape: tuple[int, ...] = (8, 8)) -> Leaf:
    return Leaf(tuple(key.split(".")), shape, (key,), 0, raw=shape)


def test_a_tower_ends_in_its_own_norm_and_not_in_that_of_the_model_around_it() -> None:
    """The model's `norm` is nearer by its name to `encoder.norm`; all else comes from `vision`, but for a projector."""
    tower = [leaf(f"vision.blocks.{i}.{part}.weight") for i in range(4) for part in ("qkv", "out", "fc")]
    source = [*tower, leaf("vision.norm.weight", (8,)), leaf("projector.weight"), leaf("norm.weight", (8,))]
    pairs = [(s, leaf(s.keys[0].replace("vision", "encoder")), Evidence(level="name")) for s in tower]
    pairs += [(source[-2], leaf("encoder.head.weight"), Evidence(level="name"))]
    doubted = (source[-1], leaf("encoder.norm.weight", (8,)), Evidence(level="blocks"))
    out = from_their_part([*pairs, doubted], source, lambda s, t: False)
    assert out[:-1] == pairs
    assert (out[-1][0].keys, out[-1][2].level) == (("vision.norm.weight",), "inside")
    assert from_their_part([*pairs, doubted], source, lambda s, t: True) == [*pairs, doubted]
    two = [*source, leaf("vision.pre_norm.weight", (8,))]
    assert from_their_part([*pairs, doubted], two, lambda s, t: False) == [*pairs, doubted]


def test_a_layer_out_of_the_order_of_all_others_is_flagged() -> None:
    """Layer 3 of the model is of another build, and what was left over for it is layer 27."""
    went = {**{i: i for i in range(12)}, 3: 27}
    source = [leaf(f"model.layers.{i}.proj.weight") for i in range(30)]
    pairs = [(source[mine], leaf(f"decoder.layers.{i}.out.weight"), Evidence()) for i, mine in went.items()]
    assert [t.path[2] for _, t, e in doubt_jumps(pairs, source) if e.level == "jumps"] == ["3"]
    backwards = [(source[11 - i], t, e) for i, (_, t, e) in enumerate(pairs)]
    assert doubt_jumps(backwards, source) == backwards
    alone = [*source[:27], Leaf(source[27].path, (9, 8), source[27].keys, 0, raw=(9, 8)), *source[28:]]
    assert doubt_jumps(pairs, alone) == pairs  # nothing else would fit


def test_a_first_layer_that_reads_more_channels_keeps_its_bias_flagged() -> None:
    def network(stem: str, channels: int, home: str) -> Entries:
        rest: Entries = []
        for i in range(4):
            rest += [(f"{home}.{i}.conv.weight", (8, 8, 5)), (f"{home}.{i}.conv.bias", (8,))]
        return [(f"{stem}.weight", (8, channels, 9)), (f"{stem}.bias", (8,)), *rest]

    answer = match(spec(network("first_block_conv.conv", 1, "blocks")), spec(network("stem.c", 12, "layers")))
    assert ("stem.c.weight", "first_block_conv.conv.weight") in {(m.key, m.checkpoint_key) for m in answer.mismatched}
    assert found(answer)["stem.c.bias",].checkpoint == ("first_block_conv.conv.bias",)
    assert "stem.c.bias" in flagged(answer)


def mlp(names: tuple[str, str, str], home: str, count: int = 4) -> Entries:
    out: Entries = []
    for i in range(count):
        for name, shape in zip(names, ((48, 16), (48, 16), (16, 48)), strict=True):
            out.append((f"{home}.{i}.mlp.{name}.weight", shape))
        out.append((f"{home}.{i}.mlp_norm.weight", (16,)))
    return out


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_the_gate_that_tensorrt_llm_calls_fc_is_found_and_flagged(order: tuple[int, ...]) -> None:
    file = mlp(("gate_proj", "up_proj", "down_proj"), "model.layers")
    model = mlp(("fc", "gate", "proj"), "transformer.layers")
    grouped = [model[i : i + 4] for i in range(0, len(model), 4)]
    model = [key for own in grouped for key in (*(own[n] for n in order), own[3])]
    answer = match(spec(file), spec(model))
    served = {m.model_keys[0]: m.checkpoint_keys[0] for m in answer.matches}
    assert served["transformer.layers.2.mlp.fc.weight"] == "model.layers.2.mlp.gate_proj.weight"
    assert served["transformer.layers.2.mlp.gate.weight"] == "model.layers.2.mlp.up_proj.weight"
    assert {"transformer.layers.2.mlp.fc.weight", "transformer.layers.2.mlp.gate.weight"} <= flagged(answer)


def test_two_matrices_called_fc_and_gate_alone_say_what_they_are() -> None:
    file = [(key.replace("gate_proj", "gating"), shape) for key, shape in mlp(("gate_proj", "fc", "out"), "layers")]
    model = mlp(("gate", "fc", "out"), "blocks")
    names = {"gating": "gate", "layers": "blocks"}

    def rename(key: str) -> str:
        for old, new in names.items():
            key = key.replace(old, new)
        return key

    solved(file, model, truth((key, rename(key)) for key, _ in file))


def backbone(norms: bool, final: bool) -> Entries:
    keys: Entries = []
    for stage, width in enumerate((16, 32, 64, 128)):
        for block in range(2):
            keys += [
                (f"stages.{stage}.blocks.{block}.fc1.weight", (4 * width, width)),
                (f"stages.{stage}.blocks.{block}.fc2.weight", (width, 4 * width)),
            ]
        keys += [(f"stages.{stage}.norm.weight", (width,)), (f"stages.{stage}.norm.bias", (width,))] if norms else []
    return keys + ([("norm.weight", (128,)), ("norm.bias", (128,))] if final else [])


def test_a_final_norm_is_not_the_norm_behind_the_last_of_several_stages_without_a_flag() -> None:
    file, model = backbone(norms=False, final=True), backbone(norms=True, final=False)
    honest(file, model, truth((key, key) for key, _ in backbone(norms=False, final=False)))


def test_a_classifier_inside_another_head_is_not_taken_for_the_models_own_without_a_flag() -> None:
    body: Entries = []
    for i in range(4):
        body += [(f"bert.layers.{i}.fc1.weight", (64, 16)), (f"bert.layers.{i}.fc2.weight", (16, 64))]
    head: Entries = [("weight", (2, 16)), ("bias", (2,))]
    file = [*body, *[(f"sop_classifier.classifier.{leaf}", shape) for leaf, shape in head], ("words.weight", (90, 16))]
    model = [*body, *[(f"classifier.{leaf}", shape) for leaf, shape in head]]
    honest(file, model, truth((key, key) for key, _ in body))


def test_two_sizes_of_one_model_share_what_is_of_one_size_though_one_stands_in_a_wrapper() -> None:
    def decoder(home: str, width: int, layers: int) -> Entries:
        keys: Entries = [(f"{home}embed.weight", (100, width))]
        for i in range(layers):
            names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj")
            keys += [(f"{home}layers.{i}.{name}.weight", (2 * width, width)) for name in names]
            keys += [(f"{home}layers.{i}.{name}.weight", (8,)) for name in ("q_norm", "k_norm")]
        return keys

    file, model = decoder("model.", 16, 4), decoder("", 24, 6)
    answer = match(spec(file), spec(model))
    shared = {f"layers.{i}.{name}.weight" for i in range(4) for name in ("q_norm", "k_norm")}
    assert {key: m.checkpoint_keys[0] for m in answer.matches for key in m.model_keys} == {
        key: f"model.{key}" for key in shared
    }


def test_what_lora_learnt_of_a_fused_matrix_for_queries_and_values_is_cut_in_two() -> None:
    """litgpt's qkv.lora_A holds the first halves of both; the second halves lie on each other as the parts do."""
    file = [(f"h.{i}.attn.qkv.lora_A", (8, 32)) for i in range(3)]
    file += [(f"h.{i}.attn.qkv.lora_B", (40, 4)) for i in range(3)]
    model = []
    for i in range(3):
        for part, rows in (("q", 32), ("v", 8)):
            home = f"layers.{i}.self_attn.{part}_proj"
            model += [(f"{home}.lora_A.weight", (4, 32)), (f"{home}.lora_B.weight", (rows, 4))]
    answer = match(spec(file), spec(model))
    served = {m.checkpoint_keys[0]: (m.model_keys, m.op) for m in answer.matches}
    for half in ("A", "B"):
        pieces = tuple(f"layers.1.self_attn.{part}_proj.lora_{half}.weight" for part in ("q", "v"))
        assert served[f"h.1.attn.qkv.lora_{half}"] == (pieces, "chunk")


def test_a_learnt_token_of_another_name_is_no_table_of_words() -> None:
    def network(token: str, home: str) -> Entries:
        layers = [(f"{home}.{i}.{part}.weight", (16, 16)) for i in range(3) for part in ("fc", "out")]
        return [("embed.weight", (50, 16)), (token, (1, 1, 16)), *layers]

    file, model = network("cls_token", "layers"), network("summary_token", "blocks")
    expected = truth((key, key.replace("cls", "summary").replace("layers", "blocks")) for key, _ in file)
    assert found(honest(file, model, expected)) == dict(expected)


def test_the_attention_beside_a_self_attention_is_the_cross_attention() -> None:
    """CTranslate2's decoder, sorted by name: three norms of one shape, each in the part that it stands before."""
    parts = {"self_attention": "self_attn", "attention": "encoder_attn", "ffn": "final"}
    file, model = [], []
    for i in range(3):
        for theirs, ours in parts.items():
            file += [(f"decoder/layer_{i}/{theirs}/layer_norm/{leaf}", (16,)) for leaf in ("gamma", "beta")]
            model += [(f"decoder.layers.{i}.{ours}_layer_norm.{leaf}", (16,)) for leaf in ("weight", "bias")]
        for theirs, ours in list(parts.items())[:2]:
            home, other = f"decoder/layer_{i}/{theirs}", f"decoder.layers.{i}.{ours}"
            whole = theirs == "self_attention"
            file += [
                (f"{home}/linear_0/weight", (48 if whole else 16, 16)),
                (f"{home}/linear_0/bias", (48 if whole else 16,)),
            ]
            file += [] if whole else [(f"{home}/linear_1/weight", (32, 16)), (f"{home}/linear_1/bias", (32,))]
            file += [(f"{home}/linear_{1 if whole else 2}/weight", (16, 16))]
            model += [(f"{other}.{name}.weight", (16, 16)) for name in ("k_proj", "v_proj", "q_proj", "out_proj")]
            model += [(f"{other}.{name}.bias", (16,)) for name in ("v_proj", "q_proj")]
        file.append((f"decoder/layer_{i}/ffn/linear_0/weight", (64, 16)))
        model.append((f"decoder.layers.{i}.fc1.weight", (64, 16)))
    answer = match(spec(sorted(file)), spec(model))
    served = {m.model_keys[0]: m.checkpoint_keys[0] for m in answer.matches}
    for theirs, ours in parts.items():
        assert served[f"decoder.layers.1.{ours}_layer_norm.weight"] == f"decoder/layer_1/{theirs}/layer_norm/gamma"


def test_halves_called_a_and_b_are_known_however_they_are_stored() -> None:
    file = [
        (f"adapter/blocks/{i}/c_attn/{half}", shape)
        for i in range(3)
        for half, shape in (("A", (16, 4)), ("B", (4, 48)))
    ]
    model = [
        (f"blocks.{i}.c_attn.{name}.weight", shape)
        for i in range(3)
        for name, shape in (("base_layer", (48, 16)), ("lora_A.default", (4, 16)), ("lora_B.default", (48, 4)))
    ]
    answer = match(spec(file), spec(model))
    assert {(m.checkpoint_keys, m.model_keys, m.op) for m in answer.matches} == {
        ((f"adapter/blocks/{i}/c_attn/{half}",), (f"blocks.{i}.c_attn.lora_{half}.default.weight",), "transpose")
        for i in range(3)
        for half in ("A", "B")
    }


def test_experts_that_lie_on_each_other_in_one_matrix_are_taken_apart() -> None:
    """OLMoE, as DBRX: [experts * out, in], down as it is multiplied from the other side."""
    file, model = [], []
    for i in range(2):
        file += [(f"blocks.{i}.ffn.experts.mlp.{name}", (24, 16)) for name in ("w1", "v1", "w2")]
        file += [(f"blocks.{i}.ffn.router.weight", (4, 16))]
        for e in range(4):
            home = f"layers.{i}.mlp.experts.{e}"
            model += [(f"{home}.gate_proj.weight", (6, 16)), (f"{home}.up_proj.weight", (6, 16))]
            model += [(f"{home}.down_proj.weight", (16, 6))]
        model += [(f"layers.{i}.mlp.gate.weight", (4, 16))]
    answer = match(spec(file), spec(model))
    served = {m.checkpoint_keys[0]: (m.model_keys, m.op) for m in answer.matches}
    for name, (word, op) in {
        "w1": ("gate", "reshape+unstack"),
        "v1": ("up", "reshape+unstack"),
        "w2": ("down", "reshape+unstack+transpose"),
    }.items():
        pieces = tuple(f"layers.1.mlp.experts.{e}.{word}_proj.weight" for e in range(4))
        assert served[f"blocks.1.ffn.experts.mlp.{name}"] == (pieces, op)
    rules, proof = proven(answer, [key for key, _ in file], [key for key, _ in model])
    assert proof.ok
    tensors = {key: np.random.default_rng(0).random(shape) for key, shape in file}
    made = rules.apply(tensors)
    whole = tensors["blocks.0.ffn.experts.mlp.w2"]
    assert np.array_equal(made["layers.0.mlp.experts.3.down_proj.weight"], whole[18:24].T)
    back = rules.reverse(keys=file).apply(made)
    assert all(np.array_equal(back[key], tensor) for key, tensor in tensors.items())


def test_a_parameter_that_the_checkpoint_holds_once_and_the_model_in_every_layer_under_its_name() -> None:
    """VeRA's projections: PEFT's files hold them once, and its models in every layer too."""
    homes = [f"base_model.model.layers.{i}.{part}_proj" for i in range(3) for part in "qv"]
    file = [(f"{home}.vera_lambda_{word}", (width,)) for home in homes for word, width in (("b", 16), ("d", 4))]
    file += [("base_model.vera_A", (4, 16)), ("base_model.vera_B", (16, 4))]
    model = [(f"{home}.base_layer.weight", (16, 16)) for home in homes]
    for home in ("base_model", *homes):
        model += [(f"{home}.vera_A.default", (4, 16)), (f"{home}.vera_B.default", (16, 4))]
    model += [
        (f"{home}.vera_lambda_{word}.default", (width,)) for home in homes for word, width in (("b", 16), ("d", 4))
    ]
    answer = match(spec(file), spec(model))
    served = {key: m.checkpoint_keys[0] for m in answer.matches for key in m.model_keys}
    copies = {f"{home}.vera_{half}.default": f"base_model.vera_{half}" for home in homes for half in "AB"}
    assert {key: served[key] for key in copies} == copies
    assert flagged(answer) == set(copies)


def test_a_module_with_a_bias_goes_to_one_with_a_bias() -> None:
    """An embedding and a head of one size, in a file that is sorted by name."""
    layers = [(f"decoder.layers.{i}.fc.weight", (16, 16)) for i in range(8)]
    file = [
        ("decoder.dense.bias", (30,)),
        ("decoder.dense.weight", (30, 16)),
        ("decoder.embedding.weight", (30, 16)),
        *layers,
    ]
    model = [("target_words.weight", (30, 16)), *layers, ("generator.weight", (30, 16)), ("generator.bias", (30,))]
    answer = match(spec(sorted(file)), spec(model))
    served = {key: m.checkpoint_keys[0] for m in answer.matches for key in m.model_keys}
    assert served["generator.weight"] == "decoder.dense.weight"
    assert served["target_words.weight"] == "decoder.embedding.weight"


@pytest.mark.parametrize("home", ["layers", "blocks"])
def test_another_token_is_no_token_of_that_name_without_a_flag(home: str) -> None:
    """Nor where all else is one model, nor where its layers are called otherwise."""

    def network(token: str, home: str) -> Entries:
        layers = [(f"{home}.{i}.{part}.weight", (16, 16)) for i in range(3) for part in ("fc", "out")]
        return [("embed.weight", (50, 16)), (token, (1, 1, 16)), *layers]

    file, model = network("embeddings.cls_token", "layers"), network("embeddings.readout_token", home)
    served = {key: key.replace("layers", home) for key, _ in file if "token" not in key}
    honest(file, model, truth(served.items()))


@pytest.mark.parametrize(
    ("there", "here"),
    [
        (("self_attention", "attention"), ("attention",)),
        (("attention",), ("self_attention", "attention")),
        (("self_attn", "attn"), ("self_attn", "attn")),
    ],
)
def test_an_attention_that_both_sides_call_so_is_not_called_otherwise(there, here) -> None:
    def layers(names: tuple[str, ...]) -> Entries:
        return [
            (f"layers.{i}.{name}.{part}.weight", (16, 16)) for i in range(3) for name in names for part in ("q", "o")
        ]

    file, model = layers(there), layers(here)
    known = {key for key, _ in file} & {key for key, _ in model}
    answer = honest(file, model, truth((key, key) for key in known))
    assert {m.model_keys[0]: m.checkpoint_keys[0] for m in answer.matches} == {key: key for key in known}


def test_gates_that_both_sides_call_alike_are_not_flagged() -> None:
    file, model = mlp(("fc", "gate", "proj"), "transformer.layers"), mlp(("fc", "gate", "proj"), "layers")
    solved(file, model, truth((key, key.removeprefix("transformer.")) for key, _ in file))


def test_kernels_that_begin_nothing_are_no_pair_for_their_sizes_alone() -> None:
    body: Entries = [(f"layers.{i}.conv.weight", (8, 8, 3, 3)) for i in range(4)]
    file = [("patch_embed.proj.weight", (16, 3, 4, 4)), ("patch_embed.proj.bias", (16,)), *body]
    model = [*body, ("decoder_out.conv.weight", (16, 8, 4, 4)), ("decoder_out.conv.bias", (16,))]
    answer = match(spec(file), spec(model))
    assert not answer.mismatched
    assert "decoder_out.conv.bias" in answer.missing_keys


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("classification_head.out_proj", "classifier.out_proj"),
        ("classification_head.out_proj", "classifier"),
        ("image_classifier.head", "classifier"),
        ("mlp_head.fc", "classifier"),
    ],
)
def test_a_head_by_another_usual_name_is_not_flagged(there: str, here: str) -> None:
    body: Entries = [(f"layers.{i}.{part}.weight", (16, 16)) for i in range(4) for part in ("fc1", "fc2")]
    file = [*body, (f"{there}.weight", (7, 16)), (f"{there}.bias", (7,))]
    model = [*body, (f"{here}.weight", (7, 16)), (f"{here}.bias", (7,))]
    solved(file, model, truth((key, key.replace(there, here)) for key, _ in file))


def test_a_table_of_positions_does_not_serve_every_layer_for_its_name() -> None:
    source = [leaf("pos_embed", (1, 7, 16))]
    target = [leaf(f"layers.{i}.attn.pos_embed", (1, 7, 16)) for i in range(3)]
    assert under_one_name([], source, target) == []
    whole = leaf("pos_embed", (1, 7, 16))
    pair = (source[0], whole, Evidence(level="name"))
    assert [t for _, t, _ in under_one_name([pair], source, [whole, *target])] == target
