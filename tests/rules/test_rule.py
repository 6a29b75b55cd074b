"""The rule language: replacements, lists, JSON, and the sentences for what cannot be read."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from automatch.errors import RuleError
from automatch.matching.assignment import Match
from automatch.rules.replacement import parse, quote
from automatch.rules.replay import replay
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("layers.{i}.{rest}", "layers.07.q.weight"),
        ("{i+1}", "8"),
        ("{3-j}", "1"),
        ("{i//3}.{(i-1)%3}", "2.0"),
        ("{2*(i-j)+1}", "11"),
        ("{ i + j }", "9"),
        ("{-i+10}", "3"),
        ("{{{i}}}", "{07}"),
        ("{{i}}", "{i}"),
        ("a}b", "a}b"),
        ("100%s.{i}%", "100%s.07%"),
        ("{(0-i)//2+9}.{(0-i)%4}", "5.1"),
    ],
)
def test_replacements_fill_in_texts_and_arithmetic(text, value):
    assert parse(text).expand({"i": "07", "j": "2", "rest": "q.weight"}) == value


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{i",
        "{}",
        "{i+}",
        "{i**2}",
        "{i/2}",
        "{(i}",
        "{i.real}",
        "{__import__('os')}",
        "{i i}",
        "{1.5}",
        "{" + "(" * 200 + "i" + ")" * 200 + "}",
        "half a \ud800",
    ],
)
def test_what_is_no_replacement_is_refused(text):
    with pytest.raises(RuleError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("{i+1}", {"i": "x"}),
        ("{i+1}", {"i": None}),
        ("{i}", {"i": None}),
        ("{i%j}", {"i": "1", "j": "0"}),
        ("{i+1}", {"i": "9" * 40}),
        ("{1-i}", {"i": "2"}),
        ("{-i}", {"i": "1"}),
    ],
)
def test_what_cannot_be_filled_in_is_refused(text, groups):
    with pytest.raises(RuleError):
        parse(text).expand(groups)


@pytest.mark.parametrize("text", ["plain", "{x}", "}}{", "{{}}", "a{0}", "50%", "%s%(x)d"])
def test_quoted_text_comes_out_as_it_was(text):
    assert parse(quote(text)).expand({}) == text


def test_the_first_rule_that_matches_the_whole_original_key_wins():
    rules = RuleSet((Rule(r"a\.(?P<x>.+)", "b.{x}"), Rule(r"b\.(?P<x>.+)", "c.{x}"), Rule(r"(?P<x>.+)\.w", "{x}")))
    assert rules.rename("a.w") == "b.w"
    assert rules.rename("b.w") == "c.w"
    assert rules.rename("d.w") == "d"
    assert rules.rename("d.w2") == "d.w2"


def test_many_rules_answer_as_one_after_the_other():
    plain = [Rule(rf"layer{i}\.(?P<n>\d+)\.(?P<rest>.+)", f"l.{{n+{i}}}.{{rest}}") for i in range(30)]
    odd = [Rule(r"(x)(?P<a>.)\1", "{a}"), Rule(r"(?i)HEAD", "head")]
    for rules in (RuleSet(tuple(plain)), RuleSet((*plain, *odd))):
        assert [rules.rename(f"layer{i}.3.w") for i in range(30)] == [f"l.{3 + i}.w" for i in range(30)]
        assert rules.rename("layer3.x.w") == "layer3.x.w"
    assert RuleSet((*plain, *odd)).rename("xyx") == "y"


def test_apply_renames_keeps_the_order_and_refuses_collisions():
    rules = RuleSet((Rule(r"module\.(?P<rest>.+)", "{rest}"),))
    state = {"module.b": np.ones(1), "other": np.ones(2), "module.a": np.ones(3)}
    out = rules.apply(state)
    assert list(out) == ["b", "other", "a"]
    assert out["b"] is state["module.b"]
    with pytest.raises(RuleError, match=r"'module\.x' and 'x' would both become 'x'"):
        rules.apply({"module.x": 1, "x": 2})


def test_a_key_that_is_no_text_is_refused():
    with pytest.raises(RuleError, match="the key 3 is not a text"):
        RuleSet().apply({3: 1})


def test_tied_keys_get_the_same_tensor():
    rules = RuleSet((Rule("wte", "embed"),), tied=(("embed", "head"),))
    assert rules.apply({"wte": 1}) == {"embed": 1, "head": 1}
    assert rules.apply({"wte": 1, "head": 2}) == {"embed": 1, "head": 2}


def test_json_holds_only_what_says_something_and_reads_back():
    rules = RuleSet(
        (
            Rule(r"a\.(?P<i>\d+)", "b.{i}", hits=3),
            Rule(r"(?P<p>q|k)", "qk", "concat", part="p", dim=0, note="both"),
            Rule("c", ("x", "y"), "chunk", dim=1, sizes=(2, 1)),
            Rule("d", "e", "concat", part=(0, 2)),
            Rule("t", "u", "transpose+reshape", perm=(1, 0), shape=(0, -1)),
        )
    )
    assert rules.to_list()[0] == {"pattern": r"a\.(?P<i>\d+)", "replacement": "b.{i}", "op": "rename", "hits": 3}
    assert RuleSet.from_json(json.dumps(rules.to_list())) == rules
    assert RuleSet.from_json(json.dumps({"schema": 1, "rules": rules.to_list(), "more": 1})) == rules
    assert len(rules) == 5
    assert [rule.op for rule in rules][1] == "concat"


def test_ties_are_read_from_the_matches_of_a_whole_diagnosis():
    text = json.dumps(
        {
            "rules": [{"pattern": "wte", "replacement": "embed"}],
            "matches": [
                {"model_keys": ["embed"], "checkpoint_keys": ["wte"], "op": "rename"},
                {"model_keys": ["head"], "checkpoint_keys": ["wte"], "op": "rename"},
            ],
        }
    )
    assert RuleSet.from_json(text).apply({"wte": 7}) == {"embed": 7, "head": 7}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nonsense", "not JSON"),
        ("3", "neither a list of rules"),
        ('{"matches": []}', "neither a list of rules"),
        ("[1]", "rule 1 is not an object"),
        ('[{"pattern": "a"}]', 'rule 1: "replacement" is neither'),
        ('[{"replacement": "a"}]', 'rule 1: "pattern" is missing'),
        ('[{"pattern": "a", "replacement": "b"}, {"pattern": "(", "replacement": "b"}]', "rule 2: the pattern '\\('"),
        ('[{"pattern": "a", "replacement": "{x}"}]', "rule 1: the replacement uses 'x'"),
        ('[{"pattern": "a", "replacement": "{x"}]', "rule 1: .*never closed"),
        ('[{"pattern": "a", "replacement": "b", "op": "melt"}]', "'melt' is not an operation"),
        ('[{"pattern": "a", "replacement": "b", "op": "stack", "by": "e"}]', "'by' names the group 'e'"),
        ('[{"pattern": "a", "replacement": "b", "op": "concat", "part": "p"}]', "has no group 'p'"),
        ('[{"pattern": "(?P<p>.+)", "replacement": "b", "op": "concat", "part": "p"}]', "not a plain alternation"),
        ('[{"pattern": "a", "replacement": ["b", "c"]}]', "only chunk and unstack"),
        ('[{"pattern": "a", "replacement": ["b", "c"], "op": "unstack+chunk"}]', "write chunk\\+unstack"),
        ('[{"pattern": "a", "replacement": "b", "part": [2, 1]}]', '"part" is neither'),
        ('[{"pattern": "a", "replacement": "b", "dim": "x"}]', '"dim" is not a whole number'),
        ('[{"pattern": "a", "replacement": "b", "perm": [0, "x"]}]', '"perm" is not a list'),
    ],
)
def test_what_cannot_be_read_is_named_with_its_rule(text, sentence):
    with pytest.raises(RuleError, match=sentence) as error:
        RuleSet.from_json(text)
    assert str(error.value).startswith(("rule 1", "rule 2") if text.startswith("[") else "the ")
    assert "\n" not in str(error.value)


def test_a_rule_list_prints_one_rule_a_line():
    text = str(RuleSet((Rule("a", "b", hits=2), Rule("cc", ("x", "y"), "chunk", hits=1))))
    assert text.splitlines() == ["a  -> b   # 2 keys", "cc -> x, y   # chunk; 1 key"]


@pytest.mark.parametrize(
    "law",
    [
        {"op": "chunk", "replacement": ["b", "c"], "sizes": [0, 0]},
        {"op": "chunk", "replacement": ["b", "c"], "sizes": [-1, 2]},
        {"op": "chunk", "replacement": ["b", "c"], "sizes": []},
        {"op": "interleave", "shape": [1, -2, -2, 1]},
        {"op": "flip", "shape": [-2, -2]},
        {"op": "reshape", "shape": [-2, -8]},
        {"op": "reshape", "shape": [-1, -1]},
    ],
)
def test_sizes_that_no_tensor_has_are_refused_where_the_rule_is_read(law):
    with pytest.raises(RuleError, match=r'rule 1: "(sizes|shape)"'):
        RuleSet.from_list([{"pattern": "a", "replacement": "b", **law}])


def test_rules_that_have_moved_keys_can_be_sent_to_another_process() -> None:
    rules = RuleSet((Rule(r"a\.(?P<i>\d+)", "b.{i+1}"), Rule(r"e\.(?P<e>\d+)", "experts", "stack", by="e")))
    assert [rules.move(key) for key in ("a.1", "e.2")] != [None, None]
    again = pickle.loads(pickle.dumps(rules))
    assert again == rules
    assert [again.move(key) for key in ("a.1", "e.2", "x")] == [rules.move(key) for key in ("a.1", "e.2", "x")]


def test_a_nested_checkpoint_is_not_taken_for_its_state_dict():
    rules = RuleSet.from_json('[{"pattern": "old\\\\.(?P<rest>.+)", "replacement": "new.{rest}"}]')
    checkpoint = {"epoch": 3, "model": {"old.weight": 1}}
    with pytest.raises(RuleError, match=r"lie below; give checkpoint\['model'\]"):
        rules.apply(checkpoint)
    assert rules.apply(checkpoint["model"]) == {"new.weight": 1}
    assert rules.apply({"epoch": 3, "other": {"x": 1}}) == {"epoch": 3, "other": {"x": 1}}
    deeper = {"state": {"net": {"old.weight": 1}, "ema": {"old.weight": 2}}}
    with pytest.raises(RuleError, match=r"give checkpoint\['state'\]\['net'\] or checkpoint\['state'\]\['ema'\]"):
        rules.apply(deeper)
    converted = {"new.weight": np.ones(2), "_extra_state": {"old.a": 2}}
    assert rules.apply(converted) == converted  # once more: nothing is left to be renamed


def test_a_rule_that_was_made_with_lists_does_what_one_with_tuples_does() -> None:
    tensor = np.arange(6).reshape(2, 3)
    for perm in ([1, 0], (1, 0)):
        rules = RuleSet((Rule(r"(?P<a>.+)\.kernel", "{a}.weight", op="transpose", perm=perm),))
        assert np.array_equal(rules.apply({"fc.kernel": tensor})["fc.weight"], tensor.T)


def test_one_key_is_not_two_members_of_a_tensor() -> None:
    rules = RuleSet((Rule("a", "w", op="concat", part=(0, 2), dim=0),))
    proof = replay(rules, [Match(("w",), ("a", "a"), "concat", dim=0)], ["a"], ["w"])
    assert proof.wrong == ("'w': 'a' and 'a' claim the same place in it",)


def test_a_rule_that_names_no_key_is_refused() -> None:
    with pytest.raises(RuleError, match="rule 1 names no key"):
        RuleSet((Rule("a", (), op="chunk"),)).move("a")
