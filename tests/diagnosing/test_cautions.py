"""Notes on what libraries keep in another order inside tensors of one shape."""

from __future__ import annotations

import pytest
import torch

import automatch
from automatch.diagnosing.cautions import cautioned
from automatch.matching import match
from tests.matching.truth import spec

Keys = list[tuple[str, tuple[int, ...]]]
LAYER = {"q": (8, 8), "k": (4, 8), "v": (4, 8), "o": (8, 8)}
META = {part: f"layers.{{}}.attention.w{part}.weight" for part in LAYER}
HF = {part: f"model.layers.{{}}.self_attn.{part}_proj.weight" for part in LAYER}
TUNE = {part: f"layers.{{}}.attn.{'output' if part == 'o' else part}_proj.weight" for part in LAYER}
GGUF = {part: f"blk.{{}}.attn_{'output' if part == 'o' else part}.weight" for part in LAYER}


def keys(names: dict[str, str], *more: tuple[str, tuple[int, ...]]) -> Keys:
    return [*((names[part].format(i), shape) for i in range(2) for part, shape in LAYER.items()), *more]


def notes(mine: Keys, theirs: Keys) -> list[str]:
    checkpoint, model = spec(mine), spec(theirs)
    found = match(checkpoint, model)
    assert len(found.matches) == len(model), "the pairs themselves are found and stay"
    told = cautioned(found, checkpoint, model)
    assert told.matches == found.matches
    return [note for note in told.notes if "another order" in note]


@pytest.mark.parametrize("names", [META, TUNE, GGUF], ids=["Meta", "torchtune", "llama.cpp"])
def test_rows_of_rotary_attention(names: dict[str, str]) -> None:
    for sides in ((keys(names), keys(HF)), (keys(HF), keys(names))):
        (note,) = notes(*sides)
        assert note.startswith("4 tensors fit by name and shape") and "rotary" in note and "automatch learn" in note
        assert sides[1][0][0] in note
    assert notes(keys(names), [(f"net.{key}", shape) for key, shape in keys(names)]) == []


@pytest.mark.parametrize(
    ("names", "more", "other"),
    [
        (GGUF, "blk.0.attn_q_norm.weight", "model.layers.0.self_attn.q_norm.weight"),
        (GGUF, "blk.0.attn_q.bias", "model.layers.0.self_attn.q_proj.bias"),
        (TUNE, "layers.0.attn.q_proj.bias", "model.layers.0.self_attn.q_proj.bias"),
    ],
)
def test_families_that_are_kept_as_they_are(names: dict[str, str], more: str, other: str) -> None:
    assert notes(keys(names, (more, (8,))), keys(HF, (other, (8,)))) == []


@pytest.mark.parametrize(("rows", "differs"), [(16, True), (24, False)])
def test_shift_and_scale_of_the_last_modulation(rows: int, differs: bool) -> None:
    block: Keys = [("blocks.0.lin.weight", (5, 8)), ("blocks.1.lin.weight", (6, 8))]
    sizes = {"weight": (rows, 8), "bias": (rows,)}
    mine = [*block, *((f"final_layer.adaLN_modulation.1.{role}", shape) for role, shape in sizes.items())]
    theirs = [*block, *((f"norm_out.linear.{role}", shape) for role, shape in sizes.items())]
    found = notes(mine, theirs)
    assert [note.partition(" fits")[0] for note in found] == (["1 tensor"] if differs else [])


def test_fused_attention_head_by_head() -> None:
    mine: Keys = [(f"h.{i}.attention.query_key_value.weight", (24, 8)) for i in range(2)]
    theirs: Keys = [(f"blk.{i}.attn_qkv.weight", (24, 8)) for i in range(2)]
    (note,) = notes(mine, theirs)
    assert "head by head" in note
    assert notes(mine, [(f"net.{key}", shape) for key, shape in mine]) == []


def test_fused_attention_group_by_group() -> None:
    mine: Keys = [(f"model.layers.{i}.attention.wqkv.weight", (24, 8)) for i in range(2)]
    theirs: Keys = [(f"model.layers.{i}.self_attn.{p}_proj.weight", (8, 8)) for i in range(2) for p in "qkv"]
    checkpoint, model = spec(mine), spec(theirs)
    (note,) = cautioned(match(checkpoint, model), checkpoint, model).notes
    assert "group by group" in note


@pytest.mark.parametrize(("gates", "differs"), [("rzn", True), ("ifgo", False)])
def test_a_gru_that_is_written_out(gates: str, differs: bool) -> None:
    """Its reset gate may work before or behind the matrix; an LSTM is written in one way."""
    rows = len(gates) * 8
    torchs = [("rnn.weight_ih_l0", (rows, 5)), ("rnn.weight_hh_l0", (rows, 8))]
    apart = [(f"cell.W_{reads}{gate}.weight", (8, 5 if reads == "i" else 8)) for gate in gates for reads in "ih"]
    for sides in ((apart, torchs), (torchs, apart)):
        assert [note for note in notes_of_all(*sides) if "GRU" in note] if differs else not notes_of_all(*sides)


def notes_of_all(mine: Keys, theirs: Keys) -> list[str]:
    checkpoint, model = spec(mine), spec(theirs)
    found = match(checkpoint, model)
    assert not found.missing_keys
    return [note for note in cautioned(found, checkpoint, model).notes if "another order" in note]


def test_rows_of_rotary_attention_in_one_tensor() -> None:
    """gpt-fast's converter permutes queries and keys before it joins them; it is no InternLM2."""
    hf = [("model.embed.weight", (20, 8)), *keys(HF)]
    fast = [("tok_embeddings.weight", (20, 8))]
    for i in range(2):
        fast += [(f"layers.{i}.attention.wqkv.weight", (16, 8)), (f"layers.{i}.attention.wo.weight", (8, 8))]
    for sides in ((hf, fast), (fast, hf)):
        (note,) = notes_of_all(*sides)
        assert "gpt-fast" in note and "InternLM2" not in note


def test_it_is_said_where_weights_are_loaded() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for key, shape in keys(HF):
                module: torch.nn.Module = self
                *path, role = key.split(".")
                for token in path:
                    if token not in dict(module.named_children()):
                        module.add_module(token, torch.nn.Module())
                    module = module.get_submodule(token)
                module.register_parameter(role, torch.nn.Parameter(torch.zeros(shape)))

    file = {key: torch.randn(shape) for key, shape in keys(META)}
    with pytest.warns(UserWarning, match="another order"):
        assert "another order" in str(automatch.load(Net(), file))
    assert "another order" in str(automatch.diagnose(file, Net()).to_dict()["notes"])
