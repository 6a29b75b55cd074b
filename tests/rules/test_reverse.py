"""Rules that lead back: every key goes there and back, with its values; what cannot be undone is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from automatch import RuleSet
from automatch.errors import RuleError

H = r"(?P<i>\d+)"


def rules(*entries) -> RuleSet:
    """Rules from (pattern, replacement, further fields)."""
    return RuleSet.from_list(
        {"pattern": pattern, "replacement": replacement, **(more[0] if more else {})}
        for pattern, replacement, *more in entries
    )


def there_and_back(forward: RuleSet, tensors: dict) -> RuleSet:
    """The rules back, after every tensor came back bit for bit."""
    back = forward.reverse(tensors)
    came = back.apply(forward.apply(tensors))
    assert came.keys() == tensors.keys()
    assert all(np.array_equal(came[key], tensors[key]) for key in tensors)
    assert RuleSet.from_json(json.dumps(back.to_list())).rules == back.rules
    return back


def tensors(**shapes) -> dict:
    start = 0
    out = {}
    for key, shape in shapes.items():
        size = int(np.prod(shape))
        out[key.replace("__", ".")] = torch.arange(start, start + size).reshape(shape)
        start += size
    return out


@pytest.mark.parametrize(
    ("pattern", "replacement", "back", "key"),
    [
        (rf"h\.{H}\.(?P<rest>.+)", "layers.{i}.{rest}", "h.{i}.{rest}", "h.3.w"),
        (rf"h\.{H}\.w", "layers.{i+1}.v", "h.{i-1}.w", "h.3.w"),
        (rf"h\.{H}\.w", "layers.{3-i}.v", "h.{3-i}.w", "h.1.w"),
        (r"h\.(?P<i>\d*[13579])\.w", "layers.{i+1}.v", "h.{i-1}.w", "h.13.w"),
        (r"h\.(?P<i>\d*[02468])\.w", "layers.{8-i}.v", "h.{8-i}.w", "h.6.w"),
        (r"h\.(?P<i>1|2)\.(?P<a>q|k)", "{a}.{i-1}.x", "h.{i+1}.{a}", "h.2.q"),
        (rf"{{}}\.{H}\.w", "x{{{{.{i}", "{{{{}}}}.{i}.w", "{}.4.w"),
    ],
)
def test_a_rule_that_keeps_everything_is_turned_round_without_keys(pattern, replacement, back, key):
    pattern = pattern.replace("{}", r"\{\}")
    replacement, back = replacement.replace("{{{{", "{{").replace("}}}}", "}}"), back.replace("{{{{}}}}", "{{}}")
    forward = rules((pattern, replacement))
    turned = forward.reverse()
    assert turned[0].replacement == back
    assert turned[0].note == "undoes rule 1"
    assert turned.rename(forward.rename(key)) == key != forward.rename(key)


@pytest.mark.parametrize(
    ("pattern", "replacement", "more", "said"),
    [
        (r"a\.(?:x|y)\.(?P<r>.+)", "b.{r}", {}, r"rule 1: drops what (?:x|y) matches"),
        (rf"h\.{H}\.w", "h.{i//2}.v", {}, "rule 1: calculates {i//2}, which does not tell the numbers"),
        (rf"h\.{H}\.(?P<j>\d+)", "h.{i*2+j}", {}, "rule 1: calculates {i*2+j}"),
        (rf"h\.{H}\.w", "h.{i+0}.v", {}, "rule 1: takes zeros away in front of 'i'"),
        (rf"h\.{H}\.w", "h.{i//10}{i%10}.v", {}, "rule 1: calculates {i//10}"),
        (rf"h\.{H}\.w", "h.v", {}, "rule 1: captures 'i' and does not keep it"),
        (r"module\.(?P<rest>.+)", "{rest}", {}, "rule 1: takes away all the words it is known by"),
        (r"(?P<part>q|k)\.w", "qk.w", {"op": "concat", "part": "part", "dim": 0}, "rule 1: joins tensors, whose sizes"),
        (r"c\.w", "l.w", {"op": "reshape", "shape": [0, -1]}, "rule 1: has the operation reshape"),
        (r"(?P<part>q|k)\.w", "qk.w", {"op": "stack", "part": "part"}, "rule 1: joins tensors, whose names"),
        (r"a\.\w+", "b", {}, r"rule 1: drops what \w+ matches"),
        (r"a(?P<x>\.y)?", "b{x}", {}, "rule 1: may capture 'x' never or several times"),
    ],
)
def test_what_a_rule_forgets_is_named(pattern, replacement, more, said):
    with pytest.raises(RuleError) as caught:
        rules((pattern, replacement, more)).reverse()
    assert said in str(caught.value)
    assert "reverse(keys=...)" in str(caught.value)


def test_the_named_members_of_a_stack_are_laid_on_each_other_again():
    forward = rules((rf"c\.{H}\.w", ["l.{i}.q", "l.{i}.k"], {"op": "unstack"}))
    there_and_back(forward, tensors(c__0__w=(2, 3), c__1__w=(2, 5)))
    assert [rule.part for rule in forward.reverse()] == [(0, 2), (1, 2)]


def test_every_rule_that_cannot_be_reversed_is_named_at_once():
    with pytest.raises(RuleError, match=r"rule 1: drops .*; rule 3: calculates"):
        rules((r"a\.(?:x|y)", "b"), (r"c\.w", "d.w"), (rf"e\.{H}", "f.{i%2}")).reverse()


@pytest.mark.parametrize(
    "second", [(r"b\.(?P<r>.+)", "m.b2.{r}"), (rf"b\.{H}\.(?P<r>.+)", "m.{i+4}.{r}"), (r"b\.(?P<r>w|v)", "m.{r}.0")]
)
def test_rules_that_give_keys_of_one_form_need_the_keys(second):
    """Turned round one by one, the first would take what the second gave, and nobody would notice."""
    forward = rules((r"a\.(?P<r>.+)", "m.{r}"), second)
    with pytest.raises(RuleError, match=r"rule 2 may give 'm\..*', and what undoes rule 1 takes it; .*reverse\(keys="):
        forward.reverse()
    assert rules(second, (r"a\.(?P<r>.+)", "m.{r}")).reverse().rename("m.n.w") == "a.n.w"
    there_and_back(forward, tensors(a__n__w=(2,), b__1__w=(2,), b__2__w=(2,), b__w=(2,)))


def test_rules_whose_listed_texts_keep_them_apart_are_turned_round():
    back = rules((r"a\.(?P<i>0|1)\.w", "m.{i}.w"), (r"b\.(?P<i>0|1)\.w", "m.{i+2}.w")).reverse()
    assert [back.rename(f"m.{i}.w") for i in range(4)] == ["a.0.w", "a.1.w", "b.0.w", "b.1.w"]


def test_with_keys_a_dropped_alternation_comes_back():
    forward = rules((r"l\.(?P<i>\d+)\.(?:norm|ln)\.(?P<a>weight|bias)", "l.{i}.n.{a}"))
    keys = tensors(**{f"l__{i}__{'norm' if i < 2 else 'ln'}__{a}": (2,) for i in range(4) for a in ("weight", "bias")})
    back = there_and_back(forward, keys)
    assert any("rule 1 drops what (?:norm|ln) matches: proven on these keys only" in rule.note for rule in back)


def test_with_keys_a_flattened_stage_comes_back_by_quotient_and_remainder():
    forward = rules((r"stages\.(?P<i>\d+)\.(?P<j>\d+)\.(?P<rest>.+)", "blocks.{i*3+j}.{rest}"))
    keys = tensors(**{f"stages__{i}__{j}__w": (2,) for i in range(4) for j in range(3)})
    back = there_and_back(forward, keys)
    assert back.rename("blocks.7.w") == "stages.2.1.w"


@pytest.mark.parametrize("zeros", [(0, 2), (2, 0), (3, 2)])
def test_with_keys_zeros_in_front_come_back(zeros):
    old, new = zeros
    pairs = [(f"h.{i:0{old}d}.w", f"blocks.{i:0{new}d}.w") for i in range(12)]
    replacement = "blocks.{i+0}.w" if not new else "blocks.{i//10}{i%10}.w"
    forward = rules((rf"h\.{H}\.w", replacement))
    assert [forward.rename(key) for key, _ in pairs] == [key for _, key in pairs]
    back = there_and_back(forward, tensors(**{key.replace(".", "__"): (2,) for key, _ in pairs}))
    assert len(back) == 1


def test_a_stripped_prefix_comes_back_and_nothing_else_gets_it():
    forward = rules((r"module\.(?P<rest>.+)", "{rest}"))
    back = there_and_back(forward, tensors(module__a__w=(2,), module__b__w=(3,), c__w=(1,)))
    assert back.rename("a.w") == "module.a.w"
    assert back.rename("c.w") == "c.w"


def test_a_list_that_can_be_turned_round_keeps_its_rules():
    forward = rules(
        (rf"h\.{H}\.ln_1\.(?P<rest>.+)", "h.{i}.norm1.{rest}"), (rf"h\.{H}\.ln_2\.(?P<rest>.+)", "h.{i}.norm2.{rest}")
    )
    back = there_and_back(forward, tensors(h__0__ln_1__weight=(2,), h__0__ln_2__weight=(2,), wte__weight=(3,)))
    assert [rule.note for rule in back] == ["undoes rule 1", "undoes rule 2"]
    assert back.rename("h.11.norm2.bias") == "h.11.ln_2.bias"


def test_queries_keys_and_values_are_cut_where_they_were_joined():
    forward = rules(
        (r"(?P<a>l\.\d+)\.(?P<part>q|k|v)\.w", "{a}.qkv.w", {"op": "concat", "part": "part", "dim": 0}),
    )
    shapes = {f"l__{i}__{p}__w": (8 if p == "q" else 2, 3) for i in range(2) for p in "qkv"}
    back = there_and_back(forward, tensors(**shapes))
    assert [rule.op for rule in back] == ["chunk"]
    assert back[0].sizes == (4, 1, 1)
    assert back[0].hits == 2


def test_a_cut_tensor_is_joined_again():
    forward = rules((rf"h\.{H}\.c_attn", ["l.{i}.q", "l.{i}.k", "l.{i}.v"], {"op": "chunk", "dim": 0}))
    there_and_back(forward, tensors(h__0__c_attn=(6, 2), h__1__c_attn=(6, 2)))
    there_and_back(RuleSet(forward.reverse().rules), tensors(l__0__q=(2, 2), l__0__k=(2, 2), l__0__v=(2, 2)))


@pytest.mark.parametrize("op", ["stack+concat", "concat+stack"])
def test_experts_are_taken_apart_again(op):
    forward = rules(
        (
            rf"l\.{H}\.experts\.(?P<e>\d+)\.(?P<part>w1|w3)",
            "l.{i}.gate_up",
            {"op": op, "by": "e", "part": "part", "dim": 1 if op == "stack+concat" else 0},
        ),
        (rf"l\.{H}\.experts\.(?P<e>\d+)\.w2", "l.{i}.down", {"op": "stack", "by": "e"}),
    )
    shapes = {
        f"l__{i}__experts__{e}__{w}": (3, 2) if w == "w2" else (2, 3)
        for i in range(2)
        for e in range(4)
        for w in ("w1", "w2", "w3")
    }
    back = there_and_back(forward, tensors(**shapes))
    assert sorted(rule.op for rule in back) == ["chunk+unstack", "unstack"]
    more = {key: value for i in range(2) for key, value in tensors(**{f"l__{i}__gate_up": (8, 4, 3)}).items()}
    assert len(back.apply(more)) == 32  # eight experts where it was learnt on four


def test_fused_experts_are_fused_again():
    forward = rules(
        (
            rf"l\.{H}\.gate_up",
            ["l.{i}.{e}.w1", "l.{i}.{e}.w3"],
            {"op": "chunk+unstack", "by": "e", "dim": 1, "sizes": [1, 1]},
        )
    )
    there_and_back(forward, tensors(l__0__gate_up=(3, 4, 2), l__1__gate_up=(3, 4, 2)))


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        ({"op": "transpose"}, (2, 3)),
        ({"op": "transpose", "perm": [2, 0, 1]}, (2, 3, 4)),
        ({"op": "permute", "perm": [3, 2, 0, 1]}, (2, 3, 4, 5)),
        ({"op": "reshape", "shape": [0, -1]}, (4, 3, 1, 2)),
        ({"op": "reshape", "shape": [0, 0, 1, 1]}, (4, 3)),
        ({"op": "interleave", "shape": [-1, 2, 2, 1]}, (8, 3)),
        ({"op": "transpose+reshape", "shape": [-1]}, (2, 3)),
    ],
)
def test_every_operation_is_undone(op, shape):
    there_and_back(rules((rf"h\.{H}\.w", "l.{i}.v", op)), tensors(h__0__w=shape, h__1__w=shape))


def test_the_halves_of_latent_attention_are_joined_again_and_cut_again():
    forward = rules((rf"h\.{H}\.kv", ["l.{i}.k", "l.{i}.v"], {"op": "split_latent", "shape": [2, 3]}))
    back = there_and_back(forward, tensors(h__0__kv=(10, 4), h__1__kv=(15, 4)))
    assert [rule.op for rule in back] == ["join_latent"]
    assert {rule.op for rule in forward.reverse()} == {"join_latent"}  # without the keys, too
    assert [rule.op for rule in there_and_back(back, tensors(l__0__k=(2, 4, 2), l__0__v=(2, 3, 4)))] == ["split_latent"]
    with pytest.raises(RuleError, match="joins tensors, whose sizes it does not say"):
        back.reverse()


@pytest.mark.parametrize("more", ["concat+stack+reshape", "transpose+concat+stack+reshape", "concat+stack+transpose"])
def test_what_happens_after_parts_and_members_are_joined_is_undone_first(more):
    """All pieces have one shape, so that only their values tell them apart."""
    words = {"perm": [1, 0]} if more.startswith("transpose") else {"perm": [0, 2, 1]}
    forward = rules(
        (
            rf"h\.{H}\.(?P<e>\d+)\.(?P<part>q|p)",
            "l.{i}.x",
            {"op": more, "by": "e", "part": "part", "dim": 0, "shape": [-1, 4], **words},
        )
    )
    there_and_back(forward, tensors(**{f"h__0__{e}__{part}": (4, 4) for e in range(3) for part in "qp"}))


def test_two_keys_that_become_one_cannot_come_back():
    with pytest.raises(RuleError, match=r"'a\.x' and 'b\.x' both become 'c\.x'"):
        rules((r"(?:a|b)\.x", "c.x")).reverse({"a.x": (1,), "b.x": (1,)})


def test_a_tied_tensor_goes_back_into_one_key():
    forward = RuleSet(rules((r"wte\.(?P<a>.+)", "embed.{a}")).rules, tied=(("embed.weight", "head.weight"),))
    given = {"wte.weight": torch.ones(2, 2), "ln.weight": torch.ones(2)}
    for back in (forward.reverse(), forward.reverse(given)):
        there = forward.apply(given)
        assert set(there) == {"embed.weight", "head.weight", "ln.weight"}
        assert set(back.apply(there)) == set(given)
        there["head.weight"] = torch.zeros(2, 2)
        with pytest.raises(RuleError, match=r"'head.weight' and 'embed.weight' were one tensor and are not equal"):
            back.apply(there)


def test_keys_without_shapes_are_refused():
    with pytest.raises(RuleError, match="is no key with its shape"):
        rules((r"a", "b")).reverse(["a"])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12), st.sampled_from(["w", "b"])), unique=True))
@settings(max_examples=40, deadline=None)
def test_there_and_back_is_nothing(found):
    forward = rules(
        (r"a\.(?P<i>\d+)\.(?P<r>w|b)", "x.{i+2}.{r}"),
        (r"b\.(?P<i>\d+)\.(?P<r>.+)", "y.{20-i}.{r}"),
        (r"c\.(?P<r>.+)", "z.{r}"),
    )
    keys = {f"{a}.{i}.{r}": (1,) for a, i, r in found}
    back = forward.reverse(keys)
    assert [back.rename(forward.rename(key)) for key in keys] == list(keys)
