"""Norms that one side numbers and the other names by the parts of a layer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from torch import nn

from automatch.matching import match
from automatch.spec import StateDictSpec
from tests.matching.built import built
from tests.matching.truth import flagged, spec

NUMBERED = ("norm1", "norm2", "norm3")


def decoder(norms: Sequence[str], attentions: Sequence[str], depth: int = 2, name: str = "layers") -> StateDictSpec:
    """Decoder layers: attentions, a feed-forward part and three norms, in the order of the arguments."""
    modules: dict[str, nn.Module] = {}
    for i in range(depth):
        for attention in attentions:
            modules[f"{name}.{i}.{attention}.in_proj"] = nn.Linear(16, 48)
            modules[f"{name}.{i}.{attention}.out_proj"] = nn.Linear(16, 16)
        modules[f"{name}.{i}.linear1"] = nn.Linear(16, 64)
        modules[f"{name}.{i}.linear2"] = nn.Linear(64, 16)
        modules |= {f"{name}.{i}.{norm}": nn.LayerNorm(16) for norm in norms}
    return spec(built({**modules, "head": nn.Linear(16, 5)}))


def norms_of(checkpoint: StateDictSpec, model: StateDictSpec) -> dict[str, str]:
    """Which norm of the first layer serves which, of pairs that are not flagged."""
    pairs = {m.model_keys[0]: m.checkpoint_keys[0] for m in match(checkpoint, model).matches if not m.ambiguous}
    own = {key: mine for key, mine in pairs.items() if ".0." in key and "norm" in key and key.endswith("weight")}
    return {
        key.split(".0.")[1].removesuffix(".weight"): mine.split(".0.")[1].removesuffix(".weight")
        for key, mine in own.items()
    }


TORCH = ("self_attn", "multihead_attn")


@pytest.mark.parametrize(
    "named",
    [
        ("feed_forward_norm", "self_norm", "cross_norm"),
        ("cross_attn_norm", "ffn_norm", "self_attn_norm"),
        ("pos_ffn.layer_norm", "enc_attn.layer_norm", "slf_attn.layer_norm"),
    ],
)
def test_the_number_of_a_norm_says_which_part_runs_before_it(named: tuple[str, ...]) -> None:
    """The own layer registers its norms in an order in which they do not run."""
    part = {"s": "norm1", "c": "norm2", "e": "norm2", "f": "norm3", "p": "norm3"}
    wanted = {name: part[name[0]] for name in named}
    numbered, model = decoder(NUMBERED, TORCH), decoder(named, TORCH)
    assert norms_of(numbered, model) == wanted
    assert norms_of(model, numbered) == {number: name for name, number in wanted.items()}


def test_the_cross_attention_may_come_first() -> None:
    """`norm1` of Deformable DETR's decoder is the cross-attention's, which is registered first."""
    named = ("ffn_norm", "self_attn_norm", "cross_attn_norm")
    wanted = {"cross_attn_norm": "norm1", "self_attn_norm": "norm2", "ffn_norm": "norm3"}
    assert norms_of(decoder(NUMBERED, ("cross_attn", "self_attn")), decoder(named, TORCH)) == wanted


def test_a_fourth_norm_leaves_them_in_doubt() -> None:
    """SAM has two cross-attentions, and the numbers of its norms count both."""
    named = ("ffn_norm", "self_attn_norm", "cross_attn_norm", "back_norm")
    answer = match(decoder((*NUMBERED, "norm4"), TORCH), decoder(named, TORCH))
    assert {f"layers.{i}.{name}.weight" for i in (0, 1) for name in named} <= flagged(answer)
