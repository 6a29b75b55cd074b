"""The benchmark beside the rivals: those that are installed answer, the others are named, and a slow one is ended."""

import re
import subprocess
import sys
from dataclasses import replace

import matchers
import pytest
import workers
from cases import CORPUS, Case, read_case
from matchers import detectron2, fuzzy, hungarian
from matchers.matcher import Matcher, NoAnswerError
from scoring import Answers, score

VIT = CORPUS / "versions" / "tv012-vit-2layer_to_tv-vit.json.gz"


def test_all_matchers_stand_in_one_table() -> None:
    command = [sys.executable, str(CORPUS.parent / "rivals.py"), "--groups", "--limit", "60", str(VIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, whole, group, end = done.stdout.split("\n\n")
    assert whole.startswith("| all (1 cases)") and group.startswith("| versions (1)")
    for matcher in matchers.MATCHERS:
        (line,) = [line for line in whole.splitlines() if line.startswith(f"| {matcher.name} ")]
        assert re.search(r"\| +[01]/1 \|" if matcher.installed else "not installed", line), line
    assert re.search(r"\| automatch +\| +1/1 \| +100\.0% \| +0 \| +0 \| +0 \|", whole)
    assert end == "groups in which a rival solves more cases: none\n"


def test_a_matcher_that_is_not_installed_is_known_as_such() -> None:
    absent = Matcher("nobody", hungarian.match, "no_such_package", "no-such-package")
    assert (absent.installed, absent.version) == (False, "")


def test_names_and_shapes_alone_solve_what_was_renamed_a_little() -> None:
    case = read_case(VIT)
    for matcher in (hungarian, fuzzy):
        assert score(case, matcher.match(case), []).solved


def entries(**shapes: tuple[int, ...]) -> tuple:
    return tuple((key.replace("_", "."), shape, "float32") for key, shape in shapes.items())


def case_of(source: tuple, target: tuple) -> Case:
    return replace(workers.NOTHING, source=source, target=target)


def test_the_longest_suffix_wins_and_two_takers_are_an_error() -> None:
    checkpoint = entries(weight=(2,), norm_weight=(2,), head_weight=(9,))
    found = detectron2.match(case_of(checkpoint, entries(body_norm_weight=(2,), head_weight=(3,))))
    assert {key: answer.keys for key, answer in found.items()} == {"body.norm.weight": ("norm.weight",)}
    with pytest.raises(NoAnswerError, match=r"norm\.weight suits a\.norm\.weight and b\.norm\.weight"):
        detectron2.match(case_of(checkpoint, entries(a_norm_weight=(2,), b_norm_weight=(2,))))


def test_greedy_takes_the_most_similar_pair_first() -> None:
    found = fuzzy.match(case_of(entries(abcd=(2,), abce=(2,)), entries(abcx=(2,), abce=(2,))))
    assert {key: answer.keys for key, answer in found.items()} == {"abce": ("abce",), "abcx": ("abcd",)}


def stumble(case: Case) -> Answers:
    raise KeyError(case.source[0][0])


def test_what_a_matcher_raises_is_no_answer(monkeypatch) -> None:
    monkeypatch.setattr(workers, "MATCHERS", (Matcher("stumbler", stumble),))
    reply = workers.answer(workers.NOTHING, 0)
    assert (reply.answers, reply.error, reply.late) == ({}, "KeyError('a')", False)


def test_a_time_limit_ends_one_case_and_the_next_is_answered() -> None:
    ours = matchers.MATCHERS[0]
    assert ours.name == "automatch"
    case = read_case(VIT)
    with workers.Worker(0, limit=0.0) as worker:
        assert worker.ask(case).late
        assert worker.ask(case).late
