"""What must hold on the whole public corpus, whatever else changes (benchmarks/accuracy.py explains the figures)."""

import pytest
from accuracy import run_case
from cases import CORPUS, read_cases
from scoring import Row


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[Row]:
    folder = tmp_path_factory.mktemp("corpus")
    return [run_case(case, folder)[0] for case in read_cases([CORPUS])]


def test_nothing_crashes(rows) -> None:
    assert {row.case.id: row.error for row in rows if row.error} == {}


def test_rules_do_exactly_what_the_matches_say(rows) -> None:
    assert {row.case.id: row.replay_bad for row in rows if row.replay_bad} == {}


def test_wrong_matches_are_flagged(rows) -> None:
    silent = [row.case.id for row in rows if row.silent]
    assert len(silent) <= 0.1 * len(rows), silent


@pytest.mark.parametrize("group", ["vision", "accidents"])
def test_everyday_cases_are_solved(rows, group) -> None:
    here = [row for row in rows if row.case.group == group]
    unsolved = [row.case.id for row in here if not row.solved]
    assert len(unsolved) <= 0.2 * len(here), unsolved


def test_each_old_densenet_takes_one_rule(rows) -> None:
    found = {row.case.id: (row.solved, row.rules) for row in rows if "densenet" in row.case.id}
    assert len(found) == 4
    assert set(found.values()) == {(True, 1)}, found
