"""detectron2's suffix rule, as its documentation describes it; own code, its table for Caffe2 names left out.

A checkpoint key goes to the model key that is the same or that ends in it after a dot; of several, a model key takes
the longest. Pairs of other shapes are left out; a checkpoint key that suits two model keys is an error.
"""

from __future__ import annotations

from cases import Case
from scoring import Answer, Answers

from matchers.matcher import Matcher, NoAnswerError


def match(case: Case) -> Answers:
    """The longest suffix of each model key that is a checkpoint key."""
    shapes = {key: shape for key, shape, _ in case.source}
    answers: dict[str, Answer] = {}
    taken: dict[str, str] = {}
    for key, shape, _ in case.target:
        parts = key.split(".")
        suffix = next((s for s in (".".join(parts[i:]) for i in range(len(parts))) if s in shapes), None)
        if suffix is None or shapes[suffix] != shape:
            continue
        if suffix in taken:
            raise NoAnswerError(f"{suffix} suits {taken[suffix]} and {key}")
        taken[suffix] = key
        answers[key] = Answer((suffix,))
    return answers


MATCHER = Matcher("detectron2's suffixes", match)
