"""What must hold on the whole public corpus, whatever else changes (benchmarks/accuracy.py explains the figures)."""

import pytest
from accuracy import run_case
from cases import CORPUS, knock_out, read_cases
from scoring import Row

LARGEST_THINNED = 700


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[Row]:
    folder = tmp_path_factory.mktemp("corpus")
    return [run_case(case, folder)[0] for case in read_cases([CORPUS])]


@pytest.fixture(scope="module")
def thinned(tmp_path_factory) -> list[Row]:
    """The smaller cases, a family of keys taken out of either side: what is not there must not be invented."""
    folder = tmp_path_factory.mktemp("thinned")
    small = [case for case in read_cases([CORPUS]) if max(len(case.source), len(case.target)) <= LARGEST_THINNED]
    return [run_case(knock_out(case, seed=1), folder)[0] for case in small]


@pytest.fixture(params=["rows", "thinned"])
def either(request) -> list[Row]:
    return request.getfixturevalue(request.param)


def test_nothing_crashes(either) -> None:
    assert {row.case.id: row.error for row in either if row.error} == {}


def test_rules_do_exactly_what_the_matches_say(either) -> None:
    assert {row.case.id: row.replay_bad for row in either if row.replay_bad} == {}


def test_wrong_matches_are_flagged(either) -> None:
    silent = [row.case.id for row in either if row.silent]
    assert len(silent) <= 0.1 * len(either), silent


@pytest.mark.parametrize("group", ["vision", "accidents"])
def test_everyday_cases_are_solved(rows, group) -> None:
    here = [row for row in rows if row.case.group == group]
    unsolved = [row.case.id for row in here if not row.solved]
    assert len(unsolved) <= 0.2 * len(here), unsolved


def test_each_old_densenet_takes_one_rule(rows) -> None:
    found = {row.case.id: (row.solved, row.rules) for row in rows if "densenet" in row.case.id}
    assert len(found) == 4
    assert set(found.values()) == {(True, 1)}, found
