"""The scorer must itself be right: a perfect answer is solved, and each kind of fault is counted as what it is."""

import subprocess
import sys
from dataclasses import replace

import cases
import pytest
import replaying
import scoring
from cases import CORPUS, Case, Truth, knock_out, read_cases
from scoring import Answer, score
from transfer import cut_pairs, transfer


@pytest.fixture(scope="module")
def corpus() -> list[Case]:
    return list(read_cases([CORPUS]))


def perfect(case: Case) -> dict[str, Answer]:
    return {
        key: Answer(true.source, true.op, i if len(true.target) > 1 else None)
        for true in case.truth
        for i, key in enumerate(true.target)
    }


def test_every_key_of_the_corpus_stands_in_one_place(corpus) -> None:
    assert len(corpus) == 125
    for case in corpus:
        model, checkpoint = [key for key, _, _ in case.target], {key for key, _, _ in case.source}
        placed = [key for true in case.truth for key in true.target] + list(case.missing)
        assert sorted(placed) == sorted(model), case.id
        assert {key for true in case.truth for key in true.source} <= checkpoint, case.id
        assert set(case.unexpected) <= checkpoint, case.id


def test_the_truth_is_solved(corpus) -> None:
    rows = [score(case, perfect(case), []) for case in corpus]
    assert all(row.solved and row.accuracy == 1 and not row.silent for row in rows)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_truth_of_what_knockout_leaves_is_solved(corpus, seed) -> None:
    for case in corpus:
        left = knock_out(case, seed)
        assert score(left, perfect(left), []).solved, case.id
        assert left == knock_out(case, seed)


CASE = Case(
    id="toy",
    group="toys",
    source=(("a", (2,), "float32"), ("b", (2,), "float32"), ("qkv", (6, 2), "float32"), ("z", (1,), "float32")),
    target=tuple((key, (2,), "float32") for key in ("A", "B", "Q", "K", "V", "N")),
    truth=(
        Truth(("A",), ("a",), "rename"),
        Truth(("B",), ("b",), "rename"),
        Truth(("Q", "K", "V"), ("qkv",), "chunk"),
    ),
    missing=("N",),
    unexpected=("z",),
    tags=(),
    handwritten_rules=2,
)


def test_faults_are_counted_as_what_they_are() -> None:
    right = perfect(CASE)
    swapped = {**right, "A": Answer(("b",)), "B": Answer(("a",), flagged=True), "N": Answer(("z",))}
    row = score(CASE, swapped, [])
    assert (row.wrong, row.invented, row.silent, row.solved) == (("A", "B"), ("N",), 2, False)
    assert row.accuracy == 3 / 6

    mixed = {**right, "Q": replace(right["Q"], piece=1), "K": replace(right["K"], piece=0)}
    assert score(CASE, mixed, []).wrong == ("Q", "K")

    open_left = {key: answer for key, answer in right.items() if key != "A"}
    row = score(CASE, open_left, [])
    assert (len(row.right), row.wrong, row.solved) == (4, (), False)

    hedged = {**right, "A": Answer(("a",), flagged=True)}
    assert (score(CASE, hedged, []).hedged, score(CASE, hedged, []).solved) == (1, True)


def test_rules_that_do_something_else_are_counted() -> None:
    rules = [{"pattern": "a", "replacement": "A"}, {"pattern": "b", "replacement": "B"}]
    assert score(CASE, perfect(CASE), rules).replay_bad == 0
    assert score(CASE, perfect(CASE), rules[:1]).replay_bad == 1  # b is not renamed
    assert score(CASE, perfect(CASE), [*rules, {"pattern": "z", "replacement": "A"}]).replay_bad == 1  # z lands on A


def test_replay_follows_the_semantics_of_rules() -> None:
    rules = [
        {"pattern": r"h\.(?P<i>\d+)\.(?P<rest>.+)", "replacement": "layers.{i*2+1}.{rest}.{{x}}"},
        {"pattern": r"h\..*", "replacement": "never"},
    ]
    assert replaying.replay(rules, ["h.3.w", "xh.3.w", "h.x"]) == {"h.3.w": "layers.7.w.{x}", "h.x": "never"}
    with pytest.raises(ValueError, match="not integer arithmetic"):
        replaying.expand("{__import__('os')}", {"i": "1"})


def test_summary_has_every_figure() -> None:
    line = scoring.summary([score(CASE, perfect(CASE), [{"pattern": "a", "replacement": "A"}])])
    assert line.split(" | ")[:3] == [
        "cases    1",
        "solved 100.0%",
        "accuracy 100.0%",
    ]
    assert "rules/hand 0.50 (1) | replay bad 1 | errors 0" in line


def layers(count: int, tail: str = "") -> Case:
    """So many layers, whose name changes; in the large variant another word may take the place of the last one."""
    names = [(f"h.{i}.ln", f"layers.{i}.{tail if tail and i > 3 else 'norm'}") for i in range(count)]
    return Case(
        id=f"{count} layers",
        group="toys",
        source=tuple((f"{old}.{leaf}", (i + 2,), "float32") for i, (old, _) in enumerate(names) for leaf in ("a", "b")),
        target=tuple((f"{new}.{leaf}", (i + 2,), "float32") for i, (_, new) in enumerate(names) for leaf in ("a", "b")),
        truth=tuple(
            Truth((f"{new}.{leaf}",), (f"{old}.{leaf}",), "rename") for old, new in names for leaf in ("a", "b")
        ),
        missing=(),
        unexpected=(),
        tags=(),
        handwritten_rules=1,
    )


def test_transfer_tries_the_rules_of_the_small_variant_on_the_large_one() -> None:
    row = transfer(layers(2), layers(9))
    assert (row.rules, row.renames, row.right, row.first) == (1, 18, 18, "")
    row = transfer(layers(2), layers(9, "last"))
    assert (row.right, row.renames) == (8, 18)
    assert row.first == "h.4.ln.a becomes layers.4.norm.a by rename [6]; should become layers.4.last.a by rename [6]"
    ((small, large),) = cut_pairs([layers(9)])
    assert (len(small.source), small.id, large) == (4, "9 layers cut to 2 of 9", layers(9))
    assert list(cut_pairs([layers(3)])) == []


def test_cases_of_one_folder_alone_can_be_read() -> None:
    assert {case.group for case in cases.read_cases([CORPUS / "vision"])} == {"vision"}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["accuracy.py", "--cases", str(CORPUS / "versions" / "tv012-vit-2layer_to_tv-vit.json.gz")], "replay bad 0"),
        (["transfer.py", str(CORPUS / "versions")], "3/3 pairs complete"),
        (["transfer.py", "--cut", "--failures", str(CORPUS / "transformers")], "pairs complete"),
        (["calibration.py", "--knockout", "1", "--knockout", "2", str(CORPUS / "frameworks")], "names agree"),
        (["startup.py", "--rounds", "1"], "none"),
        (["scale.py", "500"], "MB"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_each_benchmark_runs(command, said) -> None:
    folder = CORPUS.parent
    done = subprocess.run(
        [sys.executable, str(folder / command[0]), *command[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
