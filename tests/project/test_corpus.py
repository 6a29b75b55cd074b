"""What must hold on the whole public corpus, whatever else changes (benchmarks/accuracy.py explains the figures)."""

from operator import attrgetter

import pytest
from accuracy import run_case
from cases import CORPUS, Case, knock_out, read_cases
from perturbing import cipher_modules
from scoring import Row

from automatch.matching import match
from automatch.spec import StateDictSpec, TensorSpec

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


@pytest.mark.parametrize(
    "case", list(read_cases([CORPUS / "timm", CORPUS.parent / "more_cases" / "hf-versions"])), ids=attrgetter("id")
)
def test_by_topology_it_does_not_matter_what_modules_are_called(case: Case) -> None:
    """No tensor of these has to be put into another form, which is what names are looked at for."""
    if {served.op for served in case.truth} != {"rename"} or max(len(case.source), len(case.target)) > LARGEST_THINNED:
        pytest.skip("a large case, or one with tensors in other forms")
    ciphered = cipher_modules(case, seed=1)
    made_up = dict(zip((key for key, *_ in case.source), (key for key, *_ in ciphered.source), strict=True))

    def found(asked: Case) -> set[tuple[object, ...]]:
        specs = (
            StateDictSpec("", tuple(TensorSpec(*entry) for entry in side)) for side in (asked.source, asked.target)
        )
        return {(m.checkpoint_keys, m.model_keys, m.ambiguous) for m in match(*specs, by="topology").matches}

    assert found(ciphered) == {(tuple(map(made_up.get, keys)), *rest) for keys, *rest in found(case)}
