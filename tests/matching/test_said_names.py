"""What names say of modules of one shape: which norm, which layer, which of two that were lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from automatch.describing.lexicon import lexicon
from automatch.matching import match
from automatch.matching.basis.leaves import leaves_of
from automatch.matching.basis.names import Names
from tests.matching.built import built, either, layered
from tests.matching.transformers import turned
from tests.matching.truth import by_rename, complete, flagged, found, honest, renamed, solved, spec, truth

BOTH = pytest.mark.parametrize("swap", [False, True], ids=["as it is", "the other way round"])
WIDTH = 16


def words(**other: str) -> Callable[[str], str]:
    """Tokens of a key, renamed."""
    return lambda key: ".".join(other.get(token, token) for token in key.split("."))


def post_norm(first: str, second: str) -> nn.Module:
    """Layers whose norms stand behind the attention and behind the mlp."""
    modules: dict[str, nn.Module] = {"embed": nn.Embedding(50, WIDTH)}
    for i in range(3):
        modules[f"layers.{i}.attn.qkv"] = nn.Linear(WIDTH, 3 * WIDTH)
        modules[f"layers.{i}.attn.out"] = nn.Linear(WIDTH, WIDTH)
        modules[f"layers.{i}.{first}"] = nn.LayerNorm(WIDTH)
        modules[f"layers.{i}.mlp.up"] = nn.Linear(WIDTH, 4 * WIDTH)
        modules[f"layers.{i}.mlp.down"] = nn.Linear(4 * WIDTH, WIDTH)
        modules[f"layers.{i}.{second}"] = nn.LayerNorm(WIDTH)
    return built(modules)


def pre_norm(first: str, second: str) -> nn.Module:
    """The same with norms before them; registered behind everything else, as in Llama, so that order tells nothing."""
    modules: dict[str, nn.Module] = {"embed": nn.Embedding(50, WIDTH)}
    for i in range(3):
        modules[f"layers.{i}.attn.qkv"] = nn.Linear(WIDTH, 3 * WIDTH)
        modules[f"layers.{i}.attn.out"] = nn.Linear(WIDTH, WIDTH)
        modules[f"layers.{i}.mlp.up"] = nn.Linear(WIDTH, 4 * WIDTH)
        modules[f"layers.{i}.mlp.down"] = nn.Linear(4 * WIDTH, WIDTH)
        modules[f"layers.{i}.{first}"] = nn.LayerNorm(WIDTH)
        modules[f"layers.{i}.{second}"] = nn.LayerNorm(WIDTH)
    return built(modules)


@BOTH
def test_norms_that_stand_behind_the_attention_and_the_mlp(swap: bool) -> None:
    """Without a norm before it, the one after the attention is the attention's."""
    checkpoint, model = post_norm("attn_ln", "mlp_ln"), post_norm("post_attention_layernorm", "post_mlp_layernorm")
    expected = by_rename(checkpoint, words(attn_ln="post_attention_layernorm", mlp_ln="post_mlp_layernorm"))
    either(swap, checkpoint, model, expected)


@BOTH
@pytest.mark.parametrize("names", [("attn_ln", "mlp_ln"), ("_self_attention_layernorm", "_feedforward_layernorm")])
def test_norms_that_stand_before_the_attention_and_the_mlp(names: tuple[str, str], swap: bool) -> None:
    """Beside an input_layernorm, the one after the attention is the one before the mlp."""
    checkpoint, model = pre_norm(*names), pre_norm("input_layernorm", "post_attention_layernorm")
    called = dict(zip(names, ("input_layernorm", "post_attention_layernorm"), strict=True))
    either(swap, checkpoint, model, by_rename(checkpoint, words(**called)))


@BOTH
def test_a_first_layer_beside_a_gate_leads_up(swap: bool) -> None:
    """ibm-fms: `wg`, `w1` and `w2` are gate, up and down; in Llama a `w1` is the gate."""
    sizes = ((16, 24), (16, 24), (24, 16))
    checkpoint, model = (
        layered(dict(zip(names, sizes, strict=True)), bias=False)
        for names in (("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"), ("ff.w1", "ff.wg", "ff.w2"))
    )
    called = {"mlp": "ff", "gate_proj": "wg", "up_proj": "w1", "down_proj": "w2"}
    either(swap, checkpoint, model, by_rename(checkpoint, words(**called)))


@BOTH
def test_a_first_layer_keeps_its_name_where_the_other_side_has_no_other_words(swap: bool) -> None:
    """A plain mlp against a gated one, or a layer that lost its gate: `w1` is `w1`."""
    plain = layered({"ff.w1": (16, 24), "ff.w2": (24, 16)}, bias=False)
    gated = layered({"ff.w1": (16, 24), "ff.wg": (16, 24), "ff.w2": (24, 16)}, bias=False)
    one, other = (gated, plain) if swap else (plain, gated)
    honest(one, other, by_rename(one, lambda key: None if "wg" in key else key))
    lost = renamed(gated, lambda key: None if key == "layers.1.ff.wg.weight" else key)
    honest(lost, gated, by_rename(lost, lambda key: key))


@pytest.mark.parametrize("names", [("linear_1", "linear_2"), ("fc1", "fc2")])
@pytest.mark.parametrize("given", [("in_layer", "out_layer"), ("out_layer", "in_layer")], ids=" ".join)
def test_the_layer_in_is_the_first_and_the_layer_out_the_second(names: tuple[str, str], given: tuple[str, str]) -> None:
    """Square ones, in either order."""
    checkpoint = layered({f"mlp.{name}": (16, 16) for name in given})
    model = layered({f"mlp.{name}": (16, 16) for name in names})
    solved(checkpoint, model, by_rename(checkpoint, words(in_layer=names[0], out_layer=names[1])))


def sequencer() -> nn.Module:
    """Layers that go over an image by columns and by rows, after Sequencer."""
    modules: dict[str, nn.Module] = {"stem": nn.Conv2d(3, 8, 3)}
    for i in range(3):
        for name in ("rnn_v", "rnn_h"):
            modules[f"layers.{i}.{name}"] = nn.LSTM(8, 4, bidirectional=True)
        modules[f"layers.{i}.fc"] = nn.Linear(16, 8)
        modules[f"layers.{i}.norm"] = nn.LayerNorm(8)
    return built(modules)


@pytest.mark.parametrize(
    ("lost", "gone"),
    [
        ("rnn_h.bias_ih", "rnn_v.bias_ih"),
        ("rnn_v.bias_hh", "rnn_h.bias_hh"),
        pytest.param(
            "rnn_h.bias",
            "rnn_v.bias",
            marks=pytest.mark.xfail(strict=True, reason="several of a module are lost: the rest is believed"),
        ),
    ],
)
def test_the_biases_of_one_network_do_not_go_to_another(lost: str, gone: str) -> None:
    """The file lacks those of the one, the model those of the other."""
    state = renamed(sequencer(), lambda key: None if lost in key else key)
    model = renamed(sequencer(), lambda key: None if gone in key else key)
    honest(state, model, by_rename(state, lambda key: None if gone in key else key))


def shuffled(names: list[str], order: str) -> nn.Module:
    """Layers with two modules of one shape, and behind them three of other shapes in the given order."""
    sizes = {"p": (16, 24), "q": (24, 20), "r": (20, 16)}
    linears = {name: (16, 16) for name in names}
    return layered(linears | {f"{name}ool": sizes[name] for name in order})


def test_names_against_the_order_are_flagged() -> None:
    """Names that are half alike, in the other order: served by name, and a person must look."""
    mine = ["amber_kind_old_slow_mixer", "topaz_big_new_blue_mixer"]
    theirs = ["topaz_hot_round_dry_mixer", "amber_cold_wet_soft_mixer"]
    checkpoint, model = shuffled(mine, "pqr"), shuffled(theirs, "qrp")
    given, wanted = spec(checkpoint), spec(model)
    assignment = match(given, wanted)
    complete(assignment, given, wanted)
    assert found(assignment) == by_rename(checkpoint, words(**dict(zip(mine, theirs[::-1], strict=True))))
    assert flagged(assignment) == {key for key in wanted.keys if "mixer" in key}


def t5(apart: bool) -> nn.Module:
    """Two decoder layers as transformers keeps them (each norm beside its part) and as T5X does (each norm named)."""
    modules: dict[str, nn.Module] = {"embed": nn.Embedding(50, WIDTH)}
    for i in range(2):
        for place, (name, part, norm) in enumerate(T5):
            home, said = (f"block.{i}.layer.{place}", "layer_norm") if apart else (f"layers.{i}", norm)
            sizes = {"wi": (WIDTH, 40), "wo": (40, WIDTH)} if place == 2 else ATTENTION
            for linear, size in sizes.items():
                modules[f"{home}.{name if apart else part}.{linear}"] = nn.Linear(*size, bias=False)
            modules[f"{home}.{said}"] = nn.LayerNorm(WIDTH, bias=False)
    return built(modules)


ATTENTION = {"key": (WIDTH, 24), "out": (24, WIDTH), "query": (WIDTH, 24), "value": (WIDTH, 24)}
T5 = (
    ("SelfAttention", "self_attention", "pre_self_attention_layer_norm"),
    ("EncDecAttention", "encoder_decoder_attention", "pre_cross_attention_layer_norm"),
    ("DenseReluDense", "mlp", "pre_mlp_layer_norm"),
)


@BOTH
def test_a_norm_is_called_by_what_stands_beside_it(swap: bool) -> None:
    """A file that is sorted by name has no order that could tell T5's norms apart."""
    places = {part: f"{place}.{name}" for place, (name, part, _) in enumerate(T5)}
    places |= {norm: f"{place}.layer_norm" for place, (_, _, norm) in enumerate(T5)}

    def rename(key: str) -> str:
        top, *rest = key.split(".")
        return key if top == "embed" else ".".join(("block", rest[0], "layer", places[rest[1]], *rest[2:]))

    given = dict(sorted(t5(apart=False).state_dict().items()))
    either(swap, given, t5(apart=True), by_rename(given, rename))


@BOTH
def test_the_norm_of_the_self_attention_is_the_first_of_two(swap: bool) -> None:
    """torchtune's `sa_norm` and `mlp_norm` are what CLIP calls `ln_1` and `ln_2`."""
    checkpoint = pre_norm("ln_1", "ln_2")
    expected = by_rename(checkpoint, words(ln_1="sa_norm", ln_2="mlp_norm"))
    either(swap, checkpoint, pre_norm("sa_norm", "mlp_norm"), expected)


@BOTH
def test_a_norm_before_the_attention_that_has_one_of_its_own(swap: bool) -> None:
    """The bare norm stands in front: it is the first, though the other one is the attention's by name."""
    modules: dict[str, nn.Module] = {"embed": nn.Embedding(50, WIDTH)}
    for i in range(3):
        modules[f"layers.{i}.norm"] = nn.LayerNorm(WIDTH)
        modules |= {f"layers.{i}.attn.{p}": nn.Linear(WIDTH, WIDTH) for p in "qkvo"}
        modules[f"layers.{i}.attn.norm"] = nn.LayerNorm(WIDTH)
        modules |= {f"layers.{i}.mlp.fc1": nn.Linear(WIDTH, 40), f"layers.{i}.mlp.fc2": nn.Linear(40, WIDTH)}
    one = built(modules)

    def rename(key: str) -> str:
        return key.replace("attn.norm", "norm2") if "attn.norm" in key else key.replace(".norm.", ".norm1.")

    other, expected = renamed(one, rename), by_rename(one, rename)
    given, wanted = (other, one) if swap else (one, other)
    honest(given, wanted, turned(expected) if swap else expected)


def test_w3_leads_down_only_beside_w12() -> None:
    """A file may hold both: a vision tower with a fused `w12`, and a Llama whose `w3` leads up."""
    given = [(f"vit.blocks.{i}.mlp.{n}.weight", s) for i in range(3) for n, s in (("w12", (48, 16)), ("w3", (16, 24)))]
    llama = {"w1": ("gate_proj", (44, 20)), "w2": ("down_proj", (20, 44)), "w3": ("up_proj", (44, 20))}
    mine = [(f"llm.layers.{i}.ff.{n}.weight", s) for i in range(3) for n, (_, s) in llama.items()]
    theirs = [(f"lm.layers.{i}.mlp.{n}.weight", s) for i in range(3) for n, s in llama.values()]
    found_keys = {m.model_keys[0]: m.checkpoint_keys[0] for m in match(spec([*given, *mine]), spec(theirs)).matches}
    assert all(found_keys[f"lm.layers.{i}.mlp.up_proj.weight"] == f"llm.layers.{i}.ff.w3.weight" for i in range(3))


@BOTH
def test_w1_and_w2_of_one_shape_do_not_say_which_is_the_gate(swap: bool) -> None:
    """In Qwen's first models `w2` is the gate, in Llama `w1` is, and there `w2` leads down."""
    mine = [(f"h.{i}.mlp.{n}.weight", s) for i in range(3) for n, s in (("w1", (40, 16)), ("w2", (40, 16)))]
    theirs = [(f"layers.{i}.mlp.{n}.weight", (40, 16)) for i in range(3) for n in ("gate_proj", "up_proj")]
    downs = [
        [(f"{p}.{i}.mlp.{n}.weight", (16, 40)) for i in range(3)] for p, n in (("h", "c_proj"), ("layers", "down_proj"))
    ]
    pair = [spec([*mine, *downs[0]]), spec([*theirs, *downs[1]])]
    matches = match(*(pair[::-1] if swap else pair)).matches
    halves = [
        one for one in matches if {"w1", "w2"} & {*one.model_keys[0].split("."), *one.checkpoint_keys[0].split(".")}
    ]
    assert len(halves) == 6 and all(one.ambiguous for one in halves)


@BOTH
def test_the_two_norms_of_bert(swap: bool) -> None:
    """`attention.output.LayerNorm` is the first of two, `output.LayerNorm` the second, whatever the file's order."""
    modules: dict[str, nn.Module] = {"embed": nn.Embedding(50, WIDTH)}
    for i in range(3):
        modules[f"layer.{i}.attention.self.qkv"] = nn.Linear(WIDTH, 3 * WIDTH)
        modules[f"layer.{i}.attention.output.dense"] = nn.Linear(WIDTH, WIDTH)
        modules[f"layer.{i}.attention.output.LayerNorm"] = nn.LayerNorm(WIDTH)
        modules[f"layer.{i}.intermediate.dense"] = nn.Linear(WIDTH, 4 * WIDTH)
        modules[f"layer.{i}.output.dense"] = nn.Linear(4 * WIDTH, WIDTH)
        modules[f"layer.{i}.output.LayerNorm"] = nn.LayerNorm(WIDTH)
    names = {
        "attention.self.qkv": "self_attn.in_proj",
        "attention.output.dense": "self_attn.out_proj",
        "attention.output.LayerNorm": "norm1",
        "intermediate.dense": "linear1",
        "output.dense": "linear2",
        "output.LayerNorm": "norm2",
    }
    one = built(modules)

    def rename(key: str) -> str:
        top, *rest = key.split(".")
        return key if top == "embed" else f"layers.{rest[0]}.{names['.'.join(rest[1:-1])]}.{rest[-1]}"

    other = dict(sorted(renamed(one, rename).items(), key=lambda item: ("norm" not in item[0], item[0])))
    expected = by_rename(one, rename)
    given, wanted = (other, one) if swap else (one, other)
    honest(given, wanted, turned(expected) if swap else expected)
    assert not flagged(match(spec(given), spec(wanted)))


def test_t5_is_no_time() -> None:
    """`mlp_t5` may be a text embedder: the 5 belongs to the t."""
    names = Names(lexicon(), tokens=(("mlp_t5", "text_embedder"), ("t_embedder",)))
    mine, text, time = (names.token_words(token) for token in ("mlp_t5", "text_embedder", "t_embedder"))
    assert names.contradiction(mine, text) == 0 < names.contradiction(time, text)


def test_norms_written_as_one_word_in_a_sorted_file() -> None:
    """Krea's `prenorm`, `postnorm`, `qnorm` and `knorm`, as a file that is sorted by name has them: backwards."""
    names = {
        "attn.qknorm.knorm": "attn.norm_k",
        "attn.qknorm.qnorm": "attn.norm_q",
        "attn.wqkv": "attn.to_qkv",
        "mlp.down": "ff.linear_out",
        "mlp.up": "ff.linear_in",
        "postnorm": "norm2",
        "prenorm": "norm1",
    }
    sizes = {"attn.wqkv": (48, 16), "mlp.up": (40, 16), "mlp.down": (16, 40), "postnorm": (16,), "prenorm": (16,)}
    order = ["prenorm", "attn.wqkv", "attn.qknorm.qnorm", "attn.qknorm.knorm", "postnorm", "mlp.up", "mlp.down"]
    file = [(f"blocks.{i}.{name}.weight", sizes.get(name, (8,))) for i in range(3) for name in sorted(names)]
    model = [(f"layers.{i}.{names[name]}.weight", sizes.get(name, (8,))) for i in range(3) for name in order]
    expected = truth((f"blocks.{i}.{a}.weight", f"layers.{i}.{b}.weight") for i in range(3) for a, b in names.items())
    assert found(match(spec(file), spec(model))) == expected


def test_the_norm_of_a_queries_norm_is_no_norm_of_keys() -> None:
    """Both are norms, and exclude each other, however they are written."""
    names = Names(lexicon())
    for query, key in (("q_norm", "k_norm"), ("qnorm", "knorm"), ("attn_q_norm", "k_norm")):
        assert names.contradiction(names.token_words(query), names.token_words(key)) > 0
        assert names.contradiction(names.token_words(query), names.token_words("norm_q")) == 0


def test_the_towers_of_llama_cpps_projector_are_no_values() -> None:
    """`v.post_ln` is the norm behind the vision tower, which Qwen2-VL has in its merger, as `ln_q`."""
    names = Names(lexicon())
    given = spec([("v.post_ln.weight", (16,)), ("a.blk.0.ln1.weight", (16,)), ("mm.0.weight", (24, 64))])
    vision, audio, _ = (leaf.path for leaf in leaves_of(given))
    assert names.contradiction(names.path_words(vision), names.path_words(("visual", "merger", "ln_q"))) == 0
    assert names.contradiction(names.path_words(audio), names.path_words(vision)) > 0
    alone = leaves_of(spec([("v.weight", (16,)), ("a.weight", (16,))]))
    assert [leaf.path[0] for leaf in alone] == ["v", "a"]
