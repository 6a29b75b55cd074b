"""The printed function does what `RuleSet.apply` does, without automatch."""

import ast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from automatch.errors import RuleError
from automatch.exporting.background import Background
from automatch.exporting.dialects import python_code
from automatch.rules.replacement import quote
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet
from tests.exporting.random_rules import rules_on_keys


def convert(rules: RuleSet):
    source = python_code.render(rules)
    assert source.isascii()
    imports = {name.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for name in node.names}
    assert imports <= {"re", "torch"}
    names: dict = {}
    exec(source, names)
    return names["convert"]


def tensors(*shapes: tuple[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {key: torch.rand(shape, generator=generator) for key, shape in shapes}


def assert_same(rules: RuleSet, state_dict: dict[str, torch.Tensor]) -> None:
    ours, theirs = rules.apply(state_dict), convert(rules)(state_dict)
    assert list(ours) == list(theirs)
    assert all(torch.allclose(ours[key], theirs[key], 0, 0, equal_nan=True) for key in ours)


LAYERS = r"layers\.(?P<i>\d+)\."


@pytest.mark.parametrize(
    "rules",
    [
        RuleSet(),
        RuleSet((Rule(r"module\.(?P<rest>.+)", "{rest}"),)),
        RuleSet((Rule(LAYERS + r"(?P<rest>.+)", "blocks.{i+1}.{(2*i+1)//3}.{i%2}.{rest}"),)),
        RuleSet((Rule(LAYERS + "w", "{{{i}}}\"'\\{i*007}"), Rule(".*", "never.{{}}", note="a\nb"))),
        RuleSet((Rule(LAYERS + "w", "a}{i}}b{ i +\n1 }.{ i }{{"),)),
        RuleSet((Rule(LAYERS + "w", "a.{i}"),), (("a.0", "tied"), ("gone", "nowhere"))),
    ],
    ids=["none", "prefix", "arithmetic", "odd characters", "lone braces and spaces", "tied"],
)
def test_names(rules) -> None:
    keys = ["layers.0.w", "layers.1.w", "layers.12.w"]
    if not any(rule.pattern == ".*" for rule in rules):
        keys += ["module.fc.weight", "other"]
    assert_same(rules, tensors(*((key, (2,)) for key in keys)))


QKV = LAYERS + r"(?P<part>q|k|v)\.w"
EXPERTS = LAYERS + r"experts\.(?P<e>\d+)\.(?P<part>gate|up)"


@pytest.mark.parametrize(
    ("rule", "shapes"),
    [
        (Rule(LAYERS + "w", "l.{i}", op="transpose"), {"layers.0.w": (2, 3), "layers.1.w": (4, 3)}),
        (Rule(LAYERS + "w", "l.{i}", op="permute", perm=(3, 2, 0, 1)), {"layers.0.w": (2, 3, 4, 5)}),
        (Rule(LAYERS + "w", "l.{i}", op="reshape", shape=(0, -1)), {"layers.0.w": (2, 3, 1, 1)}),
        (Rule(LAYERS + "w", ("l.{i}.q", "l.{i}.k"), op="chunk", dim=0), {"layers.0.w": (6, 2), "x": (1,)}),
        (Rule(LAYERS + "w", ("q", "k", "v"), op="chunk", dim=1, sizes=(4, 1, 1)), {"layers.0.w": (2, 12)}),
        (Rule(LAYERS + "w", "l.{i}.{e+1}", op="unstack", by="e", dim=0), {"layers.0.w": (3, 2)}),
        (Rule(LAYERS + "w", ("a.{i}", "b.{i}"), op="unstack", dim=1), {"layers.0.w": (3, 2)}),
        (
            Rule(LAYERS + "w", ("l.{i}.{e}.a", "l.{i}.{e}.b"), op="chunk+unstack", by="e", dim=1),
            {"layers.0.w": (3, 8, 2), "layers.1.w": (2, 8, 2)},
        ),
        (
            Rule(LAYERS + "w", ("a.0", "a.1", "b.0", "b.1"), op="chunk+unstack", dim=1, sizes=(3, 1)),
            {"layers.0.w": (2, 8, 2)},
        ),
        (
            Rule(QKV, "l.{i}.qkv", op="concat", part="part", dim=0),
            {f"layers.{i}.{p}.w": (n, 3) for i in range(2) for p, n in (("v", 1), ("q", 4), ("k", 2))},
        ),
        (
            Rule(LAYERS + r"(?P<e>\d+)", "l.{i}", op="stack", by="e", dim=0),
            {f"layers.0.{e}": (2, 3) for e in range(11, -1, -1)},
        ),
        (
            Rule(QKV, "l.{i}.qkv", op="transpose+stack", part="part"),
            {f"layers.{i}.{p}.w": (2, 3) for i in range(2) for p in "vqk"},
        ),
        (
            Rule(EXPERTS, "l.{i}.gate_up", op="stack+concat", by="e", part="part", dim=1),
            {f"layers.{i}.experts.{e}.{p}": (2, 3) for i in range(2) for e in range(3) for p in ("up", "gate")},
        ),
        (
            Rule(EXPERTS, "l.{i}.gate_up", op="concat+stack", by="e", part="part", dim=0),
            {f"layers.{i}.experts.{e}.{p}": (2, 3) for i in range(2) for e in range(3) for p in ("up", "gate")},
        ),
        (
            Rule(QKV, "l.{i}.qkv", op="transpose+concat", part="part", dim=0),
            {f"layers.0.{p}.w": (3, 2) for p in "qkv"},
        ),
    ],
    ids=lambda value: value.op if isinstance(value, Rule) else "",
)
def test_operations(rule, shapes) -> None:
    assert_same(RuleSet((rule,)), tensors(*shapes.items()))


def test_parts_of_a_concat_with_a_rule_each() -> None:
    rules = RuleSet(
        tuple(Rule(rf"{name}\.w", "qkv.w", op="concat", part=(i, 3), dim=0) for i, name in enumerate("qkv"))
    )
    assert_same(rules, tensors(("v.w", (2, 2)), ("q.w", (3, 2)), ("rest", (1,)), ("k.w", (1, 2))))


def test_a_missing_part_is_an_error_and_not_a_shorter_tensor() -> None:
    rules = RuleSet((Rule(QKV, "l.{i}.qkv", op="concat", part="part", dim=0),))
    with pytest.raises(ValueError, match=r"l\.0\.qkv"):
        convert(rules)(tensors(("layers.0.q.w", (2, 2)), ("layers.0.v.w", (2, 2))))


def test_two_tensors_never_take_one_place() -> None:
    rules = RuleSet((Rule(r"x?(?P<part>q|k|v)", "qkv", op="concat", part="part", dim=0),))
    with pytest.raises(ValueError, match="taken"):
        convert(rules)(tensors(*((key, (2,)) for key in ("q", "k", "v", "xq"))))


@pytest.mark.parametrize("op", ["rename", "transpose"])
def test_two_keys_never_become_one(op) -> None:
    rules = RuleSet((Rule(r"a\.(?P<rest>.+)", "{rest}", op=op),))
    with pytest.raises(ValueError, match="w"):
        convert(rules)(tensors(("a.w", (2, 2)), ("w", (2, 2))))


def test_what_names_do_not_show_is_not_written() -> None:
    with pytest.raises(RuleError, match="cannot be written"):
        python_code.render(RuleSet((Rule("a", "b", op="permute"),)))


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_survives(key, target) -> None:
    import re

    rules = RuleSet((Rule(re.escape(key), quote(target)),))
    assert convert(rules)({key: 1}) == {target: 1}


@given(rules_on_keys())
@settings(deadline=None)
def test_the_function_renames_as_the_rules_do(case) -> None:
    rules, background = case
    names: dict = {}
    exec(python_code.render(rules, background), names)
    state_dict = {key: key for key in background.keys}
    assert names["convert"](state_dict) == rules.apply(state_dict)


def test_a_second_name_goes_only_where_it_is_the_same_tensor() -> None:
    rules = RuleSet((Rule("a", "b"),), doubles=(("head", "a"),))
    one = torch.tensor([1.0, float("nan")])
    assert_same(rules, {"head": one, "a": one.clone(), "c": one})
    assert_same(rules, {"head": one, "c": one})
    with pytest.raises(ValueError, match="not equal any more"):
        convert(rules)({"head": one, "a": torch.zeros(2)})


def test_comments_name_families_and_numbers_that_never_change() -> None:
    rules = RuleSet(
        (Rule(LAYERS + r"ln_(?P<n>\d+)\.(?P<rest>.+)", "blocks.{i}.norm{n-1}.{rest}"), Rule("x", "y", note="odd"))
    )
    keys = tuple(f"layers.{i}.ln_1.{w}" for i in range(3) for w in ("weight", "bias"))
    text = python_code.render(rules, Background(keys=(*keys, "x", "beside"), checkpoint="old\n.pth", proven=False))
    assert "# rename, 6 keys: layers.#.ln_1.weight (3), layers.#.ln_1.bias (3)\n" in text
    assert "# rename, 1 key: x; odd\n" in text
    assert "# A proposal of automatch, old\\n.pth: read it before use.\n" in text
    assert "NOT proven" in text


@pytest.mark.parametrize("by", [{}, {"op": "transpose"}])
def test_a_group_that_captured_nothing_never_becomes_the_text_none(by) -> None:
    rules = RuleSet((Rule(r"(?P<a>enc\.)?h\.(?P<b>w)", "{a}m.{b}", **by), Rule(r"x|(?P<q>q)y", "k.{q}", **by)))
    assert_same(rules, tensors(("enc.h.w", (2, 3)), ("qy", (2, 2))))
    for key in ("h.w", "x"):
        with pytest.raises(RuleError):
            rules.apply({key: torch.ones(2, 3)})
        with pytest.raises(TypeError):
            convert(rules)({key: torch.ones(2, 3)})


@pytest.mark.parametrize("replacement", ["layers.{1-i}.w", "{2*(i-2)+1}.w", "{-i}.w"])
@pytest.mark.parametrize("op", ["rename", "transpose"])
def test_no_key_gets_a_number_below_zero(replacement, op) -> None:
    """Beyond the depth that a rule was found for, it would go on counting."""
    rules = RuleSet((Rule(LAYERS + "w", replacement, op=op),))
    state_dict = tensors(*((f"layers.{i}.w", (2, 2)) for i in range(4)))
    with pytest.raises(RuleError, match="below zero"):
        rules.apply(state_dict)
    with pytest.raises(ValueError, match="below zero"):
        convert(rules)(state_dict)


def test_members_are_not_numbered_below_zero() -> None:
    rules = RuleSet((Rule("all", "one.{e-1}", op="unstack", by="e", dim=0),))
    with pytest.raises(RuleError, match="below zero"):
        rules.apply(tensors(("all", (3, 2))))
    with pytest.raises(ValueError, match="below zero"):
        convert(rules)(tensors(("all", (3, 2))))
