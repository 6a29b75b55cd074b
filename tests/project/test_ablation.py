"""Every signal can be silenced, and what the tables say is what was counted."""

import pkgutil
import subprocess
import sys
from unittest.mock import patch

import ablation
import acting
import pytest
from ablation import Figures
from cases import CORPUS, knock_out, read_cases
from perturbing import Variant
from signals import SIGNALS

ONE = CORPUS / "versions" / "tv012-vit-2layer_to_tv-vit.json.gz"


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
def test_every_signal_names_places_that_exist(signal) -> None:
    for place, replacement in signal.replacements:
        before = pkgutil.resolve_name(place)
        assert callable(before) == callable(replacement), place
        with patch(place, replacement):
            assert pkgutil.resolve_name(place) is replacement
        assert pkgutil.resolve_name(place) is before


def test_signals_have_names_of_their_own() -> None:
    assert len({signal.name for signal in SIGNALS}) == len(SIGNALS)


def test_a_silenced_signal_is_missed_and_comes_back() -> None:
    vit, llama = list(read_cases([ONE])), [c for c in read_cases([CORPUS / "gguf"]) if len(c.source) < 60]
    asked = [vit, [knock_out(case, 1) for case in vit], llama]
    whole = ablation.run(None, asked)
    assert [[row.solved for row in rows] for rows in whole] == [[True], [True], [True] * len(llama)]
    without = ablation.run("names", asked)
    assert not all(row.solved for row in without[2])
    assert ablation.run(None, asked) == whole


def figures(solved: bool, silent: int, mark: int) -> Figures:
    return Figures(
        solved=solved,
        accuracy=float(solved),
        silent=silent,
        right=10,
        hedged=1,
        asked=10,
        sure=8,
        sure_right=8,
        mark=mark,
    )


def test_a_line_says_what_the_signal_was_worth() -> None:
    whole = [figures(True, 0, 1), figures(True, 0, 2)]
    worse = [figures(True, 0, 1), figures(False, 3, 3)]
    assert ablation.line("x", worse, whole) == [
        *("x", "50.0% (-1)", "50.0% (-50.0)", "50.0% (+1)", "10.0% (+0.0)", "100.00%", "80.0%", "1")
    ]
    assert ablation.gained(worse, whole)
    assert not ablation.gained(whole, whole)


def test_the_engine_runs_without_each_signal() -> None:
    command = [sys.executable, str(CORPUS.parent / "ablation.py"), "--perturb", "sorted", str(ONE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "as they are: 1 cases" in done.stdout
    assert all(f"| {signal.name} " in done.stdout for signal in SIGNALS)
    assert "no figure is worse without:" in done.stdout


def can_be_watched(signal) -> bool:
    wholes = [pkgutil.resolve_name(place) for place, _ in signal.replacements]
    return all(callable(whole) and not isinstance(whole, type) for whole in wholes)


@pytest.mark.parametrize("way", [Variant(), Variant("knockout", 1)], ids=str)
def test_a_signal_that_acts_nowhere_is_not_missed(way) -> None:
    """Watching does not change the answer, and what is said to do nothing may be left out."""
    question = ONE, way
    acts = acting.acting(question)
    idle = [signal.name for signal in SIGNALS if can_be_watched(signal) and signal.name not in acts]
    assert "order" in acts and len(idle) > 20
    for name in idle:
        with_it, without_it = acting.without(name, question)
        assert with_it == without_it, name
    assert acting.line("order", [acting.without("order", question)])[:2] == ["order", 1]
