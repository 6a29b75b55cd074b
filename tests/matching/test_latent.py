"""Multi-head latent attention: one matrix for keys and values, and the two of llama.cpp and MLX."""

from __future__ import annotations

import pytest
import torch

import automatch
from automatch.matching import match
from tests.matching.truth import spec

HEADS, LATENT, WIDTH, LAYERS = 4, 16, 32, 3
NAMES = {"llama.cpp": ("attn_k_b.weight", "attn_v_b.weight"), "MLX": ("embed_q.weight", "unembed_out.weight")}
LATENT_WORDS = "keys and values head by head"


def deepseek(keys: int, values: int) -> dict[str, torch.Tensor]:
    out = {"model.embed_tokens.weight": torch.randn(50, WIDTH)}
    for i in range(LAYERS):
        attention = f"model.layers.{i}.self_attn."
        out[attention + "q_proj.weight"] = torch.randn(HEADS * 10, WIDTH)
        out[attention + "kv_a_proj_with_mqa.weight"] = torch.randn(LATENT + 3, WIDTH)
        out[attention + "kv_b_proj.weight"] = torch.randn(HEADS * (keys + values), LATENT)
        out[attention + "o_proj.weight"] = torch.randn(WIDTH, HEADS * values)
    return out


def in_two(whole: dict[str, torch.Tensor], keys: int, names: tuple[str, str], turn: bool = False):
    """What llama.cpp and MLX make of it, as their converters do; `turn` puts the values first in the file."""
    out = {}
    for key, tensor in whole.items():
        block, end, _ = key.partition("kv_b_proj")
        if not end:
            out[key] = tensor
            continue
        heads = tensor.view(HEADS, -1, LATENT)
        parts = [(names[0], heads[:, :keys].transpose(1, 2)), (names[1], heads[:, keys:])]
        out.update((block + name, part.contiguous()) for name, part in (parts[::-1] if turn else parts))
    return out


@pytest.mark.parametrize("turn", [False, True], ids=["keys first", "values first"])
@pytest.mark.parametrize(("keys", "values"), [(6, 8), (8, 8), (LATENT, LATENT)])
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_values_arrive_both_ways(names, keys, values, turn) -> None:
    whole = deepseek(keys, values)
    two = in_two(whole, keys, names, turn)
    for source, goal, op in ((whole, two, "split_latent"), (two, whole, "join_latent")):
        found = automatch.diagnose(source, goal)
        assert found.proof.ok
        said = [m for m in found.matches if m.op == op]
        assert len(said) == LAYERS and all(m.ambiguous and LATENT_WORDS in m.reason for m in said)
        with pytest.warns(UserWarning, match="by a guess"):
            got = found.rules.apply(source)
        assert got.keys() == goal.keys() and all(torch.equal(got[key], goal[key]) for key in goal)
        back = found.rules.reverse(source)
        assert all(torch.equal(tensor, source[key]) for key, tensor in back.apply(got).items())


@pytest.mark.parametrize("back", [False, True])
def test_one_pin_is_enough_for_all_layers(back: bool) -> None:
    whole = deepseek(6, 8)
    two = in_two(whole, 6, NAMES["llama.cpp"])
    pin = ("model.layers.0.self_attn.kv_b_proj.weight", "model.layers.0.self_attn.attn_k_b.weight")
    found = automatch.diagnose(two, whole, pin=[pin[::-1]]) if back else automatch.diagnose(whole, two, pin=[pin])
    assert not any(m.ambiguous for m in found.matches) and not found.missing_keys
    assert {m.op for m in found.matches} == {"rename", "join_latent" if back else "split_latent"}


def test_the_two_in_two_dimensions_may_lie_head_by_head_too() -> None:
    """Joined one below the other, as names and shapes suggest, the rows would be those of other heads."""
    keys = [("a.q.weight", (9, 8)), ("a.k_b_proj.weight", (12, 16)), ("a.v_b_proj.weight", (16, 16))]
    answer = match(spec(keys), spec([("a.q.weight", (9, 8)), ("a.kv_b_proj.weight", (28, 16))]))
    assert {m.model_keys[0] for m in answer.matches if m.ambiguous} == {"a.kv_b_proj.weight"}


def test_a_block_without_its_pair_leaves_all_apart() -> None:
    whole = deepseek(6, 8)
    two = in_two(whole, 6, NAMES["llama.cpp"])
    del two["model.layers.1.self_attn.attn_k_b.weight"]
    assert not {m.op for m in match(spec(whole), spec(two)).matches} & {"split_latent", "join_latent"}


def test_matrices_that_do_not_fit_are_no_pair() -> None:
    """Experts' stacks stand in pairs too, and no matrix of the other side has their rows."""
    whole = deepseek(6, 8)
    two = {key.replace("attn_v_b", "attn_v"): tensor for key, tensor in in_two(whole, 6, NAMES["llama.cpp"]).items()}
    two = {key: tensor[:, :-1] if key.endswith("attn_v.weight") else tensor for key, tensor in two.items()}
    found = match(spec(whole), spec(two))
    assert {m.op for m in found.matches} == {"rename"}
