"""The Hungarian method on names and shapes: of all assignments of equal shapes the one with the most similar names."""

from __future__ import annotations

from cases import Case
from scoring import Answer, Answers

from matchers.matcher import Matcher, keys_by_shape


def match(case: Case) -> Answers:
    """The assignment (scipy) of the largest sum of similarities (rapidfuzz's ratio), one shape after another."""
    from rapidfuzz.process import cdist
    from scipy.optimize import linear_sum_assignment

    answers: dict[str, Answer] = {}
    sources = keys_by_shape(case.source)
    for shape, model_keys in keys_by_shape(case.target).items():
        keys = sources.get(shape, [])
        if keys:
            rows, columns = linear_sum_assignment(cdist(model_keys, keys), maximize=True)
            answers.update(
                {model_keys[row]: Answer((keys[column],)) for row, column in zip(rows, columns, strict=True)}
            )
    return answers


MATCHER = Matcher("Hungarian on names, shapes", match)
