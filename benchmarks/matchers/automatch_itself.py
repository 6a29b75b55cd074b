"""automatch, asked by two files as in accuracy.py."""

from __future__ import annotations

import tempfile
from pathlib import Path

from accuracy import diagnose
from cases import Case
from scoring import Answers

from matchers.matcher import Matcher


def match(case: Case) -> Answers:
    """Its diagnosis."""
    with tempfile.TemporaryDirectory() as folder:
        answers, _, _ = diagnose(case, Path(folder))
    return answers


MATCHER = Matcher("automatch", match)
