"""Conversions whose values are known: what the rules make of the checkpoint is the model, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import automatch
from tests.matching.networks import ResNet

State = dict[str, torch.Tensor]
HEADS, SIZE, WIDTH, INNER = 4, 6, 20, 28


def loaded(checkpoint: State, model: State, unsure: tuple[str, ...] = ()) -> automatch.Diagnosis:
    """The diagnosis, after making sure that its rules give every tensor; only `unsure` ones are flagged."""
    diagnosis = automatch.diagnose(checkpoint, {key: tensor.to("meta") for key, tensor in model.items()})
    flagged = {key for match in diagnosis.matches if match.ambiguous for key in match.model_keys}
    assert flagged <= set(unsure), str(diagnosis)
    assert diagnosis.proof.ok
    got = diagnosis.rules.apply(checkpoint)
    wrong = [key for key in model if key not in got or not torch.equal(got[key], model[key])]
    assert wrong == [], str(diagnosis)
    return diagnosis


def tensors(*shapes: tuple[str, tuple[int, ...]]) -> State:
    generator = torch.Generator().manual_seed(0)
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes}


def gemma(groups: int) -> State:
    """A transformer as PyTorch has it."""
    shapes = [("model.embed_tokens.weight", (60, WIDTH))]
    for i in range(3):
        for name, shape in {
            "self_attn.q_proj": (HEADS * SIZE, WIDTH),
            "self_attn.k_proj": (groups * SIZE, WIDTH),
            "self_attn.v_proj": (groups * SIZE, WIDTH),
            "self_attn.o_proj": (WIDTH, HEADS * SIZE),
            "mlp.gate_proj": (INNER, WIDTH),
            "mlp.up_proj": (INNER, WIDTH),
            "mlp.down_proj": (WIDTH, INNER),
            "input_layernorm": (WIDTH,),
            "post_attention_layernorm": (WIDTH,),
        }.items():
            shapes.append((f"model.layers.{i}.{name}.weight", shape))
    return tensors(*shapes, ("model.norm.weight", (WIDTH,)))


def in_einsums(model: State, groups: int, fused: bool) -> State:
    """The same weights as JAX' einsums want them: heads apart, k and v (q, k and v; gate and up) laid on each other."""
    out = {"transformer/embedder/input_embedding": model["model.embed_tokens.weight"]}
    out["transformer/final_norm/scale"] = model["model.norm.weight"]
    for i in range(3):
        own = {k.split(".", 3)[3].removesuffix(".weight"): t for k, t in model.items() if f"layers.{i}." in k}
        q, k, v = (
            own[f"self_attn.{part}_proj"].reshape(heads, SIZE, WIDTH).transpose(1, 2)
            for part, heads in (("q", HEADS), ("k", groups), ("v", groups))
        )
        layer = {
            **({"attn/qkv_einsum/w": torch.stack([q, k, v])} if fused else {}),
            **({} if fused else {"attn/q_einsum/w": q, "attn/kv_einsum/w": torch.stack([k, v])}),
            "attn/attn_vec_einsum/w": own["self_attn.o_proj"].T.reshape(HEADS, SIZE, WIDTH),
            "mlp/gating_einsum": torch.stack([own["mlp.gate_proj"].T, own["mlp.up_proj"].T]),
            "mlp/linear": own["mlp.down_proj"].T,
            "pre_attention_norm/scale": own["input_layernorm"],
            "pre_ffw_norm/scale": own["post_attention_layernorm"],
        }
        out.update({f"transformer/layer_{i}/{name}": tensor for name, tensor in layer.items()})
    return {key: out[key].contiguous() for key in sorted(out)}


@pytest.mark.parametrize(("groups", "fused"), [(1, False), (2, False), (HEADS, True)])
def test_weights_of_einsums(groups: int, fused: bool) -> None:
    model = gemma(groups)
    loaded(in_einsums(model, groups, fused), model)


@pytest.mark.parametrize("width", [SIZE * HEADS, WIDTH])
def test_one_einsum_both_ways(width: int) -> None:
    """[heads, in, size] is [in, out], also where all of its heads are as wide as the network."""
    apart = tensors(
        *((f"layer_{i}/{n}", s) for i in range(2) for n, s in
          (("q_einsum/w", (HEADS, width, SIZE)), ("vec_einsum/w", (HEADS, SIZE, width)), ("linear", (width, INNER)),
           ("gates", (INNER, INNER))))
    )  # fmt: skip
    torchs: State = {}
    for i in range(2):
        q, vec = apart[f"layer_{i}/q_einsum/w"], apart[f"layer_{i}/vec_einsum/w"]
        torchs[f"layers.{i}.q_proj.weight"] = q.transpose(1, 2).reshape(-1, width)
        torchs[f"layers.{i}.vec_proj.weight"] = vec.reshape(-1, width).T.contiguous()
        torchs[f"layers.{i}.linear.weight"] = apart[f"layer_{i}/linear"].T.contiguous()
        torchs[f"layers.{i}.gates.weight"] = apart[f"layer_{i}/gates"].T.contiguous()
    loaded(apart, torchs)
    if width == WIDTH:
        loaded(torchs, apart)


def test_parts_of_a_stack_in_the_order_that_its_name_says() -> None:
    apart = tensors(*((f"l.{i}.{p}_proj.weight", (INNER, WIDTH)) for i in range(3) for p in ("gate", "up")))
    laid = {
        f"h.{i}.up_gate_proj": torch.stack([apart[f"l.{i}.{p}_proj.weight"] for p in ("up", "gate")]) for i in range(3)
    }
    loaded(apart, laid)
    loaded(laid, apart)


def test_keys_and_values_before_queries_where_the_name_says_so() -> None:
    rows = {"q": WIDTH, "kv": 2 * WIDTH}
    apart = tensors(*((f"l.{i}.to_{part}.weight", (rows[part], WIDTH)) for i in range(3) for part in ("q", "kv")))
    fused = {f"h.{i}.kvq.weight": torch.cat([apart[f"l.{i}.to_{p}.weight"] for p in ("kv", "q")]) for i in range(3)}
    loaded(apart, fused)


def test_biases_of_parts_in_a_row() -> None:
    """RecurrentGemma keeps the biases of gate and up as [2, 1, 1, size]."""
    model = tensors(
        *((f"layers.{i}.mlp.{p}_proj.{w}", s) for i in range(3) for p in ("gate", "up") for w, s in
          (("weight", (INNER, WIDTH)), ("bias", (INNER,)))),
        *((f"layers.{i}.mlp.down_proj.{w}", s) for i in range(3) for w, s in
          (("weight", (WIDTH, INNER)), ("bias", (WIDTH,)))),
    )  # fmt: skip
    checkpoint: State = {}
    for i in range(3):
        gate, up = ({w: model[f"layers.{i}.mlp.{p}_proj.{w}"] for w in ("weight", "bias")} for p in ("gate", "up"))
        checkpoint[f"blocks.{i}.ffw_gate_up.w"] = torch.stack([gate["weight"].T, up["weight"].T])
        checkpoint[f"blocks.{i}.ffw_gate_up.b"] = torch.stack([gate["bias"], up["bias"]]).reshape(2, 1, 1, INNER)
        checkpoint[f"blocks.{i}.ffw_down.weight"] = model[f"layers.{i}.mlp.down_proj.weight"]
        checkpoint[f"blocks.{i}.ffw_down.bias"] = model[f"layers.{i}.mlp.down_proj.bias"]
    loaded(checkpoint, model)


def critics(count: int) -> State:
    sizes = {0: (16, 9), 2: (16, 16), 4: (1, 16)}
    return tensors(
        *((f"{name}.{c}.net.{i}.{w}", s[:1] if w == "bias" else s) for name in ("critics", "target_critics")
          for c in range(count) for i, s in sizes.items() for w in ("weight", "bias"))
    )  # fmt: skip


@pytest.mark.parametrize("count", [2, 7])
def test_an_ensemble_as_one_batch_of_matrices(count: int) -> None:
    """Stacks [members, in, out], and biases [members, 1, out]; the target network is no second copy."""
    apart = critics(count)
    model: State = {}
    for name in ("critics", "target_critics"):
        for i in (0, 2, 4):
            weights, biases = (
                torch.stack([apart[f"{name}.{c}.net.{i}.{w}"] for c in range(count)]) for w in ("weight", "bias")
            )
            model[f"{name.removesuffix('s')}.{i}.weight"] = weights.transpose(1, 2).contiguous()
            model[f"{name.removesuffix('s')}.{i}.bias"] = biases[:, None]
    loaded(apart, model)


def test_experts_whose_stacks_were_turned() -> None:
    """transformers 5 stores [experts, out, in] where version 4 had [experts, in, out]."""
    shapes = {"gate_up_proj": (5, 2 * INNER, WIDTH), "down_proj": (5, WIDTH, INNER)}
    model = tensors(
        *((f"layers.{i}.mlp.experts.{name}", shape) for i in range(3) for name, shape in shapes.items()),
        *((f"layers.{i}.mlp.gate.weight", (5, WIDTH)) for i in range(3)),
    )
    old = {key: t.transpose(1, 2).contiguous() if "experts" in key else t for key, t in model.items()}
    loaded(old, model)


@pytest.mark.parametrize("names", [("lora_down", "lora_up", "_"), ("lora_A", "lora_B", ".")])
def test_what_was_learnt_for_a_fused_tensor_serves_its_parts(names: tuple[str, str, str]) -> None:
    """The first half of an adapter of qkv is the first half for q, for k and for v."""
    first, second, dot = names
    checkpoint = tensors(
        *((f"lora_unet{dot}blocks{dot}{i}{dot}attn{dot}{name}.{half}.weight", shape)
          for i in range(3) for name, out in (("qkv", 3 * WIDTH), ("proj", WIDTH))
          for half, shape in ((first, (4, WIDTH)), (second, (out, 4))))
    )  # fmt: skip
    model: State = {}
    for i in range(3):
        own = f"lora_unet{dot}blocks{dot}{i}{dot}attn{dot}"
        for part, rows in zip("qkv", checkpoint[f"{own}qkv.{second}.weight"].chunk(3), strict=True):
            model[f"blocks.{i}.attn.to_{part}.lora_A.weight"] = checkpoint[f"{own}qkv.{first}.weight"]
            model[f"blocks.{i}.attn.to_{part}.lora_B.weight"] = rows.contiguous()
        model[f"blocks.{i}.attn.to_out.lora_A.weight"] = checkpoint[f"{own}proj.{first}.weight"]
        model[f"blocks.{i}.attn.to_out.lora_B.weight"] = checkpoint[f"{own}proj.{second}.weight"]
    diagnosis = automatch.diagnose(checkpoint, model)
    assert not [match for match in diagnosis.matches if match.ambiguous and "lora_B" in match.model_keys[0]]
    got = diagnosis.rules.apply(checkpoint)
    assert all(torch.equal(got[match.model_keys[0]], model[match.model_keys[0]]) for match in diagnosis.matches
               if len(match.model_keys) == 1)  # fmt: skip
    assert len(got) == len(model)


def test_a_bare_adapter_beside_its_layer() -> None:
    """loralib keeps `lora_A` in the layer, peft in a module beside `base_layer`."""
    shapes = {"weight": (WIDTH, WIDTH), "bias": (WIDTH,), "lora_A": (4, WIDTH), "lora_B": (WIDTH, 4)}
    old = tensors(
        *((f"blocks.{i}.attn.{p}.{w}", s) for i in range(3) for p in ("qkv", "fc") for w, s in shapes.items())
    )

    def in_peft(key: str) -> str:
        module, leaf = key.rsplit(".", 1)
        inside = f"{leaf}.default.weight" if "lora" in leaf else f"base_layer.{leaf}"
        return f"base_model.model.{module}.{inside}"

    loaded(old, {in_peft(key): tensor for key, tensor in old.items()})


@pytest.mark.parametrize("fused", [("q", "kv"), ("q", "k", "v")])
def test_projections_of_an_attention_pool_beside_fused_ones(fused: tuple[str, ...]) -> None:
    """Where blocks have them fused and the pool apart, and the other side the other way round."""
    rows = {"q": WIDTH, "k": WIDTH, "v": WIDTH, "kv": 2 * WIDTH}
    checkpoint = tensors(
        *((f"blocks.{i}.attn.{n}", s) for i in range(3) for n, s in
          (("qkv.weight", (3 * WIDTH, WIDTH)), ("proj.weight", (WIDTH, WIDTH)))),
        *((f"attn_pool.{p}.weight", (rows[p], WIDTH)) for p in fused),
        ("attn_pool.proj.weight", (WIDTH, WIDTH)),
    )  # fmt: skip
    model: State = {}
    for i in range(3):
        for part, tensor in zip("qkv", checkpoint[f"blocks.{i}.attn.qkv.weight"].chunk(3), strict=True):
            model[f"layers.{i}.self_attn.{part}_proj.weight"] = tensor.contiguous()
        model[f"layers.{i}.self_attn.out_proj.weight"] = checkpoint[f"blocks.{i}.attn.proj.weight"]
    model["attn_pool.in_proj_weight"] = torch.cat([checkpoint[f"attn_pool.{p}.weight"] for p in fused])
    model["attn_pool.out_proj.weight"] = checkpoint["attn_pool.proj.weight"]
    loaded(checkpoint, model)


def test_a_fused_convolution_of_linear_parts() -> None:
    checkpoint = tensors(
        *((f"stages.{i}.qkv.conv.weight", (3 * WIDTH, WIDTH, 1, 1)) for i in range(3)),
        *((f"stages.{i}.proj.conv.weight", (INNER, WIDTH, 1, 1)) for i in range(3)),
    )
    model: State = {}
    for i in range(3):
        for part, tensor in zip("qkv", checkpoint[f"stages.{i}.qkv.conv.weight"].chunk(3), strict=True):
            model[f"stages.{i}.attn.to_{part}.weight"] = tensor.reshape(WIDTH, WIDTH)
        model[f"stages.{i}.attn.to_out.weight"] = checkpoint[f"stages.{i}.proj.conv.weight"]
    loaded(checkpoint, model)


def renamed(state: State, rename: Callable[[str], str]) -> State:
    return {rename(key): tensor for key, tensor in state.items()}


def test_a_file_that_was_cast_as_a_whole() -> None:
    """`{k: v.half() for k, v in ...}` turns batch norm's counters into floats as well."""
    model = ResNet().state_dict()
    half = {key: tensor.half() for key, tensor in model.items()}
    diagnosis = automatch.diagnose(renamed(half, lambda key: key.replace("layer", "stage")), model)
    assert len(diagnosis.matches) == len(model)
    assert not any(match.ambiguous for match in diagnosis.matches)


def test_numbered_arrays_come_in_the_order_of_their_numbers() -> None:
    """Federated learners save lists of arrays, and files sort their names: arr_0, arr_1, arr_10, arr_11, arr_2."""
    layers = nn.Sequential(*(nn.Linear(3 + i, 4 + i) for i in range(12))).state_dict()
    arrays = {f"arr_{i}": tensor for i, tensor in enumerate(layers.values())}
    diagnosis = automatch.diagnose({key: arrays[key].numpy() for key in sorted(arrays)}, layers)
    got = diagnosis.rules.apply(arrays)
    assert all(np.array_equal(got[key], layers[key]) for key in layers)


def test_numbers_against_the_order_of_the_file_are_no_order() -> None:
    """Where the file is not sorted by name, its own order is the network's."""
    layers = nn.Sequential(*(nn.Linear(3 + i, 4 + i, bias=False) for i in range(5))).state_dict()
    found = {f"p{n}": tensor for n, tensor in zip((12, 3, 7, 30, 5), layers.values(), strict=True)}
    loaded(found, layers)


def test_the_first_of_two_is_the_attentions() -> None:
    old = tensors(
        *((f"h.{i}.{name}", shape) for i in range(3) for name, shape in
          (("attn.qkv.weight", (3 * WIDTH, WIDTH)), ("gating.linear.weight", (INNER, WIDTH)),
           ("layer_scale_1.scale", (WIDTH,)), ("layer_scale_2.scale", (WIDTH,))))
    )  # fmt: skip
    words = {"attn.qkv": "self_attn.qkv_proj", "gating.linear": "mlp.fc1"}
    words |= {"layer_scale_1": "self_attn_layer_scale", "layer_scale_2": "mlp_layer_scale", "h.": "layers."}

    def modern(key: str) -> str:
        for word, other in words.items():
            key = key.replace(word, other)
        return key

    model = renamed(old, modern)
    order = sorted(model, key=lambda key: (key.split(".")[1], "mlp_layer" not in key))
    loaded({key: old[key] for key in sorted(old)}, {key: model[key] for key in order})


def test_the_letters_of_w2v_are_no_value() -> None:
    old = tensors(
        ("w2v_encoder.w2v_model.proj.weight", (WIDTH, INNER)), ("w2v_encoder.w2v_model.proj.bias", (WIDTH,)),
        *((f"w2v_encoder.w2v_model.layers.{i}.fc.weight", (INNER, WIDTH)) for i in range(3)),
        ("w2v_encoder.proj.weight", (32, WIDTH)), ("w2v_encoder.proj.bias", (32,)),
    )  # fmt: skip

    def modern(key: str) -> str:
        inner = key.replace("w2v_encoder.w2v_model.", "wav2vec2.")
        return inner if inner != key else key.replace("w2v_encoder.proj", "lm_head")

    loaded(old, renamed(old, modern))


def test_tables_of_features_are_the_rows_of_one() -> None:
    sizes = (7, 11, 5, 9)
    checkpoint = tensors(
        *((f"embeddings.{i}.weight", (size, 8)) for i, size in enumerate(sizes)),
        *((f"first_order.{i}.weight", (size, 1)) for i, size in enumerate(sizes)),
        ("deep.0.weight", (16, 32)), ("deep.0.bias", (16,)), ("deep.2.weight", (3, 16)), ("deep.2.bias", (3,)),
    )  # fmt: skip
    model = {
        "embedding.weight": torch.cat([checkpoint[f"embeddings.{i}.weight"] for i in range(4)]),
        "linear.fc.weight": torch.cat([checkpoint[f"first_order.{i}.weight"] for i in range(4)]),
        **{key.replace("deep", "mlp"): tensor for key, tensor in checkpoint.items() if "deep" in key},
    }
    loaded(checkpoint, model, unsure=("linear.fc.weight",))


@pytest.mark.parametrize("depth", [2, 4])
def test_heads_one_by_one_are_the_rows_of_one_attention(depth: int) -> None:
    checkpoint = tensors(
        *((f"blocks.{i}.{name}", shape) for i in range(depth) for name, shape in
          (*((f"sa.heads.{h}.{p}.weight", (SIZE, WIDTH)) for h in range(HEADS) for p in ("key", "query", "value")),
           ("sa.proj.weight", (WIDTH, HEADS * SIZE)), ("ln1.weight", (WIDTH,)), ("ln2.weight", (WIDTH,)),
           ("ffwd.0.weight", (INNER, WIDTH)), ("ffwd.2.weight", (WIDTH, INNER))))
    )  # fmt: skip
    model: State = {}
    for i in range(depth):
        own = {k.split(".", 2)[2]: t for k, t in checkpoint.items() if k.startswith(f"blocks.{i}.")}
        rows = [own[f"sa.heads.{h}.{part}.weight"] for part in ("query", "key", "value") for h in range(HEADS)]
        model[f"h.{i}.ln_1.weight"] = own["ln1.weight"]
        model[f"h.{i}.attn.c_attn.weight"] = torch.cat(rows)
        model[f"h.{i}.attn.c_proj.weight"] = own["sa.proj.weight"]
        model[f"h.{i}.ln_2.weight"] = own["ln2.weight"]
        model[f"h.{i}.mlp.c_fc.weight"] = own["ffwd.0.weight"]
        model[f"h.{i}.mlp.c_proj.weight"] = own["ffwd.2.weight"]
    loaded(checkpoint, model)
