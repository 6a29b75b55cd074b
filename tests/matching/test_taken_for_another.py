"""What looks like something else by its shape or its name: experts and kernels, layers and experts, towers, parts."""

from __future__ import annotations

import pytest

from automatch.matching import match
from tests.matching.truth import Served, Truth, flagged, found, solved, spec, truth

Keys = list[tuple[str, tuple[int, ...]]]
WIDTH, INNER = 32, 48


def granite(mlx: bool) -> Keys:
    """Experts in stacks beside a convolution over a line: MLX turns the second, and not the first."""
    keys: Keys = []
    for i in range(2):
        layer, moe = f"layers.{i}", f"layers.{i}.moe"
        keys += [
            (f"{layer}.mamba.conv1d.weight", (72, 4, 1) if mlx else (72, 1, 4)),
            (f"{layer}.q.weight", (40, WIDTH)),
        ]
        if mlx:
            keys += [(f"{moe}.{name}.weight", (4, INNER, WIDTH)) for name in ("gate_proj", "up_proj")]
        else:
            keys.append((f"{moe}.input_linear.weight", (4, 2 * INNER, WIDTH)))
        keys.append((f"{moe}.{'down_proj' if mlx else 'output_linear'}.weight", (4, WIDTH, INNER)))
    return keys


def test_a_convolution_over_a_line_is_no_stack_of_experts() -> None:
    """Turned, the experts' way down would have the shape of their gates."""
    served = found(match(spec(granite(False)), spec(granite(True))))
    for i in range(2):
        conv, down = f"layers.{i}.mamba.conv1d.weight", f"layers.{i}.moe.down_proj.weight"
        assert served[(conv,)] == Served((conv,), "transpose")
        assert served[(down,)] == Served((f"layers.{i}.moe.output_linear.weight",))


def test_a_parameter_of_a_kernels_shape_is_not_turned_with_the_kernels() -> None:
    """MLX turns the convolution of a recurrent block, and not the [heads, size, size] of its gates."""
    sides = []
    for kernel in ((32, 4, 1), (32, 1, 4)):
        keys: Keys = [(f"layers.{i}.block.conv_1d.weight", kernel) for i in range(2)]
        keys += [
            (f"layers.{i}.block.lru.{gate}_gate_weight", (4, 8, 8)) for i in range(2) for gate in ("input", "recurrent")
        ]
        keys += [(f"layers.{i}.block.linear.weight", (48, 32)) for i in range(2)]
        sides.append(sorted(keys))
    served = found(match(*map(spec, sides)))
    assert {key: one.op for (key,), one in served.items()} == {
        key: "transpose" if "conv" in key else "rename" for key, _ in sides[1]
    }


def test_a_head_that_is_called_nearly_the_same_is_flagged_where_the_heads_were_changed() -> None:
    """wav2vec 2.0 was trained with a `project_hid`, and its x-vector model has a `projector` that is as large."""
    body: Keys = [
        (f"encoder.layers.{i}.{part}.weight", (32, 32 + n)) for i in range(4) for n, part in enumerate("abcd")
    ]
    before: Keys = [("project_hid.weight", (16, 32)), ("quantizer.weight_proj.weight", (10, 20))]
    after: Keys = [("projector.weight", (16, 32)), ("classifier.weight", (7, 16))]
    answer = match(spec(body + before), spec(body + after))
    assert flagged(answer) <= {"projector.weight"}
    assert "projector.weight" in flagged(answer) | {*answer.missing_keys}
    renamed = match(spec([*body, before[0]]), spec([*body, after[0]]))
    assert found(renamed)[("projector.weight",)] == Served(("project_hid.weight",))


EXPERTS = 3


def switch() -> tuple[Keys, Keys, Truth]:
    """t5x's stacks of experts, which it calls kernels, and those that transformers counts in their names."""
    flax: Keys = []
    torch: Keys = []
    expected: Truth = {}
    for i in range(2):
        for name, (before, after) in (("wi", (WIDTH, INNER)), ("wo", (INNER, WIDTH))):
            own, other = f"encoder/layers_{2 * i}/mlp", f"encoder.block.{2 * i}.layer.1.mlp"
            flax.append((f"{own}/{name}/kernel", (before, after)))
            torch.append((f"{other}.{name}.weight", (after, before)))
            expected[(f"{other}.{name}.weight",)] = Served((f"{own}/{name}/kernel",), "transpose")
            own, other = f"encoder/layers_{2 * i + 1}/mlp/expert", f"encoder.block.{2 * i + 1}.layer.1.mlp.experts"
            flax.append((f"{own}/{name}/kernel", (EXPERTS, before, after)))
            items = tuple(f"{other}.expert_{e}.{name}.weight" for e in range(EXPERTS))
            torch += [(item, (after, before)) for item in items]
            expected[items] = Served((f"{own}/{name}/kernel",), "unstack+transpose")
    return flax, torch, expected


def test_a_stack_of_experts_is_no_kernel_over_a_line() -> None:
    flax, torch, expected = switch()
    assert found(match(spec(flax), spec(torch))) == expected


def test_as_many_layers_as_experts() -> None:
    """A shared expert in each of four layers is no stack of four, where the experts take all stacks."""
    hf: Keys = []
    gguf: Keys = []
    expected: Truth = {}
    for i in range(4):
        for name, kind, shape in (
            ("gate", "gate", (INNER, WIDTH)),
            ("up", "up", (INNER, WIDTH)),
            ("down", "down", (WIDTH, INNER)),
        ):
            layer, block = f"model.layers.{i}.mlp", f"blk.{i}.ffn_{kind}"
            items = tuple(f"{layer}.experts.{e}.{name}_proj.weight" for e in range(4))
            hf += [*((item, shape) for item in items), (f"{layer}.shared_mlp.{name}_proj.weight", shape)]
            gguf += [(f"{block}_exps.weight", (4, *shape)), (f"{block}_shexp.weight", shape)]
            expected[(f"{block}_exps.weight",)] = Served(items, "stack")
            expected[(f"{block}_shexp.weight",)] = Served((f"{layer}.shared_mlp.{name}_proj.weight",))
    assert found(match(spec(hf), spec(gguf))) == expected


def tower(path: str, inner: int, apart: bool) -> Keys:
    keys: Keys = []
    for i in range(2):
        for name in ("q_proj", "k_proj", "v_proj") if apart else ("qkv",):
            rows = WIDTH if apart else 3 * WIDTH
            keys += [(f"{path}.{i}.attn.{name}.weight", (rows, WIDTH)), (f"{path}.{i}.attn.{name}.bias", (rows,))]
        for name, shape in (("proj", (WIDTH, WIDTH)), ("fc1", (inner, WIDTH)), ("fc2", (WIDTH, inner))):
            keys += [(f"{path}.{i}.{name}.weight", shape), (f"{path}.{i}.{name}.bias", shape[:1])]
    return keys


@pytest.mark.parametrize("first", ["text", "vision"])
def test_of_two_towers_the_one_that_looks_like_the_model_is_joined(first: str) -> None:
    """Both have queries, keys and values of one size; the mlp tells which tower the model is."""
    towers = {"text": tower("text.layers", 64, True), "vision": tower("vision.layers", 128, True)}
    both = [key for name in sorted(towers, key=lambda name: name != first) for key in towers[name]]
    assignment = match(spec(both), spec(tower("blocks", 128, False)))
    assert assignment.missing_keys == ()
    assert {key.split(".")[0] for m in assignment.matches for key in m.checkpoint_keys} == {"vision"}


def test_what_both_sides_have_apart_is_not_joined() -> None:
    """Layers that one side cuts in two have the shape that keys and values would have together."""
    hf: Keys = [(f"layers.2.attn.{n}_proj.weight", (WIDTH if n in "qo" else 16, WIDTH)) for n in "qkvo"]
    gguf: Keys = [(f"blk.2.attn_{n}.weight", (WIDTH if n == "q" else 16, WIDTH)) for n in "qkv"]
    gguf.append(("blk.2.attn_output.weight", (WIDTH, WIDTH)))
    for i in range(4):
        if i != 2:
            hf.append((f"layers.{i}.mamba.in.weight", (144, WIDTH)))
            gguf.append((f"blk.{i}.ssm_in.weight", (144, WIDTH)))
        shared, block = f"layers.{i}.shared_mlp", f"blk.{i}.ffn"
        hf += [(f"{shared}.input_linear.weight", (32, WIDTH)), (f"{shared}.output_linear.weight", (WIDTH, 16))]
        gguf += [(f"{block}_{n}_shexp.weight", (16, WIDTH)) for n in ("gate", "up")]
        gguf.append((f"{block}_down_shexp.weight", (WIDTH, 16)))
    served = found(match(spec(hf), spec(gguf)))
    assert all(served[(f"blk.2.attn_{n}.weight",)] == Served((f"layers.2.attn.{n}_proj.weight",)) for n in "qkv")


def test_the_norm_before_the_mlp_registered_before_that_of_the_attention() -> None:
    """gpt-fast registers `ffn_norm` first: the names of the two places say more than the order."""
    mine = (
        "attn.q|40",
        "attn.o|41",
        "mlp.gate|48",
        "mlp.up|50",
        "mlp.down|52",
        "input_layernorm",
        "post_attention_layernorm",
    )
    theirs = ("attention.q|40", "attention.o|41", "ff.w1|48", "ff.w3|50", "ff.w2|52", "ffn_norm", "attention_norm")
    partner = {"input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm"}

    def keys(names: tuple[str, ...], top: str) -> Keys:
        split = [name.partition("|") for name in names]
        return [(f"{top}.{i}.{n}.weight", (int(w), WIDTH) if w else (WIDTH,)) for i in range(3) for n, _, w in split]

    pairs = [
        (f"layers.{i}.{a.partition('|')[0]}.weight", f"blocks.{i}.{partner.get(a, b.partition('|')[0])}.weight")
        for i in range(3)
        for a, b in zip(mine, theirs, strict=True)
    ]
    solved(spec(keys(mine, "layers")), spec(keys(theirs, "blocks")), truth(pairs))


@pytest.mark.parametrize("whole", ["q_layers.1", "V.to_stats"])
def test_what_holds_a_mean_and_a_variance_may_be_called_anything(whole: str) -> None:
    """The last layer of a posterior `q` is no query."""
    first = "q_layers.0" if whole[0] == "q" else "V.first"
    apart: Keys = [("encoder.0.weight", (24, 11)), ("encoder.0.bias", (24,))]
    joined: Keys = [(f"{first}.weight", (24, 11)), (f"{first}.bias", (24,))]
    expected: Truth = {(f"encoder.0.{role}",): Served((f"{first}.{role}",)) for role in ("weight", "bias")}
    for role, tail in (("weight", (24,)), ("bias", ())):
        joined.append((f"{whole}.{role}", (8, *tail)))
        apart += [(f"{name}.{role}", (4, *tail)) for name in ("fc_mu", "fc_logvar")]
        expected[(f"fc_mu.{role}", f"fc_logvar.{role}")] = Served((f"{whole}.{role}",), "chunk")
    assert found(match(spec(joined), spec(apart))) == expected


def test_a_network_s_own_bias_is_that_of_a_layer() -> None:
    """As in networks of factorization machines; other layers have a bias of its size."""
    norm = (("weight", (5,)), ("bias", (5,)), ("running_mean", (5,)), ("running_var", (5,)))
    head = (("weight", (1, 5)), ("bias", (1,)))
    mine: Keys = [("mlp.mlp.4.weight", (5, 6)), *((f"mlp.mlp.5.{role}", shape) for role, shape in norm)]
    mine += [*((f"mlp.mlp.8.{role}", shape) for role, shape in head), ("linear.bias", (1,))]
    mine.append(("linear.fc.weight", (12, 1)))
    model: Keys = [("bias", (1,)), ("first_order.weight", (12, 1)), ("deep.1.fc.weight", (5, 6))]
    model += [(f"deep.1.bn.{role}", shape) for role, shape in norm]
    model += [(f"deep_score.{role}", shape) for role, shape in head]
    assignment = match(spec(mine), spec(model))
    assert found(assignment)[("bias",)] == Served(("linear.bias",))
    assert "bias" in flagged(assignment)


@pytest.mark.parametrize(("words", "sure"), [(3, False), (2, True)])
def test_words_seen_as_an_image(words: int, sure: bool) -> None:
    """A kernel [out, 1, words, width] is [out, width, words] over a line; of equal sizes, nothing shows it."""
    common: Keys = [("emb.weight", (20, 3)), ("fc.weight", (2, 5)), ("fc.bias", (2,))]
    mine = [*common, ("conv.weight", (5, 1, words, 3)), ("conv.bias", (5,))]
    model = [*common, ("conv.weight", (5, 3, words)), ("conv.bias", (5,))]
    assignment = match(spec(mine), spec(model))
    assert ("conv.weight" in flagged(assignment)) is not sure
    if sure:
        assert next(m.op for m in assignment.matches if m.model_keys == ("conv.weight",)) == "reshape+transpose"


def test_a_row_under_the_name_of_a_vector() -> None:
    """Stable-Baselines' `logstd` [1, n] is `log_std` [n], though a bias of another head has that shape."""
    mine: Keys = [("pi/w", (8, 5)), ("pi/b", (5,)), ("pi/logstd", (1, 5)), ("q/w", (8, 5)), ("q/b", (5,))]
    model: Keys = [("log_std", (5,)), ("action_net.weight", (5, 8)), ("action_net.bias", (5,))]
    assert found(match(spec(mine), spec(model)))[("log_std",)] == Served(("pi/logstd",), "reshape")


def test_a_head_is_tied_to_the_table_of_the_decoder() -> None:
    """T5Gemma has a table for the encoder and one for the decoder; the head's weights are those of the second."""
    tables: Keys = [("encoder.embed_tokens.weight", (50, WIDTH)), ("decoder.embed_tokens.weight", (50, WIDTH))]
    layers: Keys = [(f"{side}.layers.{i}.fc.weight", (INNER, WIDTH)) for side in ("encoder", "decoder") for i in (0, 1)]
    assignment = match(spec([*tables, *layers]), spec([*tables, *layers, ("lm_head.out_proj.weight", (50, WIDTH))]))
    assert found(assignment)[("lm_head.out_proj.weight",)] == Served(("decoder.embed_tokens.weight",))
    assert flagged(assignment) == {"lm_head.out_proj.weight"}


IDEFICS = ("embed_tokens.additional_embedding", "additional_fc")
TORCHTUNE = ("embed_tokens.fusion_embedding", "fusion_head")


@pytest.mark.parametrize(("embedding", "head"), [IDEFICS, TORCHTUNE])
@pytest.mark.parametrize("back", [False, True])
def test_rows_that_one_side_keeps_apart(embedding: str, head: str, back: bool) -> None:
    """Words that were added for images follow the others; which of two tables they go to, names tell."""
    layers: Keys = [(f"layers.{i}.fc.weight", (INNER, WIDTH)) for i in range(3)]
    apart: Keys = [("embed_tokens.weight", (62, WIDTH)), (f"{embedding}.weight", (2, WIDTH)), *layers]
    apart += [("lm_head.weight", (62, WIDTH)), (f"{head}.weight", (2, WIDTH))]
    whole: Keys = [("embed_tokens.weight", (64, WIDTH)), *layers, ("lm_head.weight", (64, WIDTH))]
    assignment = match(spec(whole if back else apart), spec(apart if back else whole))
    served = found(assignment)
    for name, more in (("embed_tokens", embedding), ("lm_head", head)):
        parts, table = (f"{name}.weight", f"{more}.weight"), (f"{name}.weight",)
        assert served[parts if back else table] == Served(table if back else parts, "chunk" if back else "concat")
    assert flagged(assignment) == {key for key, _ in (apart if back else whole) if "layers" not in key}


def test_two_tables_that_add_up_to_none_by_name_are_not_joined() -> None:
    """Positions are no further words."""
    apart: Keys = [("wte.weight", (62, WIDTH)), ("wpe.weight", (2, WIDTH)), ("fc.weight", (INNER, WIDTH))]
    whole: Keys = [("wte.weight", (64, WIDTH)), ("fc.weight", (INNER, WIDTH))]
    assert match(spec(apart), spec(whole)).missing_keys == ("wte.weight",)


@pytest.mark.parametrize(("head", "sure"), [("cls.seq_relationship", False), ("cls.fc", True)])
def test_one_of_several_heads_is_not_the_only_one(head: str, sure: bool) -> None:
    """VisualBERT's `cls` for questions is not the `cls.seq_relationship` of the pretraining, though as large."""
    body: Keys = [("bert.embed.weight", (50, WIDTH)), ("bert.pooler.weight", (WIDTH, WIDTH))]
    for i in range(4):
        body += [(f"bert.layers.{i}.fc1.weight", (INNER, WIDTH)), (f"bert.layers.{i}.fc2.weight", (WIDTH, INNER))]
    mine = [*body, (f"{head}.weight", (2, WIDTH)), (f"{head}.bias", (2,))]
    assignment = match(spec(mine), spec([*body, ("cls.weight", (2, WIDTH)), ("cls.bias", (2,))]))
    assert flagged(assignment) == (set() if sure else {"cls.weight", "cls.bias"})


@pytest.mark.parametrize("lost", ["input_layernorm", "post_attention_layernorm"])
def test_which_of_two_norms_is_lost(lost: str) -> None:
    """Of GPT-NeoX in litgpt's names: the norm after the attention is the second, also where the first is missing."""
    partner = {"input_layernorm": "norm_1", "post_attention_layernorm": "norm_2"}
    mine: Keys = []
    model: Keys = []
    for i in range(3):
        mine += [(f"layers.{i}.{name}.weight", (WIDTH,)) for name in partner if name != lost]
        model += [(f"h.{i}.{name}.weight", (WIDTH,)) for name in partner.values()]
        for name, other, shape in (
            ("attention.dense", "attn.proj", (WIDTH, WIDTH)),
            ("mlp.up", "mlp.fc", (INNER, WIDTH)),
        ):
            mine.append((f"layers.{i}.{name}.weight", shape))
            model.append((f"h.{i}.{other}.weight", shape))
    assert match(spec(mine), spec(model)).missing_keys == tuple(f"h.{i}.{partner[lost]}.weight" for i in range(3))


@pytest.mark.parametrize("back", [False, True])
def test_convolutions_of_size_one_stay_convolutions(back: bool) -> None:
    """A mean and a variance are joined as kernels, though a matrix of their size stands beside them."""
    apart: Keys = [("z_mean.weight", (4, 8, 1, 1)), ("z_log_var.weight", (4, 8, 1, 1)), ("l.weight", (8, 8))]
    whole: Keys = [("moments.weight", (8, 8, 1, 1)), ("net.2.weight", (8, 8)), ("fc.weight", (3, 8))]
    apart.append(("fc.weight", (3, 8)))
    assignment = match(spec(whole if back else apart), spec(apart if back else whole))
    parts = ("z_mean.weight", "z_log_var.weight")
    wanted = (parts, Served(("moments.weight",), "chunk")) if back else (("moments.weight",), Served(parts, "concat"))
    assert found(assignment)[wanted[0]] == wanted[1]


@pytest.mark.parametrize("back", [False, True])
def test_as_many_layers_as_experts_that_are_counted_in_a_name(back: bool) -> None:
    """The experts of a layer are stacked, and not the first expert of all layers."""
    apart: Keys = []
    whole: Keys = []
    expected: Truth = {}
    for i in range(2):
        for name in ("q", "o"):
            key, other = f"block.{i}.attn.{name}.weight", f"layers_{i}.attn.{name}.kernel"
            apart.append((key, (40, WIDTH)))
            whole.append((other, (WIDTH, 40)))
            expected[(key,) if back else (other,)] = Served((other,) if back else (key,), "transpose")
        for name, shape in (("wi", (INNER, WIDTH)), ("wo", (WIDTH, INNER))):
            items = tuple(f"block.{i}.mlp.experts.expert_{e}.{name}.weight" for e in range(2))
            stack = (f"layers_{i}.mlp.expert.{name}.kernel",)
            apart += [(item, shape) for item in items]
            whole.append((stack[0], (2, *shape[::-1])))
            expected[items if back else stack] = Served(
                *((stack, "unstack+transpose") if back else (items, "transpose+stack"))
            )
    assert found(match(spec(whole if back else apart), spec(apart if back else whole))) == expected


def test_kernels_over_a_line_beside_those_over_images() -> None:
    """Where nothing shows how the first lie, the second are still turned, and the other way round."""
    mlx: Keys = []
    torch: Keys = []
    for i, channels in enumerate((3, 5)):
        mlx += [(f"layers.{i}.conv.weight", (5, 3 if i == 0 else 5, 5)), (f"layers.{i}.c2d.weight", (5, 3, 3, 5))]
        torch += [(f"layers.{i}.conv.weight", (5, 5, channels)), (f"layers.{i}.c2d.weight", (5, 5, 3, 3))]
    assert match(spec(mlx), spec(torch)).missing_keys == ()
    assert match(spec(torch), spec(mlx)).missing_keys == ()
