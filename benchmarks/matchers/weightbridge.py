"""weightbridge: the groups of both trees of names are split until each holds one pair, else it raises.

It needs tensors. It gets arrays that hold nothing but their own number, repeated without memory: where that number
comes out is what was matched. Strict first; where it says that tensors are left over, once more with leave to leave
some. It is told the layout of the checkpoint where leaves are called `kernel` (TensorFlow, flax).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cases import Case
from scoring import Answer, Answers

from matchers.matcher import Matcher, NoAnswerError

if TYPE_CHECKING:
    import numpy as np

TRANSPOSED = ("weight", "kernel", "w")
"""Leaves whose dimensions it turns where the two layouts differ."""


def match(case: Case) -> Answers:
    """Its adapted weights, read back."""
    import numpy as np
    import weightbridge

    def marked(number: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        return np.broadcast_to(np.float64(number), shape)

    checkpoint = {key: marked(i, shape) for i, (key, shape, _) in enumerate(case.source)}
    model = {key: marked(-1, shape) for key, shape, _ in case.target}
    foreign = any(key.endswith("kernel") for key in checkpoint)
    formats = {"in_format": "tensorflow", "out_format": "pytorch"} if foreign else {}
    try:
        adapted = weightbridge.adapt(checkpoint, model, **formats)
    except ValueError as error:
        if "unmatched leafs" not in str(error):
            raise NoAnswerError(str(error)) from error
        leave = {"ignore_unmatched_inputs": True, "ignore_unmatched_outputs": True}
        adapted = weightbridge.adapt(checkpoint, model, **formats, **leave)
    answers = {}
    for key, array in adapted.items():
        number = int(array.flat[0]) if array.size else -1
        if number >= 0:
            source = case.source[number][0]
            turned = foreign and array.ndim > 1 and source.replace("/", ".").rsplit(".", 1)[-1] in TRANSPOSED
            answers[key] = Answer((source,), "transpose" if turned else "rename")
    return answers


MATCHER = Matcher("weightbridge", match, "weightbridge", "weightbridge")
