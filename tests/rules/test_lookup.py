"""Many patterns asked at once answer as each of them asked by itself, in their order, with the same captured texts."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from automatch.rules.lookup import Lookup

PIECES = st.sampled_from(
    [r"a", r"\.", r"(?P<i>\d+)", r"(?P<x>a|b)", r"(?:\.(?P<y>b))?", r"(?P<z>.+)", r"(?P<w>[^.]+)", r"(?:a|b)+", r"b$"]
)
PATTERNS = st.lists(PIECES, min_size=1, max_size=4, unique=True).map("".join)
UNUSUAL = st.sampled_from([r"(a)(?P<i>b)", r"(?i)A", r"(?P<i>a)\1", r"(?=a).b", r"", r"a|b", r"\(?P<a>b", r"[(?P<a>]b"])
KEYS = st.text(alphabet="ab.12\n(?>", max_size=8)


def one_by_one(patterns: list[str], key: str) -> tuple[int, dict[str, str | None]] | None:
    for number, pattern in enumerate(patterns):
        match = re.fullmatch(pattern, key)
        if match is not None:
            return number, match.groupdict()
    return None


def at_once(lookup: Lookup, key: str) -> tuple[int, dict[str, str | None]] | None:
    found = lookup.find(key)
    return found and (found[0], {name: found[1][at] for name, at in lookup.groups[found[0]].items()})


@given(st.lists(PATTERNS, min_size=1, max_size=8), st.lists(KEYS, min_size=1, max_size=6))
def test_patterns_at_once_are_patterns_one_by_one(patterns: list[str], keys: list[str]) -> None:
    lookup = Lookup(patterns)
    assert [at_once(lookup, key) for key in keys] == [one_by_one(patterns, key) for key in keys]


FEW = ["a1", "a2", "a3"]


@example([*FEW, r"\(?P<a>b"], ["(b"])
@example([*FEW, r"[(?P<a>]b"], ["?b", "(b"])
@example([*FEW, r"(?P<i>a)\1"], ["aa", "ab"])
@given(st.lists(st.one_of(PATTERNS, UNUSUAL), min_size=4, max_size=8), st.lists(KEYS, min_size=1, max_size=6))
def test_unnamed_groups_flags_and_back_references_change_nothing(patterns: list[str], keys: list[str]) -> None:
    lookup = Lookup(patterns)
    assert [at_once(lookup, key) for key in keys] == [one_by_one(patterns, key) for key in keys]
