"""The replay tells every way in which rules can be wrong."""

from __future__ import annotations

from automatch.matching.assignment import Match, Mismatch
from automatch.rules.replay import replay
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet

SOURCE = ["module.a", "module.b", "extra"]
TARGET = ["a", "b", "c"]
MATCHES = [Match(("a",), ("module.a",)), Match(("b",), ("module.b",))]
STRIP = Rule(r"module\.(?P<rest>.+)", "{rest}")


def proof(*rules, matches=MATCHES, source=SOURCE, target=TARGET, tied=(), mismatched=()):
    return replay(RuleSet(tuple(rules), tied), matches, source, target, mismatched)


def test_right_rules_are_proven_with_their_hits():
    found = proof(STRIP, Rule("never", "x"))
    assert found.ok
    assert found.hits == (2, 0)
    assert found.unused == (2,)
    assert found.untouched == ("extra",)


def test_a_key_that_becomes_something_else_is_named():
    found = proof(Rule("module.a", "b"), Rule("module.b", "b"))
    assert not found.ok
    assert "'module.a' becomes 'b' by rename, and should become 'a' by rename" in found.wrong
    assert found.collisions == ("'module.a' and 'module.b' both become 'b'",)


def test_a_key_that_no_rule_takes_is_wrong_unless_it_keeps_its_name():
    assert not proof().ok
    assert proof(matches=[Match(("a",), ("a",))], source=["a"], target=["a"]).ok


def test_a_stray_key_may_not_land_on_a_key_of_the_model():
    assert "'extra' belongs nowhere and becomes 'c'" in proof(STRIP, Rule("extra", "c")).collisions
    assert proof(STRIP, Rule("extra", "elsewhere")).ok


def test_a_stray_key_may_stand_on_a_missing_key_but_not_on_a_served_one():
    assert proof(STRIP, source=[*SOURCE, "c"]).ok
    assert not proof(STRIP, source=[*SOURCE, "a"]).ok


def test_a_pair_of_two_shapes_may_be_renamed():
    pair = Mismatch("c", "module.c", (2,), (3,))
    assert not proof(STRIP, source=[*SOURCE, "module.c"]).ok
    assert proof(STRIP, source=[*SOURCE, "module.c"], mismatched=[pair]).ok


def test_an_operation_and_its_dimension_are_part_of_the_answer():
    wanted = [Match(("a",), ("module.a",), "transpose")]
    assert not proof(STRIP, matches=wanted, source=["module.a"]).ok
    assert proof(Rule("module.a", "a", "transpose"), matches=wanted, source=["module.a"]).ok
    chunk = [Match(("a", "b"), ("x",), "chunk", dim=0)]
    assert proof(Rule("x", ("a", "b"), "chunk", dim=0), matches=chunk, source=["x"]).ok
    assert not proof(Rule("x", ("b", "a"), "chunk", dim=0), matches=chunk, source=["x"]).ok
    assert not proof(Rule("x", ("a", "b"), "chunk", dim=1), matches=chunk, source=["x"]).ok


def test_members_in_another_order_are_wrong():
    wanted = [Match(("a",), ("q", "k"), "concat", dim=0)]
    good = Rule("(?P<part>q|k)", "a", "concat", part="part", dim=0)
    bad = Rule("(?P<part>k|q)", "a", "concat", part="part", dim=0)
    assert proof(good, matches=wanted, source=["q", "k"]).ok
    assert "another order" in proof(bad, matches=wanted, source=["q", "k"]).wrong[0]


def test_a_tie_has_to_be_said():
    wanted = [*MATCHES, Match(("c",), ("module.a",))]
    assert not proof(STRIP, matches=wanted).ok
    assert proof(STRIP, matches=wanted, tied=(("a", "c"),)).ok


def test_a_key_that_goes_two_ways_by_two_operations_cannot_be_said():
    wanted = [Match(("a",), ("x",)), Match(("b",), ("x",), "transpose")]
    found = proof(Rule("x", "a"), matches=wanted, source=["x"])
    assert found.unsaid == ("b",)
    assert not found.ok


def test_a_rule_that_cannot_fill_in_its_replacement_is_named():
    found = proof(Rule(r"module\.(?P<i>.+)", "{i+1}"))
    assert "captured 'a' and not a number" in found.wrong[0]


def test_a_match_of_a_key_that_the_checkpoint_lacks_is_no_proof():
    proof = replay(RuleSet(()), [Match(("a",), ("a",)), Match(("z",), ("z",))], ["a"], ["a", "z"])
    assert proof.wrong == ("'z' is not a key of the checkpoint",)
