"""What speaks for and against a pair of tensors: plain data, judged in `confidence`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from automatch.matching.basis.leaves import Leaf

# fmt: off
Level = Literal[
    "unit", "adapters", "astray", "behind", "beside", "blocks", "column", "copies", "copy", "crossed",
    "doubtful", "down", "echo", "elsewhere", "exchangeable", "exchanged", "extended", "followed", "gate",
    "gates", "half", "head", "inputs", "inside", "jumps", "leavings", "left", "lent", "listed", "lonely",
    "misnamed", "moved", "name", "numbered", "once", "only", "outside", "pin", "placed", "remains", "runs", "sequence",
    "shared", "spelt", "summed", "tied", "translated", "ungated", "unnamed", "used", "usual", "widened",
    "worded",
]
"""How a pair was found, or what made it doubtful; "unit": by its modules, so that all other evidence counts."""
# fmt: on


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why two leaves were put together.

    Attributes:
        fit: share of the two modules' tensors that fit each other.
        name: similarity of names in [-1, 1].
        order: 1 where both stand in the same place of the sequence of shapes.
        margin: by how much this choice beats the best other one; large where there is no other.
        name_margin: the same by names alone.
        order_margin: the same by order alone.
        fit_margin: how much better the tensors of the two modules fit than those of the next best choice.
        rivals: how many other tensors of the scope would have fitted.
        sequence: share of the scope's modules whose sequence of shapes agrees.
        variety: how many different shapes that sequence has; order says nothing where all are alike.
        intact: nothing is left over in the scope on either side.
        learnt: sister blocks decided the same way.
        trust_names: how well names explain the undisputed modules of the scope.
        trust_order: how well order does.
        contradiction: the names speak of things that exclude each other.
        astray: the two lie in containers that do not belong together.
        level: how it was found, or what made it doubtful; `confidence` has the words of each.
        free: how many unmatched tensors of the scope would fit one of the two.
        backwards: one side numbers these modules from the last on, and the other from the first.
        loose: numbered on one side, and named on the other in another order than it stands beside its like.
        waiting: an unmatched tensor would do as well, so that the scopes around decide first.
        crossed: some modules of this shape were put together against their order, so it does not decide the rest.
    """

    fit: float = 1.0
    name: float = 0.0
    order: float = 0.0
    margin: float = 9.0
    name_margin: float = 9.0
    order_margin: float = 9.0
    fit_margin: float = 0.0
    rivals: int = 0
    sequence: float = 0.0
    variety: int = 9
    intact: bool = True
    learnt: float = 0.0
    trust_names: float = 1.0
    trust_order: float = 1.0
    contradiction: bool = False
    astray: bool = False
    level: Level = "unit"
    free: int = 0
    crossed: bool = False
    backwards: bool = False
    loose: bool = False
    waiting: bool = False


Found = tuple[Leaf, Leaf, Evidence]
"""A checkpoint's leaf and the model's that it serves, and why."""
