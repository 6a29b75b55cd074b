"""Fuzzy names, greedily: of all pairs of one shape the most similar first, ties in the order of the model."""

from __future__ import annotations

from cases import Case
from scoring import Answer, Answers

from matchers.matcher import Matcher, keys_by_shape


def match(case: Case) -> Answers:
    """The pairs by similarity (rapidfuzz's ratio), each key once."""
    import numpy as np
    from rapidfuzz.process import cdist

    answers: dict[str, Answer] = {}
    sources = keys_by_shape(case.source)
    for shape, model_keys in keys_by_shape(case.target).items():
        keys = sources.get(shape, [])
        alike = cdist(model_keys, keys)
        taken: set[int] = set()
        for place in np.argsort(-alike, axis=None, kind="stable"):
            row, column = divmod(int(place), len(keys))
            if model_keys[row] not in answers and column not in taken:
                taken.add(column)
                answers[model_keys[row]] = Answer((keys[column],))
    return answers


MATCHER = Matcher("rapidfuzz, greedy", match)
