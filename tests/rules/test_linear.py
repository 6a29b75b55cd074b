"""No rule may take more than linear time, whatever the key."""

from __future__ import annotations

import re
import signal

import pytest

from automatch.errors import RuleError
from automatch.matching.assignment import Match
from automatch.rules.induce import induce
from automatch.rules.linear import linear
from automatch.rules.rule_set import RuleSet


@pytest.mark.parametrize(
    "pattern",
    [
        r"module\.(?P<rest>.+)",
        r"(?P<a>.+)\.norm\.(?P<i>\d+)\.(?P<b>[^.]+)",
        r"(?P<a>.+)\.(?:norm|conv)\.(?P<rest>.+)",
        r"(?P<a>[^.]+)\.(?P<i>\d+)\.(?P<b>weight|bias)",
        r"a(?:b)?\.\d+",
        r"(?P<a>(?:x|y\.\d+)\.w)",
        r"layers\.(?P<i>1|2|3)\.(?P<a>.+)",
        r"layers\.(?P<i>\d*[13579])\.0\.g",
    ],
)
def test_the_patterns_of_rules_are_linear(pattern):
    assert linear(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(.+)\.x",  # a group without a name is none of ours
        r"(?P<a>.+)(?P<b>.+)",
        r"(?P<a>.+)\.(?P<b>.+)\.w",
        r"(?P<a>.+)\d+x",
        r"(?P<a>[^.]+)[^.]+",
        r"(?P<a>[^.]+)_x",
        r"(?P<a>.+)_norm(?P<b>[^.]+)\.w",
        r"(?P<a>\d+)0",
        r"(?P<a>\d*[02468])7",
        r"(?P<a>.+)\d*[13579]x",
        r"\d*[123]x",
        r"(?:a+)+b",
        r"(?=a)b",
        r"a*",
        r"(a",
        "(?:" * 60 + "a" + ")" * 60,
        "(?:a|aa)" * 30 + "y",
    ],
)
def test_other_patterns_are_not_called_linear(pattern):
    assert not linear(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$",
        r"(a|a)*b",
        r"(.*)\.(.*)\.(.*)\.(.*)\.w",
        r"(?:\w+_)*x",
        r"(?:x*){2,}y",
        r"[^x]*[^y]*\S+.+z",
        "a*" * 11,
        r"\w+" * 9 + "y",
        r"(a{1,5}){1,50}b",
        r"(?:x{1,9}){1,30}y",
        r"(\w+){9}y",
        r"x{1,9}" * 4 + "xy",
        r"(?x) \w+ \w+ \w+ \w+ y",
        r"\w+(\.x)?\w+(\.x)?\w+(?:\.)*\w+y",
        "a?" * 30 + "a" * 30,
        "(?:a|aa)" * 30 + "y",
        "(?:a|aa)" * 30 + "[xy]",
    ],
)
def test_a_rule_that_could_take_forever_is_refused_when_it_is_read(pattern):
    with pytest.raises(RuleError, match=r"rule 1: .* may take forever"):
        RuleSet.from_list([{"pattern": pattern, "replacement": "x"}])


@pytest.mark.parametrize(
    "pattern",
    [
        r"(.*)\.(.*)\.w",
        r"(?:[^.]+\.)*norm",
        r"^layers\.\d+\.(?:a|b)?[)(*]+\)$",
        r"(?P<x>\w+)_(?P<y>[a-z]+)",
        r"(?i:A)b{2}",
        r"^(?:module\.)?(?:backbone\.)?(.*?)\.(\d+)\.(.*)$",
        r"(\w+)\.(\w+)\.(\w+)\.(\w+)\.(\w+)\.(weight|bias)",
        r"layers\.([0-9]{1,3})\.(q|k|v)_proj\.(?P<rest>[a-z_]+)",
        r"(?:ab){2}\w+",
        r"layers\.(?:1|10|11|2)\.(?P<a>.+)",
    ],
)
def test_what_people_write_is_read(pattern):
    assert len(RuleSet.from_list([{"pattern": pattern, "replacement": "x"}])) == 1


def test_adversarial_keys_are_answered_at_once():
    """A backtracking pattern would need minutes for these keys; the alarm ends it."""
    source = [
        f"features.block{i}.layer{j}.norm.{k}.{w}" for i in range(3) for j in range(3) for k in (1, 2) for w in "wb"
    ]
    source += [f"module.layers.{i}.self_attention.{p}.{w}" for i in range(3) for p in "qkv" for w in ("weight", "bias")]
    target = [
        re.sub(r"norm\.(\d)", r"norm\1", k).replace("module.", "").replace("self_attention", "attn") for k in source
    ]
    rules = induce([Match((t,), (s,)) for s, t in zip(source, target, strict=True)], source, target)
    assert all(linear(rule.pattern) for rule in rules)
    pieces = ["norm.", "1", "features.", ".", "a", "layers.1.self_attention.", "norm.1.", "block1.layer1.norm.1"]
    keys = [(piece * 20000)[:100_000] + end for piece in pieces for end in ("", "\n", ".!", ".")]
    signal.alarm(20)
    try:
        for key in keys:
            rules.rename(key)
    finally:
        signal.alarm(0)
