"""Words that decide between modules of one shape: the field's synonyms, and words cut short."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from torch import nn

from automatch.matching import match
from tests.matching.built import built
from tests.matching.truth import by_rename, flagged, found, honest, renamed, solved, spec, truth


def heads(names: list[str]) -> nn.Module:
    """A trunk, and a head of one shape for every name."""
    modules: dict[str, nn.Module] = {"stem": nn.Linear(8, 32), "body": nn.Linear(32, 24)}
    for name in names:
        modules[f"{name}.0"] = nn.Linear(24, 24)
        modules[f"{name}.1"] = nn.Linear(24, 6)
    return built(modules)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (["classification_head", "regression_head"], ["bbox_subnet", "cls_subnet"]),
        (["node_encoder", "edge_encoder"], ["bond_embed", "atom_embed"]),
        (["fwd_rnn", "bwd_rnn"], ["backward_net", "forward_net"]),
        (["rnn_fw", "rnn_bw"], ["reverse_net", "forward_net"]),
        (["time_decay", "time_first"], ["time_faaaa", "time_decay"]),
        (["src_proj", "tgt_proj"], ["target_map", "source_map"]),
        (["spatial", "temporal"], ["time_mixer", "space_mixer"]),
        (["rw", "ct", "dm"], ["dynamics", "continue", "reward"]),
    ],
)
def test_heads_in_another_order(mine: list[str], theirs: list[str]) -> None:
    """The pairs are (first, last) and so on: each second list is the first one backwards, in other words."""
    words = dict(zip(mine, theirs[::-1], strict=True))
    checkpoint, model = heads(mine), heads(theirs)

    def called(key: str) -> str:
        head, _, rest = key.partition(".")
        return f"{words.get(head, head)}.{rest}"

    solved(checkpoint, model, by_rename(checkpoint, called))


def block(fused: bool) -> dict[str, tuple[int, int]]:
    """An attention, fused or apart."""
    parts = {"attn.qkv": (96, 32)} if fused else {f"self_attn.{p}_proj": (32, 32) for p in "qkv"}
    return parts | {("attn.proj" if fused else "self_attn.out_proj"): (32, 32)}


def test_a_query_is_not_served_by_what_leads_out() -> None:
    """The fused tensors are lost: what is left is called `proj`, which is no `q_proj`."""
    checkpoint, model = (
        built({f"layers.{i}.{name}": nn.Linear(b, a) for i in range(3) for name, (a, b) in block(fused).items()})
        for fused in (True, False)
    )
    given = renamed(checkpoint, lambda key: None if "qkv" in key else key)
    out = truth((f"layers.{i}.attn.proj.{r}", f"layers.{i}.self_attn.out_proj.{r}") for i in range(3) for r in ROLES)
    assert found(honest(given, model, out)) == out


ROLES = ("weight", "bias")


def test_biases_of_w1_and_w2_follow_their_weights() -> None:
    """Two layers whose biases are of one size are no halves of something gated."""
    checkpoint = built({"aligner.w1": nn.Linear(48, 64), "aligner.w2": nn.Linear(64, 64), "stem": nn.Linear(12, 48)})
    model = built({"stem": nn.Linear(12, 48), "aligner.fc1": nn.Linear(48, 64), "aligner.fc2": nn.Linear(64, 64)})
    solved(checkpoint, model, by_rename(checkpoint, lambda key: key.replace("aligner.w", "aligner.fc")))


def test_a_head_that_the_model_holds_twice_is_served_twice_and_flagged() -> None:
    """Transformers' detection models show their heads under the decoder, too; files hold them once."""
    own = {f"model.layers.{i}.fc": nn.Linear(40, 40) for i in range(6)}
    head = {f"class_embed.{i}": nn.Linear(40, 7) for i in range(2)}
    checkpoint = built(own | {f"model.decoder.{name}": module for name, module in head.items()})
    model = built(own | {f"{at}{name}": nn.Linear(40, 7) for at in ("model.decoder.", "") for name in head})
    assignment = match(spec(checkpoint), spec(model))
    served = {keys[0]: by.checkpoint[0] for keys, by in found(assignment).items()}
    twice = {key: key.removeprefix("model.decoder.") for key in spec(checkpoint).keys if "class_embed" in key}
    assert served == {key: key for key in spec(checkpoint).keys} | {outer: inner for inner, outer in twice.items()}
    assert {m.model_keys[0] for m in assignment.matches if m.ambiguous} == set(twice.values())


def test_the_first_of_several_has_no_number() -> None:
    """Haiku counts `layer_norm`, `layer_norm_1`: the second is not the first, and `attention` is `attention_0`."""
    mine: dict[str, nn.Module] = {}
    model: dict[str, nn.Module] = {}
    pairs: list[tuple[str, str]] = []
    for i in range(4):
        for a, b in (("layer_norm", "layernorm1"), ("layer_norm_1", "layernorm2")):
            theirs = f"attention_{i}.{a}" if i else f"attention.{a}"
            mine[theirs], model[f"blocks.{i}.{b}"] = nn.LayerNorm(16), nn.LayerNorm(16)
            pairs += [(f"{theirs}.{role}", f"blocks.{i}.{b}.{role}") for role in ROLES]
        mine[theirs.replace("layer_norm_1", "linear")] = nn.Linear(16, 16 + i)
        model[f"blocks.{i}.fc"] = nn.Linear(16, 16 + i)
        pairs += [(f"{theirs.replace('layer_norm_1', 'linear')}.{role}", f"blocks.{i}.fc.{role}") for role in ROLES]
    state = built(mine).state_dict()
    solved({key: state[key] for key in sorted(state)}, built(model), truth(pairs))


@pytest.mark.parametrize("names", [["block_1", "block_2", "block"], ["enc_1", "enc_2", "enc"]])
def test_what_has_no_number_is_not_the_first_where_it_stands_last(names: list[str]) -> None:
    def blocks(of: list[str]) -> nn.Module:
        parts = {"attn": (32, 32), "up": (32, 64), "down": (64, 32)}
        return built({f"{name}.mlp.{part}": nn.Linear(*size) for name in of for part, size in parts.items()})

    theirs = ["layers.0", "layers.1", "layers.2"]
    words = dict(zip(names, theirs, strict=True))

    def called(key: str) -> str:
        name, _, rest = key.partition(".")
        return f"{words[name]}.{rest}"

    checkpoint = blocks(names)
    solved(checkpoint, blocks(theirs), by_rename(checkpoint, called))


@pytest.mark.parametrize(("mine", "theirs"), [("visual", "audio"), ("src_encoder", "tgt_encoder"), ("left", "right")])
def test_a_name_that_all_keys_share_tells_nothing_apart(mine: str, theirs: str) -> None:
    """A whole network for another purpose: `visual` and `audio` exclude each other only where there are both."""

    def network(top: str) -> nn.Module:
        modules: dict[str, nn.Module] = {f"{top}.embed": nn.Embedding(100, 32)}
        for i in range(3):
            modules |= {f"{top}.layers.{i}.up": nn.Linear(32, 64), f"{top}.layers.{i}.down": nn.Linear(64, 32)}
        return built(modules)

    checkpoint = network(mine)
    solved(checkpoint, network(theirs), by_rename(checkpoint, lambda key: key.replace(mine, theirs, 1)))


def test_a_module_goes_whole_or_not_at_all() -> None:
    """The model's `net.head.fc` is the file's `dense`: the `fc` of the file is of another size, bias apart."""
    checkpoint = {
        "x.embed": nn.Embedding(100, 64),
        "net.head.fc": nn.Linear(32, 64),
        "net.head.dense": nn.Linear(64, 64),
    }
    model = {"y.embed": nn.Embedding(100, 64), "net.head.fc": nn.Linear(64, 64)}
    pairs = [("x.embed.weight", "y.embed.weight")]
    pairs += [(f"net.head.dense.{role}", f"net.head.fc.{role}") for role in ROLES]
    honest(built(checkpoint), built(model), truth(pairs))


@pytest.mark.parametrize("turned", [False, True])
def test_towers_with_and_without_biases_are_two_kinds(turned: bool) -> None:
    """Both sides have one of each: no tensor was lost, they are built so."""
    sizes = {"qkv": (32, 96), "o": (32, 32), "up": (32, 64), "down": (64, 32)}

    def towers(names: dict[str, bool]) -> nn.Module:
        return built(
            {
                f"{name}.{i}.{part}": nn.Linear(*size, bias=bias)
                for name, bias in names.items()
                for i in range(3)
                for part, size in sizes.items()
            }
        )

    words = {"vit.layers": "visual.blocks", "gpt.layers": "lm.blocks"}
    order = list(words.values())[:: -1 if turned else 1]
    checkpoint = towers({"vit.layers": True, "gpt.layers": False})
    model = towers({name: name == "visual.blocks" for name in order})

    def called(key: str) -> str:
        return next(key.replace(a, b) for a, b in words.items() if key.startswith(a))

    solved(checkpoint, model, by_rename(checkpoint, called))


def test_the_complement_of_a_doubt_is_in_doubt() -> None:
    """Two networks and their targets, the targets first in the model: order must not decide in silence."""
    names = {"q1": "critic.0", "q2": "critic.1", "q1_targ": "critic_target.0", "q2_targ": "critic_target.1"}
    checkpoint = built({f"{name}.{i}": nn.Linear(16, 16) for name in names for i in (0, 2)})
    model = built({f"{name}.{i}": nn.Linear(16, 16) for name in sorted(names.values(), reverse=True) for i in (0, 2)})

    def called(key: str) -> str:
        name, _, rest = key.partition(".")
        return f"{names[name]}.{rest}"

    honest(checkpoint, model, by_rename(checkpoint, called))


def test_haiku_stores_square_matrices_lying() -> None:
    sizes = [
        ("mlp/~/linear/w", (8, 8)),
        ("mlp/~/linear/b", (8,)),
        ("mlp/~/linear_1/w", (8, 8)),
        ("mlp/~/linear_1/b", (8,)),
    ]
    model = spec(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)))
    assert {m.op for m in match(spec(sizes), model).matches if m.model_keys[0].endswith("weight")} == {"transpose"}


def test_a_decoder_numbered_from_the_last_on_is_flagged() -> None:
    """`dec2, dec1` onto `decoder.0, decoder.1`: the numbers say one thing, the order another."""
    names = {"enc1": "encoder.0", "enc2": "encoder.1", "dec2": "decoder.0", "dec1": "decoder.1"}
    checkpoint = built({name: nn.Linear(16, 16) for name in names})
    model = built({name: nn.Linear(16, 16) for name in names.values()})
    pairs = [(f"{a}.{role}", f"{b}.{role}") for a, b in names.items() for role in ROLES]
    assignment = honest(checkpoint, model, truth(pairs))
    assert {m.model_keys[0].partition(".")[0] for m in assignment.matches if not m.ambiguous} == {"encoder"}


def test_an_xattn_attends_across() -> None:
    """Whatever the order in which the two attentions stand."""

    def layers(names: dict[str, str], order: tuple[str, ...]) -> list[tuple[str, tuple[int, ...]]]:
        keys: list[tuple[str, tuple[int, ...]]] = []
        for i in range(3):
            keys += [(f"layers.{i}.{names[part]}.{p}.weight", (16, 16)) for part in order for p in "qkvo"]
            keys += [(f"layers.{i}.ff.{n}.weight", shape) for n, shape in enumerate(((64, 16), (16, 64)))]
        return keys

    mine = layers({"self": "attn1", "cross": "attn2"}, ("self", "cross"))
    theirs = layers({"self": "attn", "cross": "xattn"}, ("cross", "self"))
    new = {"attn1": "attn", "attn2": "xattn"}
    solved(mine, theirs, by_rename(mine, lambda key: ".".join(new.get(token, token) for token in key.split("."))))


@pytest.mark.parametrize("words", [("norm_a", "conv_a", "norm_b", "conv_b"), ("norma", "c1a", "normb", "c1b")])
def test_letters_count_modules_as_numbers_do(words: tuple[str, ...]) -> None:
    names = dict(zip(("bn1", "conv1", "bn2", "conv2"), words, strict=True))

    def blocks(called: dict[str, str]) -> nn.Module:
        parts = {key: nn.BatchNorm2d(16) if key.startswith("bn") else nn.Conv2d(16, 16, 3) for key in called}
        return built({f"blocks.{i}.{called[key]}": part for i in range(3) for key, part in parts.items()})

    checkpoint, model = blocks({key: key for key in names}), blocks(names)
    if words[0] == "norm_a":
        solved(checkpoint, model, by_rename(checkpoint, lambda key: called(key, names)))
    else:  # `norma` is a word
        honest(checkpoint, model, by_rename(checkpoint, lambda key: called(key, names)))


def called(key: str, names: dict[str, str]) -> str:
    return ".".join(names.get(token, token) for token in key.split("."))


def test_what_comes_in_is_not_what_comes_back() -> None:
    """A recurrent module without one bias and one without the other have none in common."""
    mine, theirs = nn.LSTM(8, 8), nn.LSTM(8, 8)
    checkpoint = renamed(built({"rnn": mine, "out": nn.Linear(8, 3)}), lambda k: None if "bias_ih" in k else k)
    model = renamed(built({"lstm": theirs, "out": nn.Linear(8, 3)}), lambda k: None if "bias_hh" in k else k)
    pairs = [(f"rnn.weight_{part}_l0", f"lstm.weight_{part}_l0") for part in ("ih", "hh")]
    honest(checkpoint, model, truth([*pairs, ("out.weight", "out.weight"), ("out.bias", "out.bias")]))


@pytest.mark.parametrize("ends", [("w", "b"), ("gamma", "beta"), ("scale", "shift")])
def test_a_module_may_be_two_parameters_of_one_stem(ends: tuple[str, str]) -> None:
    """Of three vectors of one size, the one beside the matrix is its bias."""
    weight, bias = ends
    checkpoint = [
        ("enc.up_w", (32, 8)),
        ("enc.up_b", (32,)),
        ("enc.down_w", (8, 32)),
        ("enc.down_b", (8,)),
        (f"enc.ln_{weight}", (8,)),
        (f"enc.ln_{bias}", (8,)),
    ]
    model = nn.ModuleDict({"norm": nn.LayerNorm(8), "fc1": nn.Linear(8, 32), "fc2": nn.Linear(32, 8)})
    pairs = {"up_w": "fc1.weight", "up_b": "fc1.bias", "down_w": "fc2.weight", "down_b": "fc2.bias"}
    pairs |= {f"ln_{weight}": "norm.weight", f"ln_{bias}": "norm.bias"}
    solved(checkpoint, model, truth((f"enc.{one}", other) for one, other in pairs.items()))


def test_to_k_leads_to_keys_and_is_no_token() -> None:
    def blocks(names: Collection[str]) -> nn.Module:
        return built({f"blocks.{i}.cross.{name}": nn.Linear(16, 16) for i in range(3) for name in names})

    parts = {"k": "to_k", "tok": "token_proj"}
    mine, theirs = blocks(parts), blocks(list(parts.values())[::-1])
    solved(mine, theirs, by_rename(mine, lambda key: called(key, parts)))


def test_a_norm_behind_what_an_attention_is_called_is_the_first() -> None:
    """`window_attn` and `ffn` are no more than the places of their norms, whatever a window is."""
    names = {"window_attn.norm": "norm1", "window_attn.qkv": "attn.qkv", "ffn.norm": "norm2", "ffn.fc": "mlp.fc1"}

    def blocks(called: Collection[str]) -> nn.Module:
        modules: dict[str, nn.Module] = {}
        for i in range(3):
            parts = {"norm": nn.LayerNorm(16), "qkv": nn.Linear(16, 48), "fc": nn.Linear(16, 64)}
            for name in called:
                kind = next(kind for kind in parts if kind in name)
                modules[f"blocks.{i}.{name}"] = nn.LayerNorm(16) if kind == "norm" else parts[kind]
        return built(modules)

    mine, theirs = blocks(names), blocks(list(names.values())[::-1])

    def new(key: str) -> str:
        old = next(old for old in names if old in key)
        return key.replace(old, names[old])

    solved(mine, theirs, by_rename(mine, new))


@pytest.mark.parametrize(
    ("mine", "theirs", "doubted"),
    [
        ("cls_head", "seg_head", True),
        ("reward_head", "value_head", True),
        ("heads.english", "heads.german", True),
        ("fc", "classifier", False),
        ("head", "lm_head", False),
    ],
)
def test_a_head_of_another_name_may_be_another_head(mine: str, theirs: str, doubted: bool) -> None:
    """All else is one and the same model, and the two heads are as large."""
    trunk: dict[str, nn.Module] = {f"layers.{i}.fc": nn.Linear(16, 16) for i in range(3)}
    assignment = match(*(spec(built({**trunk, head: nn.Linear(16, 7)})) for head in (mine, theirs)))
    assert len(assignment.matches) == 8
    assert {m.model_keys[0].rpartition(".")[0] for m in assignment.matches if m.ambiguous} == (
        {theirs} if doubted else set()
    )


@pytest.mark.parametrize("back", [False, True])
def test_a_gated_layer_is_none_of_two_matrices(back: bool) -> None:
    """StarCoder's `c_fc` and `c_proj` fit two of the three matrices of Qwen's mlp, and were learnt without a gate."""
    plain, gated = [], []
    for i in range(4):
        for side in (plain, gated):
            side.append((f"layers.{i}.self_attn.q_proj.weight", (32, 32)))
        plain += [(f"layers.{i}.mlp.c_fc.weight", (72, 32)), (f"layers.{i}.mlp.c_proj.weight", (32, 72))]
        for side, name in ((plain, "c_proj"), (gated, "down_proj")):
            side.append((f"layers.{i}.mlp.{name}.bias", (32,)))
        shapes = {"gate_proj": (72, 32), "up_proj": (72, 32), "down_proj": (32, 72)}
        gated += [(f"layers.{i}.mlp.{name}.weight", shape) for name, shape in shapes.items()]
    file, model = (gated, plain) if back else (plain, gated)
    answer = match(spec(file), spec(model))
    mlp = {key for key, _ in model if ".mlp." in key}
    assert mlp <= flagged(answer) | {*answer.missing_keys}
    assert not flagged(answer) - mlp


def test_a_gated_layer_that_lost_its_gate_is_still_one() -> None:
    shapes = {"gate_proj": (72, 32), "up_proj": (72, 32), "down_proj": (32, 72)}
    model = [(f"layers.{i}.mlp.{name}.weight", shape) for i in range(4) for name, shape in shapes.items()]
    file = [(f"blocks.{key[7:]}", shape) for key, shape in model if "gate" not in key]
    answer = match(spec(file), spec(model))
    assert found(answer) == by_rename(file, lambda key: f"layers.{key[7:]}")
    assert not flagged(answer)


def test_a_block_of_gate_up_and_down_beside_an_attention_is_no_gated_layer() -> None:
    """GGUF names all matrices of a layer side by side; an attention of two matrices is no layer without a gate."""
    file, model = [], []
    for i in range(4):
        shapes = {"attn_qkv": (96, 32), "attn_output": (32, 32), "ffn_gate": (72, 32), "ffn_up": (72, 32)}
        names = {
            "attn_qkv": "attn.qkv",
            "attn_output": "attn.proj",
            "ffn_gate": "mlp.gate_proj",
            "ffn_up": "mlp.up_proj",
        }
        shapes["ffn_down"], names["ffn_down"] = (32, 72), "mlp.down_proj"
        file += [(f"blk.{i}.{key}.weight", shape) for key, shape in shapes.items()]
        model += [(f"layers.{i}.{names[key]}.weight", shape) for key, shape in shapes.items()]
    assert not flagged(match(spec(file), spec(model)))
    assert not flagged(match(spec(model), spec(file)))


def test_of_two_gates_the_word_says_nothing() -> None:
    """keras-hub's Gemma: the second one was left over, as what is called a gate is no up-projection."""
    words = ("gating_ffw", "gating_ffw_2"), ("gate_proj", "up_proj")
    sides = []
    for first, second in words:
        sizes = {"attn": (10, 8), first: (12, 8), second: (12, 8), "down": (8, 12)}
        sides.append([(f"layers.{i}.{name}.weight", size) for i in range(2) for name, size in sizes.items()])
    answer = match(spec(sides[0]), spec(sides[1]))
    pairs = {
        (f"layers.{i}.{name}.weight",): f"layers.{i}.{first}.weight"
        for i in range(2)
        for first, name in zip(*words, strict=True)
    }
    assert {keys: found(answer)[keys].checkpoint[0] for keys in pairs} == pairs


def test_an_average_is_not_what_it_is_an_average_of() -> None:
    body = [("conv.weight", (8, 3, 3, 3)), ("out.weight", (3, 8, 3, 3))]
    given = [*body, ("vq._ema_w", (32, 8)), ("vq._embedding.weight", (32, 8))]
    wanted = [("codebook", (32, 8)), ("embed_avg", (32, 8)), *body]
    pairs = {("codebook",): "vq._embedding.weight", ("embed_avg",): "vq._ema_w"}
    answer = found(match(spec(given), spec(wanted)))
    assert {keys: answer[keys].checkpoint[0] for keys in pairs} == pairs
