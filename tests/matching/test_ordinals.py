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


def both(one: StateDictSpec, other: StateDictSpec) -> StateDictSpec:
    """Two networks in one file, without their heads."""
    return StateDictSpec("both", tuple(t for t in (*one.tensors, *other.tensors) if not t.key.startswith("head")))


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


@pytest.mark.parametrize("behind", [False, True])
def test_the_cross_attention_may_come_first(behind: bool) -> None:
    """Each norm of Deformable DETR's decoder stands behind its attention, and `norm1` is the cross-attention's.

    Where all stand behind the layer's end, that the cross-attention is registered first says nothing.
    """
    named = ("ffn_norm", "self_attn_norm", "cross_attn_norm")
    modules: dict[str, nn.Module] = {}
    for i in range(2):
        parts: dict[str, nn.Module] = {}
        for n, attention in enumerate(("cross_attn", "self_attn"), 1):
            parts |= {f"{attention}.in_proj": nn.Linear(16, 48), f"{attention}.out_proj": nn.Linear(16, 16)}
            parts |= {f"norm{n}": nn.LayerNorm(16)} if behind else {}
        parts |= {"linear1": nn.Linear(16, 64), "linear2": nn.Linear(64, 16)}
        parts |= {f"norm{n}": nn.LayerNorm(16) for n in (1, 2, 3) if f"norm{n}" not in parts}
        modules |= {f"layers.{i}.{name}": part for name, part in parts.items()}
    numbered = spec(built({**modules, "head": nn.Linear(16, 5)}))
    first, second = ("cross_attn_norm", "self_attn_norm") if behind else ("self_attn_norm", "cross_attn_norm")
    assert norms_of(numbered, decoder(named, TORCH)) == {first: "norm1", second: "norm2", "ffn_norm": "norm3"}


def test_doubts_of_the_whole_layer_stay() -> None:
    """Which of two equal decoders is which the numbers of their norms do not say."""
    named = ("ffn_norm", "self_norm", "cross_norm")
    mine, theirs = (
        [decoder(own, TORCH, name=name) for name in pair]
        for own, pair in ((NUMBERED, ("dec_A", "dec_B")), (named, ("fw", "bw")))
    )
    answer = match(both(*mine), both(*theirs))
    assert {key for key in both(*theirs).keys if "norm" in key} <= flagged(answer)


def test_a_file_that_is_sorted_says_nothing_of_the_order() -> None:
    """safetensors sorts its keys: there `multihead_attn` stands before `self_attn` in every layer."""
    named = ("ffn_norm", "self_norm", "cross_norm")
    whole = decoder(NUMBERED, TORCH)
    file = StateDictSpec(whole.name, tuple(sorted(whole.tensors)))
    assert "norm2" not in norms_of(file, decoder(named, TORCH)).get("self_norm", "")


def test_a_fourth_norm_leaves_them_in_doubt() -> None:
    """SAM has two cross-attentions, and the numbers of its norms count both."""
    named = ("ffn_norm", "self_attn_norm", "cross_attn_norm", "back_norm")
    answer = match(decoder((*NUMBERED, "norm4"), TORCH), decoder(named, TORCH))
    assert {f"layers.{i}.{name}.weight" for i in (0, 1) for name in named} <= flagged(answer)
