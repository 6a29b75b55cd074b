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
            st.sampled_from(sorted({*ALONE, *JOINED, *CUT, "flax", "cut_flax"})), min_size=1, max_size=5, unique=True
        )
    )
    before, after = {}, {}
    for layer in range(layers):
        for kind in kinds:
            one, other = _converted(kind, tensor, width, heads, half, rows)
            before.update({f"net.{layer}.{kind}.{key}": value for key, value in one.items()})
            after.update({f"model.layers.{layer}.{kind}_new.{key}": value for key, value in other.items()})
    return before, {key: value.contiguous().clone() for key, value in after.items()}, draw(CASTS)


def _converted(kind, tensor, width, heads, half, rows):
    """The tensors of one module before and after its conversion."""
    if kind in ALONE:
        shape, happens = ALONE[kind](width, heads, half, rows)
        weight = tensor(*shape)
        return {"weight": weight, "bias": torch.zeros(rows)}, {"kernel": happens(weight), "bias": torch.zeros(rows)}
    parts = [tensor(rows, width) for _ in range(6)]
    if kind.endswith("flax"):
        apart = {key: tensor(width + 3, heads + 1, 2 * half) for key in QKV}
        biases = {key.replace("weight", "bias"): torch.zeros(heads + 1, 2 * half) for key in QKV}
        joined = torch.cat([t.reshape(width + 3, -1).T for t in apart.values()])
        fused = {"qkv.weight": joined, "qkv.bias": torch.zeros(len(joined))}
        return (fused, {**apart, **biases}) if kind == "cut_flax" else ({**apart, **biases}, fused)
    if kind in JOINED:
        keys, happens = JOINED[kind]
        chosen = [part[: heads if "unequal" in kind and i else None] for i, part in enumerate(parts[: len(keys)])]
        return dict(zip(keys, chosen, strict=True)), {"fused": happens(chosen, heads)}
    keys, happens = JOINED[CUT[kind]]
    chosen = [part[: heads if "unequal" in kind and i else None] for i, part in enumerate(parts[: len(keys)])]
    return {"fused": happens(chosen, heads)}, dict(zip(keys, chosen, strict=True))


ALONE = {
    "rename": lambda w, h, d, r: ((r, w), lambda t: t),
    "transpose": lambda w, h, d, r: ((r, w + 1), lambda t: t.T),
    "reshape": lambda w, h, d, r: ((r, w, 1, 1), lambda t: t.view(r, w)),
    "turn": lambda w, h, d, r: ((3, 2, w, r + 1), lambda t: t.permute(3, 2, 0, 1)),
    "turn_reshape": lambda w, h, d, r: ((w + 3, h, 2 * d + 1), lambda t: t.permute(1, 2, 0).reshape(-1, w + 3)),
    "heads": lambda w, h, d, r: ((w + 3, h + 1, 2 * d), lambda t: t.reshape(w + 3, -1).T),
    "halves": lambda w, h, d, r: ((r, w), lambda t: torch.cat(t.chunk(2)[::-1])),
    "halves_turned": lambda w, h, d, r: ((w + 3, r), lambda t: torch.cat(t.T.chunk(2)[::-1])),
    "mirrored": lambda w, h, d, r: ((r, w, 3), lambda t: t.flip(2)),
    "rotary": lambda w, h, d, r: ((r, w), lambda t: rows_woven(t, h, d, 2)),
    "rotary_turned": lambda w, h, d, r: ((w + 3, r), lambda t: rows_woven(t.T.contiguous(), h, d, 2)),
}
"""From width, heads, half a head and rows: the shape before, and what happens."""

QKV = ("q.weight", "k.weight", "v.weight")
LIST = tuple(f"{i}.weight" for i in range(6))
EXPERTS = tuple(f"experts.{i}.w{j}.weight" for j in (1, 3) for i in range(3))


def _experts(parts):
    return torch.cat([torch.stack(parts[:3]), torch.stack(parts[3:])], dim=1)


JOINED = {
    "concat": (QKV, lambda parts, h: torch.cat(parts)),
    "concat_unequal": (QKV, lambda parts, h: torch.cat(parts)),
    "concat_1": (QKV, lambda parts, h: torch.cat(parts, dim=1)),
    "concat_turned": (QKV, lambda parts, h: torch.cat(parts).T),
    "concat_heads": (
        QKV,
        lambda parts, h: torch.stack([t.view(h, -1, t.shape[1]) for t in parts], dim=1).reshape(-1, parts[0].shape[1]),
    ),
    "stack": (LIST, lambda parts, h: torch.stack(parts)),
    "stack_1": (LIST, lambda parts, h: torch.stack(parts, dim=1)),
    "stack_turned": (LIST, lambda parts, h: torch.stack([t.T for t in parts])),
    "experts": (EXPERTS, lambda parts, h: _experts(parts)),
    "experts_turned": (EXPERTS, lambda parts, h: _experts(parts).transpose(1, 2)),
}
"""The keys of the parts, and the tensor that they make."""

CUT = {f"cut_{kind}": kind for kind in JOINED}


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
    key = data.draw(st.sampled_from(sorted(k for k in after if after[k].any())))
    after[key] = after[key] + torch.linspace(1, 2, after[key].numel()).view(after[key].shape)
    found = automatch.learn(before, after)
    assert key in found.missing_keys and not found.complete
    assert all(key not in match.model_keys for match in found.matches)
