"""Layers that one code base stacks (flax' `nn.scan`), with other layouts inside, against a list of layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import automatch
from automatch.matching import match
from tests.matching.truth import spec

Tensors = dict[str, torch.Tensor]
Layer = Callable[[int], Tensors]


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape)


def listed(layer: Callable[[], Tensors], depth: int, prefix: str) -> Tensors:
    return {f"{prefix}.{i}.{key}": tensor for i in range(depth) for key, tensor in layer().items()}


def gemma(depth: int = 3, width: int = 12, heads: int = 4, groups: int = 2, size: int = 5, inner: int = 28) -> Tensors:
    """A language model as transformers stores it."""

    def layer() -> Tensors:
        return {
            "self_attn.q_proj.weight": numbers(heads * size, width),
            "self_attn.k_proj.weight": numbers(groups * size, width),
            "self_attn.v_proj.weight": numbers(groups * size, width),
            "self_attn.o_proj.weight": numbers(width, heads * size),
            "mlp.gate_proj.weight": numbers(inner, width),
            "mlp.up_proj.weight": numbers(inner, width),
            "mlp.down_proj.weight": numbers(width, inner),
            "input_layernorm.weight": numbers(width),
            "post_attention_layernorm.weight": numbers(width),
        }

    return {
        "model.embed_tokens.weight": numbers(50, width),
        **listed(layer, depth, "model.layers"),
        "model.norm.weight": numbers(width),
    }


def einsum(state: Tensors, depth: int = 3, groups: int = 2, size: int = 5) -> Tensors:
    """The same model as Gemma's own code stores it: einsum weights of all layers in one tensor."""

    def every(name: str) -> torch.Tensor:
        return torch.stack([state[f"model.layers.{i}.{name}.weight"] for i in range(depth)])

    def heads(name: str) -> torch.Tensor:
        rows = every(name)
        return rows.reshape(depth, -1, size, rows.shape[-1]).transpose(2, 3)

    out = every("self_attn.o_proj").transpose(1, 2)
    return {
        "embedder/input_embedding": state["model.embed_tokens.weight"],
        "final_norm/scale": state["model.norm.weight"],
        "layers/attn/attn_vec_einsum/w": out.reshape(depth, -1, size, out.shape[-1]),
        "layers/attn/kv_einsum/w": torch.stack([heads("self_attn.k_proj"), heads("self_attn.v_proj")], 1),
        "layers/attn/q_einsum/w": heads("self_attn.q_proj"),
        "layers/mlp/gating_einsum": torch.stack([every("mlp.gate_proj"), every("mlp.up_proj")], 1).transpose(2, 3),
        "layers/mlp/linear": every("mlp.down_proj").transpose(1, 2),
        "layers/pre_attention_norm/scale": every("input_layernorm"),
        "layers/pre_ffw_norm/scale": every("post_attention_layernorm"),
    }


def siglip(depth: int = 2, width: int = 12, inner: int = 28) -> Tensors:
    """A vision tower as transformers stores it; the projections of its attention are square."""

    def layer() -> Tensors:
        shapes = {
            "layer_norm1": (width,),
            **{f"self_attn.{name}": (width, width) for name in ("k_proj", "v_proj", "q_proj", "out_proj")},
            "layer_norm2": (width,),
            "mlp.fc1": (inner, width),
            "mlp.fc2": (width, inner),
        }
        return {
            f"{name}.{role}": numbers(*(shape if role == "weight" else shape[:1]))
            for name, shape in shapes.items()
            for role in ("weight", "bias")
        }

    return {
        "embeddings.patch_embedding.weight": numbers(width, 3, 4, 4),
        "embeddings.patch_embedding.bias": numbers(width),
        "embeddings.position_embedding.weight": numbers(16, width),
        **listed(layer, depth, "encoder.layers"),
        "post_layernorm.weight": numbers(width),
        "post_layernorm.bias": numbers(width),
    }


def big_vision(state: Tensors, depth: int = 2, heads: int = 4) -> Tensors:
    """The same tower as big_vision stores it with `scan=True`."""
    out: Tensors = {
        "Transformer/encoder_norm/bias": state["post_layernorm.bias"],
        "Transformer/encoder_norm/scale": state["post_layernorm.weight"],
    }
    names = {
        "LayerNorm_0": "layer_norm1",
        "LayerNorm_1": "layer_norm2",
        "MlpBlock_0/Dense_0": "mlp.fc1",
        "MlpBlock_0/Dense_1": "mlp.fc2",
        "MultiHeadDotProductAttention_0/key": "self_attn.k_proj",
        "MultiHeadDotProductAttention_0/out": "self_attn.out_proj",
        "MultiHeadDotProductAttention_0/query": "self_attn.q_proj",
        "MultiHeadDotProductAttention_0/value": "self_attn.v_proj",
    }
    for new, old in names.items():
        bias, weight = (
            torch.stack([state[f"encoder.layers.{i}.{old}.{role}"] for i in range(depth)])
            for role in ("bias", "weight")
        )
        apart = "Attention" in new and not new.endswith("out")
        out[f"Transformer/encoderblock/{new}/bias"] = bias.reshape(depth, heads, -1) if apart else bias
        if weight.ndim == 2:
            out[f"Transformer/encoderblock/{new}/scale"] = weight
            continue
        kernel = weight.transpose(1, 2)
        if "Attention" in new:
            into = (depth, -1, heads, kernel.shape[2] // heads) if apart else (depth, heads, -1, kernel.shape[2])
            kernel = kernel.reshape(*into)
        out[f"Transformer/encoderblock/{new}/kernel"] = kernel
    return {
        **out,
        "embedding/bias": state["embeddings.patch_embedding.bias"],
        "embedding/kernel": state["embeddings.patch_embedding.weight"].permute(2, 3, 1, 0),
        "pos_embedding": state["embeddings.position_embedding.weight"][None],
    }


def carried(checkpoint: Tensors, model: Tensors) -> automatch.Diagnosis:
    """The diagnosis, after making sure that its rules give every tensor of the model, bit for bit, and nothing else."""
    diagnosis = automatch.diagnose(checkpoint=checkpoint, model={key: torch.zeros_like(model[key]) for key in model})
    same(diagnosis.rules.apply(checkpoint), model)
    return diagnosis


def same(given: Tensors, wanted: Tensors) -> None:
    assert sorted(given) == sorted(wanted)
    assert [key for key in wanted if not torch.equal(given[key], wanted[key])] == []


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_language_model_whose_layers_are_stacked(groups: int) -> None:
    """Kernels transposed, heads apart, key and value as well as gate and up laid on each other: both ways, and back."""
    state = gemma(groups=groups)
    scan = einsum(state, groups=groups)
    for checkpoint, model in ((scan, state), (state, scan)):
        diagnosis = carried(checkpoint, model)
        assert [m.model_keys for m in diagnosis.matches if m.ambiguous] == []
        back = diagnosis.rules.reverse(keys=checkpoint)
        same(back.apply(model), checkpoint)


def test_a_vision_tower_whose_layers_are_stacked() -> None:
    """No shape shows that the projections of the attention are transposed."""
    state = siglip()
    scan = big_vision(state)
    for checkpoint, model in ((scan, state), (state, scan)):
        diagnosis = carried(checkpoint, model)
        same(diagnosis.rules.reverse(keys=checkpoint).apply(model), checkpoint)


def t5x(state: Tensors, depth: int, heads: int) -> Tensors:
    """A language model as MaxText and T5X store it: layers along the second dimension, gate and up apart."""
    out: Tensors = {}
    for key, tensor in state.items():
        if ".layers." not in key:
            out[key.replace("model.", "decoder.").replace("norm.weight", "norm.scale")] = tensor
            continue
        name = key.split(".", 3)[3].removesuffix(".weight")
        layers = [state[f"model.layers.{i}.{name}.weight"] for i in range(depth)]
        kernels = [layer.t() if layer.ndim == 2 else layer for layer in layers]
        if "attn" in name:
            size = kernels[0].shape[0] // heads if "o_proj" in name else 5
            kernels = [k.reshape(heads, size, -1) if "o_proj" in name else k.reshape(len(k), -1, size) for k in kernels]
        out[f"decoder.layers.{name}.{'scale' if 'norm' in name else 'kernel'}"] = torch.stack(kernels, 1)
    return out


def test_layers_along_the_second_dimension() -> None:
    state = gemma(depth=6)
    scan = t5x(state, depth=6, heads=4)
    for checkpoint, model in ((scan, state), (state, scan)):
        diagnosis = carried(checkpoint, model)
        assert [m.model_keys for m in diagnosis.matches if m.ambiguous] == []
        same(diagnosis.rules.reverse(keys=checkpoint).apply(model), checkpoint)


@pytest.mark.parametrize("left_out", ["self_attn.k_proj", "mlp.down_proj", "input_layernorm"])
def test_a_kind_of_tensor_that_is_missing(left_out: str) -> None:
    """What is there is still found, and nothing takes the place of what is not."""
    state = gemma(groups=4)
    scan = einsum(state, groups=4)
    less = {key: tensor for key, tensor in state.items() if left_out not in key}
    wanted = {m.model_keys: m for m in match(spec(scan), spec(state)).matches}
    found = match(spec(scan), spec(less)).matches
    assert len(found) >= 6
    assert [m for m in found if not m.ambiguous and m.model_keys not in wanted] == []


def test_a_list_of_another_length_is_not_taken_for_the_stack() -> None:
    assert not any("unstack" in m.op for m in match(spec(einsum(gemma(4), 4)), spec(gemma(3))).matches)


def test_a_tensor_as_long_as_the_list_is_no_stack() -> None:
    """Both sides have lists of three layers; the three rows of `heads` are no layers, whatever their sizes are."""
    state = {**gemma(3), "heads.weight": numbers(3, 12), "heads.bias": numbers(3)}
    other = {key.replace("model.", "net."): tensor for key, tensor in state.items()}
    assert {m.op for m in match(spec(state), spec(other)).matches} == {"rename"}


def test_experts_inside_of_stacked_layers() -> None:
    """[layers, experts, in, out]: each expert is a part of the stack."""
    depth, experts = 3, 4
    state = gemma(depth)
    scan = einsum(state, depth)
    for name, shape in (("w1", (18, 12)), ("w2", (14, 18))):
        every = numbers(depth, experts, *shape)
        scan[f"layers/moe/{name}"] = every.transpose(2, 3)
        for i in range(depth):
            for e in range(experts):
                state[f"model.layers.{i}.moe.experts.{e}.{name}.weight"] = every[i, e]
    state = {key: state[key] for key in sorted(state)}
    for checkpoint, model in ((scan, state), (state, scan)):
        carried(checkpoint, model)


@pytest.mark.parametrize("groups", [4, 2])
@pytest.mark.parametrize("turned", [False, True])
def test_parts_joined_inside_of_stacked_layers(groups: int, turned: bool) -> None:
    """Query, key and value in one tensor, and up before gate in another, as their name says."""
    depth = 3
    state = gemma(depth, groups=groups)
    scan = {key: tensor for key, tensor in state.items() if ".layers." not in key}
    names = {"self_attn.qkv_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")}
    names |= {"mlp.up_gate_proj": ("mlp.up_proj", "mlp.gate_proj")}
    alone = ("self_attn.o_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm")
    for new, parts in (names | {name: (name,) for name in alone}).items():
        rows = [torch.cat([state[f"model.layers.{i}.{part}.weight"] for part in parts]) for i in range(depth)]
        kernels = [row.t() if turned and row.ndim == 2 else row for row in rows]
        scan[f"model.layers.{new}.{'kernel' if turned and rows[0].ndim == 2 else 'weight'}"] = torch.stack(kernels)
    for checkpoint, model in ((scan, state), (state, scan)):
        diagnosis = carried(checkpoint, model)
        same(diagnosis.rules.reverse(keys=checkpoint).apply(model), checkpoint)


def test_some_tensors_of_all_layers_in_one() -> None:
    """XLNet: biases of all layers lie in one tensor each; one layer of `seg_embed` is shaped as both of `r_r_bias`."""
    layers, heads, size, width = 2, 4, 5, 12
    state, whole = {"word_embedding.weight": numbers(50, width)}, {}
    for name in ("r_r_bias", "r_s_bias", "r_w_bias", "seg_embed"):
        whole[name] = numbers(layers, *([2] if name == "seg_embed" else []), heads, size)
    for i in range(layers):
        state |= {f"layer.{i}.attn.{name}": numbers(width, heads, size) for name in "qkvo"}
        state |= {f"layer.{i}.attn.{name}": tensor[i] for name, tensor in whole.items()}
        state |= {f"layer.{i}.ff.layer_1.weight": numbers(30, width), f"layer.{i}.ff.layer_1.bias": numbers(30)}
    kept = {f"model.{key}": tensor for key, tensor in state.items() if key.split(".")[-1] not in whole}
    other = {**kept, **{f"model.{name}": tensor for name, tensor in whole.items()}}
    for checkpoint, model in ((other, state), (state, other)):
        carried(checkpoint, model)


def test_a_stack_of_another_width_is_missing_and_unexpected() -> None:
    """A pair of other sizes is not said of one layer only."""
    scan, state = einsum(gemma()), gemma()
    wide = {**scan, "layers/mlp/linear": numbers(3, 31, 12)}
    assignment = match(spec(wide), spec(state))
    assert "layers/mlp/linear" in assignment.unexpected_keys
    assert [key for key in assignment.missing_keys if "down_proj" in key] == [
        f"model.layers.{i}.mlp.down_proj.weight" for i in range(3)
    ]


def test_two_stacks_of_one_length() -> None:
    """A vision tower and a language model of as many layers: each goes with its own list."""
    vision, text = siglip(depth=3), gemma(depth=3)
    state = {f"vision_tower.{key}": vision[key] for key in vision} | {
        f"language_model.{key}": text[key] for key in text
    }
    towers = {"img": big_vision(vision, depth=3), "llm": einsum(text)}
    scan = {f"params/{name}/{key}": tensor for name, tower in towers.items() for key, tensor in tower.items()}
    for checkpoint, model in ((scan, state), (state, scan)):
        carried(checkpoint, model)
