"""What most blocks say of their parts, one damaged block does not say otherwise."""

from __future__ import annotations

import pytest

from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf
from automatch.matching.reviews.columns import as_elsewhere

SHAPE = (8, 4, 1, 1)


def leaf(key: str) -> Leaf:
    return Leaf(tuple(key.split(".")), SHAPE, (key,), 0, False, raw=SHAPE)


def pairs(blocks: int, turned: int, words: tuple[str, str] = ("conv", "shortcut")) -> list[Found]:
    """Blocks of which each puts `a` and `b` at these words, but for the first ones, which put them the other way."""
    out = []
    for i in range(blocks):
        for part, word in zip(("a", "b"), words[::-1] if i < turned else words, strict=True):
            key, wanted = f"stages.{i}.{part}.weight", f"blocks.{i}.{word}.weight"
            out.append((leaf(key), leaf(wanted), Evidence()))
    return out


def served(found: list[Found]) -> dict[str, str]:
    return {t.keys[0]: s.keys[0] for s, t, _ in found}


def test_a_block_that_says_otherwise_follows_the_others_and_is_flagged() -> None:
    found = pairs(6, turned=1)
    out = as_elsewhere(found, [t for _, t, _ in found], lambda s, t: False)
    assert served(out) == served(pairs(6, turned=0))
    assert {t.path[1] for _, t, e in out if e.level == "elsewhere"} == {"0"}


@pytest.mark.parametrize(
    "found",
    [pairs(6, turned=3), pairs(2, turned=1), pairs(6, turned=1, words=("norm1", "norm2"))],
    ids=["no majority", "two blocks", "called alike"],
)
def test_nothing_is_exchanged_without_a_majority_or_other_words(found: list[Found]) -> None:
    assert as_elsewhere(found, [t for _, t, _ in found], lambda s, t: False) == found


def test_what_clear_names_say_stays_and_what_is_flagged_has_no_vote() -> None:
    found = pairs(6, turned=1)
    target = [t for _, t, _ in found]
    named = [(s, t, Evidence(name=0.6) if t.path[1] == "0" else e) for s, t, e in found]
    assert as_elsewhere(named, target, lambda s, t: False) == named
    doubtful = [(s, t, e if t.path[1] == "0" else Evidence(level="doubtful")) for s, t, e in found]
    assert as_elsewhere(doubtful, target, lambda s, t: False) == doubtful


def test_a_person_decides_against_the_others() -> None:
    found = pairs(6, turned=1)
    pinned = [(s, t, Evidence(level="pin") if t.path[1] == "0" else e) for s, t, e in found]
    assert as_elsewhere(pinned, [t for _, t, _ in pinned], lambda s, t: False) == pinned
    assert as_elsewhere(found, [t for _, t, _ in found], lambda s, t: t.path[1] == "0") == found


def test_no_tensor_is_served_twice() -> None:
    """One of the modules lacks a tensor that a module elsewhere serves."""
    found = pairs(6, turned=1)
    stray = leaf("extra.bias"), leaf("blocks.0.shortcut.bias"), Evidence()
    theirs = [leaf(f"blocks.{i}.{word}.bias") for i in range(6) for word in ("conv", "shortcut")]
    theirs = [stray[1] if t.keys == stray[1].keys else t for t in theirs]
    bias = leaf("stages.0.b.bias"), next(t for t in theirs if t.keys == ("blocks.0.conv.bias",)), Evidence()
    out = as_elsewhere([stray, *found, bias], [t for _, t, _ in found] + theirs, lambda s, t: False)
    assert len(served(out)) == len(out)
