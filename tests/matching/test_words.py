"""Words that decide between modules of one shape: the field's synonyms, and words cut short."""

from __future__ import annotations

import pytest
from torch import nn

from automatch.matching import match
from tests.matching.built import built
from tests.matching.truth import by_rename, found, honest, renamed, solved, spec, truth


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
