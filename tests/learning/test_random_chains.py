"""Whatever chain of operations a conversion is made of, it is found, and the rules do it again bit for bit."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import automatch

SIZES = st.sampled_from([2, 3, 4, 6])
CASTS = st.sampled_from([None, torch.float16, torch.bfloat16])


def rows_woven(tensor, a, b, c):
    """The rows seen as [a, b, c, rest], b and c exchanged."""
    rest = tensor.shape[0] // (a * b * c)
    return tensor.view(a, b, c, rest, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


@st.composite
def conversions(draw):
    """A checkpoint of a few layers, the same after a random conversion, and whether it was cast."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def tensor(*shape):
        return torch.randn(shape, generator=generator)

    layers, width, heads, half = draw(st.integers(2, 3)), draw(SIZES), draw(st.integers(1, 3)), draw(st.integers(2, 3))
    rows = heads * half * 2
    kinds = draw(
        st.lists(
            st.sampled_from(
                ["rename", "transpose", "reshape", "turn4", "transpose_reshape", "heads", "rotary", "rotary_turned", "concat",
                 "concat_turned", "concat_1", "stack", "experts", "experts_turned", "chunk", "chunk_unequal", "fused_heads",
                 "unstack", "cut_experts", "bias"]
            ),
            min_size=1, max_size=5, unique=True,
        )
    )  # fmt: skip
    before, after = {}, {}
    for layer in range(layers):
        for kind in kinds:
            one, other = _converted(kind, tensor, width, heads, half, rows)
            before.update({f"net.{layer}.{kind}.{key}": value for key, value in one.items()})
            after.update({f"model.layers.{layer}.{kind}_new.{key}": value for key, value in other.items()})
    return before, {key: value.contiguous().clone() for key, value in after.items()}, draw(CASTS)


def _converted(kind, tensor, width, heads, half, rows):
    """The tensors of one module before and after its conversion."""
    if kind == "rename":
        return {"weight": (w := tensor(rows, width))}, {"weight": w}
    if kind == "bias":
        w, b = tensor(rows, width), torch.zeros(rows)
        return {"weight": w, "bias": b, "running_mean": b}, {"weight": w, "bias": b, "running_mean": b}
    if kind == "transpose":
        return {"kernel": (w := tensor(rows, width + 1))}, {"weight": w.T}
    if kind == "reshape":
        return {"weight": (w := tensor(rows, width, 1, 1))}, {"weight": w.view(rows, width)}
    if kind == "turn4":
        return {"kernel": (w := tensor(3, 2, width, rows + 1))}, {"weight": w.permute(3, 2, 0, 1)}
    if kind == "transpose_reshape":
        return {"kernel": (w := tensor(width + 3, heads, 2 * half + 1))}, {"weight": w.permute(1, 2, 0).reshape(-1, width + 3)}
    if kind == "heads":
        return {"kernel": (w := tensor(width + 3, heads + 1, 2 * half))}, {"weight": w.reshape(width + 3, -1).T}
    if kind == "rotary":
        return {"weight": (w := tensor(rows, width))}, {"weight": rows_woven(w, heads, half, 2)}
    if kind == "rotary_turned":
        return {"kernel": (w := tensor(width + 3, rows))}, {"weight": rows_woven(w.T.contiguous(), heads, half, 2)}
    parts = [tensor(rows, width) for _ in range(6)]
    names = ("q.weight", "k.weight", "v.weight")
    qkv = dict(zip(names, parts, strict=False))
    unequal = dict(zip(names, (parts[0], *(tensor(heads, width) for _ in range(2))), strict=True))
    experts = [f"experts.{i}.w{j}.weight" for j in (1, 3) for i in range(3)]
    if kind == "concat":
        return unequal, {"qkv.weight": torch.cat(list(unequal.values()))}
    if kind == "concat_1":
        return qkv, {"qkv.weight": torch.cat(parts[:3], dim=1)}
    if kind == "concat_turned":
        return qkv, {"qkv.kernel": torch.cat(parts[:3]).T}
    if kind == "stack":
        return {f"{i}.weight": w for i, w in enumerate(parts)}, {"weight": torch.stack(parts)}
    if kind in ("experts", "experts_turned", "cut_experts"):
        fused = torch.cat([torch.stack(parts[:3]), torch.stack(parts[3:])], dim=1)
        several = dict(zip(experts, parts, strict=True))
        if kind == "cut_experts":
            return {"gate_up": fused}, several
        return several, {"gate_up": fused if kind == "experts" else fused.transpose(1, 2)}
    if kind == "chunk":
        return {"qkv.weight": torch.cat(parts[:3])}, qkv
    if kind == "chunk_unequal":
        return {"qkv.weight": torch.cat(list(unequal.values()))}, unequal
    if kind == "fused_heads":
        fused = torch.stack([w.view(heads, -1, width) for w in parts[:3]], dim=1).reshape(-1, width)
        return {"qkv.weight": fused}, qkv
    assert kind == "unstack", kind
    return {"weight": torch.stack(parts, dim=1)}, {f"{i}.weight": w for i, w in enumerate(parts)}


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(conversions())
def test_every_chain_is_found_and_done_again(case) -> None:
    before, after, cast = case
    converted = after if cast is None else {key: value.to(cast) for key, value in after.items()}
    found = automatch.learn(before, converted)
    assert found.complete, str(found)
    made = found.rules.apply(before)
    assert sorted(made) == sorted(after)
    assert all(torch.equal(made[key], value) for key, value in after.items()), str(found)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(conversions(), st.data())
def test_a_tensor_of_other_values_is_never_put_to_anything(case, data) -> None:
    before, after, _ = case
    key = data.draw(st.sampled_from(sorted(after)))
    after[key] = after[key] + torch.linspace(1, 2, after[key].numel()).view(after[key].shape)
    found = automatch.learn(before, after)
    assert key in found.missing_keys and not found.complete
    assert all(key not in match.model_keys for match in found.matches)
