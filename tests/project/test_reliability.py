"""Confidences are fitted and judged on cases that do not know each other."""

from dataclasses import replace

import pytest
from cases import Case, Entry, Truth
from hypothesis import given
from hypothesis import strategies as st
from reliability import Reason, Sample, bins, families, fit, folds, held_out, quality, wilson

SURE, FLAGGED = Reason(0.99, False, "names agree"), Reason(0.4, True, "nothing tells")


def case(name: str, *keys: str) -> Case:
    entries: tuple[Entry, ...] = tuple((key, (2,), "float32") for key in keys)
    own = tuple((f"{name}.{key}", shape, dtype) for key, shape, dtype in entries)
    truth = tuple(Truth((f"{name}.{key}",), (key,), "rename") for key in keys)
    return Case(name, "toys", entries, own, truth, (), (), (), None)


def test_variants_and_users_of_the_same_names_are_one_family() -> None:
    small, large = case("small", "layer.0.fc", "head"), case("large", "layer.0.fc", "layer.1.fc", "head")
    other, far = case("other", "layer.0.fc", "head", "neck"), case("far", "conv", "bn")
    found = families([small, far, large, other])
    assert found["small"] == found["large"] == found["other"] != found["far"]


def samples() -> list[Sample]:
    right = [Sample(f"a{i}", i, SURE, 10, 10) for i in range(8)]
    return [*right, Sample("b", 8, SURE, 0, 10), Sample("a0", 0, FLAGGED, 1, 2), Sample("b", 8, FLAGGED, 0, 10)]


def test_a_case_counts_once_however_many_keys_it_has() -> None:
    many = [replace(s, right=1000 * s.right, of=1000 * s.of) if s.case == "b" else s for s in samples()]
    assert fit(samples())[SURE].value == fit(many)[SURE].value == pytest.approx(8.5 / 10)
    assert fit(many)[SURE].right / fit(many)[SURE].keys == pytest.approx(80 / 10080)
    assert fit(samples())[FLAGGED].value == pytest.approx(1 / 3)
    assert (fit(samples())[SURE].cases, fit(samples())[SURE].families) == (9, 9)


def test_what_is_held_out_is_not_fitted() -> None:
    said = held_out(samples(), 3)
    fold = folds(samples(), 3)
    for sample, value in zip(samples(), said, strict=True):
        rest = [s for s in samples() if fold[s.family] != fold[sample.family]]
        assert value == fit(rest)[sample.reason].value
    assert min(said[:8]) < said[8]  # who sees the wrong case believes less than who does not


@given(st.dictionaries(st.integers(0, 50), st.integers(1, 9), min_size=1), st.integers(2, 5))
def test_families_are_never_cut(sizes, count) -> None:
    asked = [Sample(f"{family}.{i}", family, SURE, 1, 1) for family, size in sizes.items() for i in range(size)]
    fold = folds(asked, count)
    assert fold.keys() == sizes.keys()
    weights = [sum(size for family, size in sizes.items() if fold[family] == i) for i in range(count)]
    assert max(weights) - min(weights) <= max(sizes.values())


@given(st.floats(0, 1), st.integers(1, 1000))
def test_the_interval_holds_the_share(share, count) -> None:
    low, high = wilson(share, count)
    assert -1e-9 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1 + 1e-9


def test_the_table_and_the_figures_are_those_of_the_samples() -> None:
    said = [s.reason.confidence for s in samples()]
    table = bins(samples(), said)
    assert [(b.low, b.keys, b.cases) for b in table] == [(0.0, 12, 2), (0.98, 90, 9)]
    assert table[1].right == pytest.approx(8 / 9)
    found = quality(samples(), said, {s.case: 10 for s in samples()})
    assert found.precision == pytest.approx(80 / 90)
    assert found.cover == pytest.approx(80 / 90)
    perfect = quality(samples()[:8], [1.0] * 8, {f"a{i}": 10 for i in range(8)})
    assert (perfect.brier, perfect.ece, perfect.precision, perfect.cover) == (0, 0, 1, 1)
