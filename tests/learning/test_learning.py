"""A checkpoint and its conversion, real files: the rules that are learnt convert others of the family bit for bit."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import learning
import numpy as np
import pytest
import relearning
import torch
from cases import CORPUS, read_cases
from safetensors.torch import load_file, save_file
from torch import nn

import automatch
from automatch.cli import main
from tests.learning.networks import (
    Llama,
    Net,
    gpt2,
    gpt2_in_pieces,
    llama_of_hugging_face,
    mixtral,
    mixtral_fused,
    trained,
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def same(made, wanted) -> bool:
    return sorted(made) == sorted(wanted) and all(torch.equal(made[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize("cast", [None, torch.bfloat16, torch.float16])
def test_rules_learnt_on_a_small_llama_convert_a_large_one(cast, tmp_path) -> None:
    small, large = trained(Llama(4, 2, 2)), trained(Llama(8, 8, 5))
    converted = llama_of_hugging_face(small)
    save_file(small.state_dict(), tmp_path / "small.safetensors")
    save_file({k: t if cast is None else t.to(cast) for k, t in converted.items()}, tmp_path / "hf.safetensors")
    save_file(large.state_dict(), tmp_path / "large.safetensors")
    files = [str(tmp_path / name) for name in ("small.safetensors", "hf.safetensors", "rules.json")]
    assert main(["learn", *files[:2], "-o", files[2]]) == 0
    assert main(["apply", files[2], str(tmp_path / "large.safetensors"), str(tmp_path / "out.safetensors")]) == 0
    assert same(load_file(tmp_path / "out.safetensors"), llama_of_hugging_face(large))
    found = automatch.learn(*files[:2])
    assert {match.op for match in found.matches} == {"rename", "interleave", "concat"}
    assert ("rounded to" in str(found)) == (cast is not None)


def test_the_rotary_rule_says_for_which_variants_it_holds() -> None:
    small = trained(Llama(4, 2, 2))
    found = automatch.learn(small.state_dict(), llama_of_hugging_face(small))
    (rule,) = [rule for rule in found.rules if rule.op == "interleave"]
    assert rule.shape == (-1, 4, 2, 1) and "of this pair" in rule.note
    scope: dict = {}
    exec(found.to_python(), scope)
    assert same(scope["convert"](small.state_dict()), llama_of_hugging_face(small))


@pytest.mark.parametrize("groups", [1, 2])
def test_one_head_does_not_tell_how_several_are_arranged(groups) -> None:
    """What is learnt of one head converts its like, and is refused, not wrong, for more."""
    small, large = trained(Llama(1, 1, 2)), trained(Llama(4, groups, 3))
    found = automatch.learn(small.state_dict(), llama_of_hugging_face(small))
    assert found.complete
    (rule,) = [rule for rule in found.rules if rule.op == "interleave"]
    assert rule.shape == (1, 4, 2, 1) and "one block of 4 times 2" in rule.note and "[-1, 4, 2, 1]" in rule.note
    other = trained(Llama(1, 1, 3))
    assert same(found.rules.apply(other.state_dict()), llama_of_hugging_face(other))
    with pytest.raises(automatch.RuleError, match=r"is not \[1, 4, 2, 1\] in size"):
        found.rules.apply(large.state_dict())
    told = automatch.RuleSet(tuple(replace(r, shape=(-1, 4, 2, 1)) if r is rule else r for r in found.rules))
    assert same(told.apply(large.state_dict()), llama_of_hugging_face(large))


def test_one_block_whose_size_differs_is_open_in_it() -> None:
    """Halves that lie row by row, in layers of different widths: the width is what differs."""
    old = {f"l.{i}.w": torch.randn(2 * n, 3) for i, n in enumerate((5, 7))}
    new = {key: tensor.view(-1, 2, 3).transpose(0, 1).reshape(tensor.shape) for key, tensor in old.items()}
    found = automatch.learn(old, new)
    assert found.complete and [rule.shape for rule in found.rules] == [(1, -1, 2, 1)]


def test_what_was_learnt_leads_back_and_can_be_pasted() -> None:
    small, large = trained(Llama(4, 2, 2)), trained(Llama(8, 4, 3))
    halves = {f"h.{i}.norm.linear.weight": torch.randn(8, 4) for i in range(2)}
    turned = {key.replace("h.", "blocks."): torch.cat(tensor.chunk(2)[::-1]) for key, tensor in halves.items()}
    old, new = {**small.state_dict(), **halves}, {**llama_of_hugging_face(small), **turned}
    found = automatch.learn(old, new)
    assert {"interleave", "flip", "concat"} < {rule.op for rule in found.rules}
    scope: dict = {}
    exec(found.to_python(), scope)
    assert same(scope["convert"](old), new)
    assert same(found.rules.reverse(large.state_dict()).apply(llama_of_hugging_face(large)), large.state_dict())
    assert same(found.rules.reverse(halves).apply(turned), halves)


def test_biases_of_zeros_norms_of_ones_and_masks_follow_their_modules() -> None:
    old, large = gpt2(3, 8), gpt2(5, 12)
    found = automatch.learn(old, gpt2_in_pieces(old))
    cut = {match.op for match in found.matches if len(match.model_keys) == 3}
    assert cut == {"chunk+transpose", "chunk"}
    assert not found.missing_keys and all("attn.bias" in key for key in found.unexpected_keys)
    assert same({k: t for k, t in found.rules.apply(large).items() if "attn.bias" not in k}, gpt2_in_pieces(large))


def test_equal_tensors_that_no_name_tells_apart_are_flagged_and_a_pin_decides() -> None:
    def side(first: str, second: str, layer: str) -> dict[str, torch.Tensor]:
        out = {}
        for i in range(2):
            generator = torch.Generator().manual_seed(i)
            out[f"{layer}.{i}.a.weight"] = torch.randn(4, 4, generator=generator)
            out[f"{layer}.{i}.{first}.gain"] = torch.ones(4)
            out[f"{layer}.{i}.{second}.gain"] = torch.ones(4)
        return out

    old, new = side("x", "y", "h"), side("alpha", "omega", "layers")
    found = automatch.learn(old, new)
    assert not found.complete and {match.model_keys[0][-11:] for match in found.doubtful} <= {
        ".alpha.gain",
        ".omega.gain",
    }
    assert found.doubtful and all("values: equal" in match.reason for match in found.doubtful)
    decided = automatch.learn(old, new, pin=[(r"h\.(\d+)\.y\.gain", r"layers.\1.alpha.gain"),
                                             (r"h\.(\d+)\.x\.gain", r"layers.\1.omega.gain")])  # fmt: skip
    assert decided.complete and decided.rules.rename("h.7.y.gain") == "layers.7.alpha.gain"
    with pytest.raises(automatch.InputError, match="the values say otherwise"):
        automatch.learn(old, new, pin={"h.0.a.weight": "layers.1.a.weight"})


def test_experts_are_stacked_and_joined() -> None:
    old, large = mixtral(2, 3, 6), mixtral(3, 4, 8)
    found = automatch.learn(old, mixtral_fused(old, 3))
    assert found.complete and same(found.rules.apply(large), mixtral_fused(large, 4))
    back = automatch.learn(mixtral_fused(old, 3), old)
    assert back.complete and same(back.rules.apply(mixtral_fused(large, 4)), large)


@pytest.mark.parametrize("kind", ["pt", "npz", "safetensors", "module"])
def test_every_kind_of_source_gives_its_values(kind, tmp_path) -> None:
    model = trained(Net())
    converted = {key.replace("features.", "backbone.stages."): t.clone() for key, t in model.state_dict().items()}
    save_file(converted, tmp_path / "new.safetensors")
    source = tmp_path / f"old.{kind}"
    if kind == "pt":
        torch.save({"epoch": 3, "model": model.state_dict(), "ema": trained(Net()).state_dict()}, source)
    elif kind == "npz":
        np.savez(source, **{key: tensor.numpy() for key, tensor in model.state_dict().items()})
    elif kind == "safetensors":
        save_file(model.state_dict(), source)
    found = automatch.learn(model if kind == "module" else source, tmp_path / "new.safetensors",
                            at="model" if kind == "pt" else None)  # fmt: skip
    assert found.complete and len(found.matches) == len(converted) and len(found.rules) == 1


def test_counters_that_only_one_side_has_do_no_harm() -> None:
    old = trained(Net()).state_dict()
    new = {f"net.{key}": tensor.clone() for key, tensor in old.items() if "tracked" not in key}
    assert automatch.learn(old, new).complete and len(automatch.learn(old, new).unexpected_keys) == 3


def test_a_tied_copy_serves_both_names_and_a_surplus_one_is_harmless() -> None:
    weight = torch.randn(7, 4)
    found = automatch.learn({"wte": weight}, {"embed.weight": weight.clone(), "head.weight": weight.clone()})
    assert found.complete and same(found.rules.apply({"wte": weight}), {"embed.weight": weight, "head.weight": weight})
    old = {"wte.weight": weight, "lm_head.weight": weight.clone(), "norm.weight": torch.randn(4)}
    found = automatch.learn(old, {"embed.weight": weight.clone(), "ln.weight": old["norm.weight"]})
    (left,) = found.unexpected_keys
    assert "same values" in found.assignment.harmless[left]


def test_of_equal_buffers_that_became_one_any_will_do_and_that_is_said() -> None:
    old = {f"layer.{i}.attention.rotary.inv_freq": torch.arange(4.0) for i in range(2)}
    old["embed.weight"] = torch.randn(5, 4)
    found = automatch.learn(old, {"embed.weight": old["embed.weight"], "rotary.inv_freq": torch.arange(4.0)})
    (guess,) = found.doubtful
    assert guess.model_keys == ("rotary.inv_freq",) and guess.ambiguous and not found.missing_keys


def test_where_values_differ_nothing_is_invented() -> None:
    other = {f"model.{key}": tensor for key, tensor in trained(Net()).state_dict().items()}
    found = automatch.learn(trained(Net()).state_dict(), other)
    counters = {key for key in other if key.endswith("num_batches_tracked")}
    assert set(found.missing_keys) >= set(other) - counters
    assert any("that very checkpoint" in note for note in found.notes)
    assert not [match for match in found.matches if not counters.issuperset(match.model_keys)]


def test_an_order_that_no_operation_describes_is_told() -> None:
    weight = torch.randn(12, 5)
    shuffled = weight[torch.randperm(12)]
    found = automatch.learn({"a": weight, "b": torch.randn(3)}, {"c": shuffled})
    assert found.missing_keys == ("c",) and any("order that no operation describes" in note for note in found.notes)


@pytest.mark.parametrize(
    "odd",
    [
        torch.eye(4).to_sparse(),
        torch.view_as_complex(torch.arange(6.0).view(3, 2)).conj(),
        torch.view_as_complex(torch.arange(6.0).view(3, 2)).conj().imag,
        torch.arange(4.0).expand(3, 4),
    ],
    ids=["sparse", "conjugate", "negative", "expanded"],
)
def test_tensors_that_are_stored_in_odd_ways_are_read(odd) -> None:
    found = automatch.learn({"a": odd, "b": torch.randn(3)}, {"c": odd.clone(), "d": torch.randn(3)})
    assert [(match.checkpoint_keys, match.model_keys) for match in found.matches] == [(("a",), ("c",))]


def test_sources_without_values_are_refused_in_a_sentence(tmp_path) -> None:
    with torch.device("meta"):
        nowhere = nn.Linear(2, 3)
    with pytest.raises(automatch.InputError, match="no values"):
        automatch.learn(nn.Linear(2, 3), nowhere)
    (tmp_path / "a.keys.json").write_text('{"keys": [["weight", [3, 2], "float32"]]}')
    with pytest.raises(automatch.InputError, match="no values"):
        automatch.learn(tmp_path / "a.keys.json", nn.Linear(2, 3))


def test_the_benchmark_measures_a_conversion_that_is_learnt(monkeypatch) -> None:
    monkeypatch.setattr(learning, "VOCABULARY", 50)
    old = learning.original(1)
    found = automatch.learn(old, learning.converted(old))
    assert found.complete and {"interleave", "concat"} <= {rule.op for rule in found.rules}


@pytest.mark.parametrize("fresh", [False, True])
def test_conversions_of_the_corpus_are_learnt_again(fresh) -> None:
    small = [case for case in read_cases([CORPUS]) if sum(prod(s) for _, s, _ in case.target) < 60_000]
    rows = [row for case in small if (row := relearning.learnt(case, fresh)) is not None]
    assert len(rows) > 5 and all(row["whole"] and not row["silent"] for row in rows)
