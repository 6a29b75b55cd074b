"""Rules that join and cut tensors: they reproduce the tensors, and refuse what is not whole."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from automatch.errors import RuleError
from automatch.matching.assignment import Match
from automatch.rules.induce import induce
from automatch.rules.replay import replay
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet


def proven(matches, source, target) -> RuleSet:
    rules = induce(matches, source, target)
    proof = replay(rules, matches, source, target)
    assert proof.ok, (proof, str(rules))
    assert RuleSet.from_json(json.dumps(rules.to_list())).rules == rules.rules
    return rules


def keys_of(matches):
    return [k for m in matches for k in m.checkpoint_keys], [k for m in matches for k in m.model_keys]


def test_queries_keys_and_values_of_all_layers_are_joined_by_one_rule():
    matches = [
        Match(
            (f"h.{i}.attn.qkv.{leaf}",), tuple(f"layers.{i}.self_attn.{p}_proj.{leaf}" for p in "qkv"), "concat", dim=0
        )
        for i in range(5)
        for leaf in ("weight", "bias")
    ]
    source, target = keys_of(matches)
    rules = proven(matches, source, target)
    assert len(rules) == 1
    state = {key: torch.randn(2, 3) for key in source}
    out = rules.apply(state)
    assert list(out) == target
    want = torch.cat([state[f"layers.3.self_attn.{p}_proj.weight"] for p in "qkv"])
    assert torch.equal(out["h.3.attn.qkv.weight"], want)


def test_the_order_of_the_parts_is_that_of_the_match_and_not_of_the_names():
    matches = [Match((f"b.{i}.w",), (f"b.{i}.up", f"b.{i}.gate"), "concat", dim=1) for i in range(3)]
    source, target = keys_of(matches)
    rules = proven(matches, list(reversed(source)), target)
    state = {key: np.random.rand(2, 2) for key in reversed(source)}
    out = rules.apply(state)
    assert np.array_equal(out["b.1.w"], np.concatenate([state["b.1.up"], state["b.1.gate"]], axis=1))


def test_members_whose_names_share_nothing_are_told_apart_by_their_whole_names():
    matches = [Match(("qkv",), ("alpha", "b.2", "c/d"), "concat", dim=0)]
    rules = proven(matches, ["alpha", "b.2", "c/d"], ["qkv"])
    assert rules.rules[0].pattern == r"(?P<part>alpha|b\.2|c/d)"
    assert rules.apply({"c/d": np.array([3]), "alpha": np.array([1]), "b.2": np.array([2])})["qkv"].tolist() == [
        1,
        2,
        3,
    ]


def test_stacks_whose_halves_are_named_differently_get_a_rule_for_each_half():
    sources = ("gate.0.a", "gate.1.a", "up.0.b", "up.1.b")
    matches = [Match(("experts",), sources, "stack+concat", dim=1)]
    rules = proven(matches, sources, ["experts"])
    assert [(rule.part, rule.by) for rule in rules] == [((0, 2), "e"), ((1, 2), "e")]
    out = rules.apply({key: np.full((1, 1), i) for i, key in enumerate(sources)})
    assert out["experts"].tolist() == [[[0], [2]], [[1], [3]]]


@pytest.mark.parametrize("nesting", ["part by part", "member by member"])
def test_experts_are_stacked_and_their_halves_joined_by_one_rule(nesting):
    def sources(i):
        if nesting == "part by part":
            return tuple(f"l.{i}.experts.{e}.{p}.weight" for p in ("w1", "w3") for e in range(12))
        return tuple(f"l.{i}.experts.{e}.{p}.weight" for e in range(12) for p in ("w1", "w3"))

    matches = [Match((f"l.{i}.experts.gate_up",), sources(i), "stack+concat", dim=1) for i in range(3)]
    matches += [
        Match((f"l.{i}.experts.down",), tuple(f"l.{i}.experts.{e}.w2.weight" for e in range(12)), "stack", dim=0)
        for i in range(3)
    ]
    source, target = keys_of(matches)
    rules = proven(matches, source, target)
    assert len(rules) == 2
    state = {key: torch.randn(2, 3) for key in sorted(source)}
    out = rules.apply(state)
    gate = torch.stack([state[f"l.2.experts.{e}.w1.weight"] for e in range(12)])
    up = torch.stack([state[f"l.2.experts.{e}.w3.weight"] for e in range(12)])
    assert torch.equal(out["l.2.experts.gate_up"], torch.cat([gate, up], dim=1))
    assert torch.equal(out["l.0.experts.down"], torch.stack([state[f"l.0.experts.{e}.w2.weight"] for e in range(12)]))


def test_a_fused_tensor_is_cut_in_its_proportions():
    matches = [
        Match(tuple(f"layers.{i}.{p}.weight" for p in "qkv"), (f"h.{i}.qkv.weight",), "chunk", dim=0, sizes=(4, 1, 1))
        for i in range(4)
    ]
    source, target = keys_of(matches)
    rules = proven(matches, source, target)
    assert len(rules) == 1
    state = {key: torch.randn(12, 2) for key in source}
    out = rules.apply(state)
    assert [out[f"layers.1.{p}.weight"].shape[0] for p in "qkv"] == [8, 2, 2]
    assert torch.equal(torch.cat([out[f"layers.1.{p}.weight"] for p in "qkv"]), state["h.1.qkv.weight"])


def test_what_cuts_the_only_layer_of_a_small_network_cuts_every_layer_of_a_large_one():
    one = Match(tuple(f"trm.0.{role}.weight" for role in "qkv"), ("layer.0.in_proj_weight",), "chunk", dim=0)
    rules = proven([one], one.checkpoint_keys, one.model_keys)
    assert rules.move("layer.7.in_proj_weight").targets == ("trm.7.q.weight", "trm.7.k.weight", "trm.7.v.weight")


def test_a_stack_is_taken_apart_into_as_many_as_it_holds():
    matches = [
        Match(tuple(f"l.{i}.experts.{e}.w" for e in range(3)), (f"l.{i}.experts",), "unstack", dim=0) for i in range(2)
    ]
    source, target = keys_of(matches)
    rules = proven(matches, source, target)
    assert len(rules) == 1
    out = rules.apply({"l.0.experts": np.arange(6).reshape(3, 2), "l.1.experts": np.arange(10).reshape(5, 2)})
    assert out["l.0.experts.2.w"].tolist() == [4, 5]
    assert "l.1.experts.4.w" in out


def test_chains_run_in_order():
    matches = [
        Match(
            (f"b.{i}.qkv",),
            tuple(f"e_{i}/{p}/kernel" for p in ("query", "key", "value")),
            "concat+transpose+reshape",
            dim=1,
            perm=(1, 2, 0),
            shape=(-1, 6),
        )
        for i in range(2)
    ]
    source, target = keys_of(matches)
    rules = proven(matches, source, target)
    state = {key: torch.randn(6, 2, 3) for key in source}
    want = torch.cat([state[key] for key in source[:3]], dim=1).permute(1, 2, 0).reshape(-1, 6)
    assert torch.equal(rules.apply(state)["b.0.qkv"], want)


def test_transposed_and_plain_keys_never_share_a_rule():
    matches = [
        Match((f"h.{i}.{k}",), (f"{i}/{k}",), "transpose" if k == "w" else "rename") for i in range(3) for k in "wb"
    ]
    source, target = keys_of(matches)
    rules = proven(matches, source, target)
    assert {rule.op for rule in rules} == {"transpose", "rename"}
    assert rules.apply({key: torch.zeros(2, 5) for key in source})["h.1.w"].shape == (5, 2)


STACK = Rule(r"e\.(?P<e>\d+)\.(?P<part>a|b)", "e", "stack+concat", part="part", by="e", dim=1)


@pytest.mark.parametrize(
    ("rules", "keys", "sentence"),
    [
        ([STACK], ["e.0.a", "e.0.b", "e.1.a"], "made of 4 tensors, and only 3 are there"),
        ([STACK], ["e.0.a", "e.0.b", "e.2.a", "e.2.b"], "gaps"),
        ([STACK], ["e.0.a", "e.00.a", "e.0.b"], "claim the same place"),
        ([STACK], [f"e.{'9' * 5000}.a"], "too long"),
        ([Rule("a", "x", "concat", part=(0, 2))], ["a"], "made of 2 tensors"),
        ([Rule("a", "x")], ["a", "x"], "would both become 'x'"),
        ([Rule("a", "x", "concat", part=(0, 1))], ["x", "a"], "would both become 'x'"),
        ([Rule("a", ("x", "y"), "chunk", dim=0)], ["a"], "cannot be cut"),
        ([Rule("a", "x", "transpose", perm=(0, 1, 2))], ["a"], "does not fit"),
        ([Rule("a", "x", "permute")], ["a"], "not known"),
        ([Rule("a", "x", "reshape")], ["a"], "not known"),
        ([Rule("a", "x", "reshape", shape=(2, -1))], ["a"], "does not fit"),
    ],
)
def test_what_is_not_whole_or_does_not_fit_is_refused_in_a_sentence(rules, keys, sentence):
    with pytest.raises(RuleError, match=sentence) as error:
        RuleSet(tuple(rules)).apply({key: torch.zeros(3, 3) for key in keys})
    assert "\n" not in str(error.value)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["concat", "stack", "chunk", "rename", "transpose"]),
    st.lists(st.sampled_from(["attn", "mlp", "x_1", "head", "q.w"]), min_size=1, max_size=3, unique=True),
    st.integers(1, 4),
    st.integers(2, 4),
    st.booleans(),
)
def test_any_mixture_of_operations_is_reproduced(op, units, layers, parts, plain_too):
    matches = []
    for i in range(layers):
        for unit in units:
            many = tuple(f"l.{i}.{unit}.{p}.w" for p in range(parts))
            one = (f"h.{i}.{unit}",)
            if op in ("concat", "stack"):
                matches.append(Match(one, many, op, dim=0))
            elif op == "chunk":
                matches.append(Match(many, one, op, dim=0))
            else:
                matches += [Match((f"h.{i}.{unit}.{p}",), (key,), op) for p, key in enumerate(many)]
    if plain_too:
        matches += [Match((f"z.{i}",), (f"l.{i}.plain",)) for i in range(layers)]
    source, target = keys_of(matches)
    rules = proven(matches, source, target)
    out = rules.apply({key: np.zeros((parts * 2, 3)) for key in source})
    assert sorted(out) == sorted(target)


def test_gates_and_ups_are_laid_on_each_other_by_their_names_and_taken_apart_again():
    matches = [
        Match((f"h.{i}.mlp.gating",), (f"layers.{i}.mlp.gate_proj", f"layers.{i}.mlp.up_proj"), "transpose+stack",
              dim=0, perm=(1, 0))
        for i in range(4)
    ]  # fmt: skip
    source, target = keys_of(matches)
    rules = proven(matches, list(reversed(source)), target)
    assert len(rules) == 1
    state = {key: torch.randn(2, 3) for key in reversed(source)}
    out = rules.apply(state)
    want = torch.stack([state["layers.2.mlp.gate_proj"].T, state["layers.2.mlp.up_proj"].T])
    assert torch.equal(out["h.2.mlp.gating"], want)
    back = rules.reverse(state).apply(out)
    assert all(torch.equal(back[key], state[key]) for key in source)
    with pytest.raises(RuleError, match="only 1 are there"):
        rules.apply({"layers.0.mlp.gate_proj": torch.randn(2, 3)})


def test_parts_of_a_stack_that_share_no_name_are_told_by_their_whole_names():
    matches = [Match((f"b.{i}.w",), (f"b.{i}.up", f"c.{i}.opposite.gate"), "stack", dim=0) for i in range(3)]
    source, target = keys_of(matches)
    rules = proven(matches, source, target)
    state = {key: np.random.rand(2, 2) for key in source}
    out = rules.apply(state)
    assert np.array_equal(out["b.1.w"], np.stack([state["b.1.up"], state["c.1.opposite.gate"]]))
