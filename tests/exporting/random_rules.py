"""Random rules on random keys: overlapping, chained, exchanged, calculating."""

from __future__ import annotations

import re

from hypothesis import assume
from hypothesis import strategies as st

from automatch.errors import RuleError
from automatch.exporting.background import Background
from automatch.rules.replacement import quote
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet

WORDS = ("h", "ln", "w", "q", "k", "qk", "layer", "player", "norm_")
NUMBERS = ("0", "1", "2", "3", "10", "07")
parts = st.one_of(st.sampled_from(WORDS), st.sampled_from(NUMBERS))
keys = st.lists(parts, min_size=1, max_size=4).map(".".join)
key_lists = st.lists(keys, min_size=1, max_size=8, unique=True)
SUMS = ("{n%d}", "{n%d+1}", "{n%d-1}", "{3-n%d}", "{2*n%d+1}", "{(n%d+1)//2}", "{n%d%%2}")


@st.composite
def literal_rules(draw, known):
    return Rule(re.escape(draw(st.sampled_from(known))), quote(draw(keys)))


@st.composite
def number_rules(draw, known):
    """A key with its numbers captured, and another one with numbers that come from them."""
    names: list[str] = []

    def captured(_: re.Match) -> str:
        names.append(f"n{len(names)}")
        return rf"(?P<{names[-1]}>\d+)"

    pattern = re.sub(r"\d+", captured, re.sub(r"([^\w])", r"\\\1", draw(st.sampled_from(known))))
    if not names:
        return Rule(pattern, quote(draw(keys)))
    texts = [draw(st.one_of(parts, st.sampled_from(SUMS))) for _ in range(draw(st.integers(1, 4)))]
    texts = [text % draw(st.integers(0, len(names) - 1)) if "%d" in text else text for text in texts]
    return Rule(pattern, ".".join(texts))


@st.composite
def wild_rules(draw, known):
    """Prefixes added, taken away or exchanged, and words inside."""
    old, new = draw(st.sampled_from(WORDS)), draw(st.sampled_from(WORDS))
    pattern, replacement = draw(
        st.sampled_from(
            [
                (rf"{old}\.(?P<rest>.+)", "{rest}"),
                (rf"{old}\.(?P<rest>.+)", new + ".{rest}"),
                (r"(?P<all>.+)", new + ".{all}"),
                (r"(?P<all>.+)", "{all}"),
                (rf"(?P<a>.+\.)?{old}(?P<b>\..+)", "{a}" + new + "{b}"),
                (rf"(?P<a>[^.]+\.\d+)\.(?P<b>{old}|{new})", "{b}.{a}"),
                (rf"{old}|(?P<a>\d+)\.{new}", "x"),
            ]
        )
    )
    return Rule(pattern, replacement)


@st.composite
def rules_on_keys(draw) -> tuple[RuleSet, Background]:
    """Rules, and keys of which no two become one."""
    known = draw(key_lists)
    one = st.one_of(literal_rules(known), number_rules(known), wild_rules(known))
    rules = RuleSet(tuple(draw(st.lists(one, min_size=1, max_size=4))))
    try:
        renamed = [rules.rename(key) for key in known]
    except RuleError:
        assume(False)
    assume(len(set(renamed)) == len(renamed))
    return rules, Background(keys=tuple(known), checkpoint="old.pth", model="Net")
