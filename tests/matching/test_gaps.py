"""What is left over on both sides between the same neighbours."""

from __future__ import annotations

import pytest

from automatch.describing.lexicon import lexicon
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.names import Names
from automatch.matching.reviews.gaps import between_the_same

SHAPES = {"norm": (16,), "fc": (64, 16), "head": (5, 64)}
MINE = ["enc.0.fc", "enc.1.fc", "top.0.norm", "top.1.head"]
THEIRS = ["layers.0.fc", "layers.1.fc", "encoder.ln_norm", "classify_head"]


def leaves(modules: list[str], roles: tuple[str, ...] = ("weight", "bias")) -> list[Leaf]:
    out = []
    for module in modules:
        shape = next(shape for kind, shape in SHAPES.items() if module.endswith(kind))
        for role in roles:
            own = shape if role == "weight" else shape[:1]
            key = f"{module}.{role}"
            out.append(Leaf(tuple(key.split(".")), own, (key,), len(out), False, raw=own))
    return out


def pairs(mine: list[Leaf], theirs: list[Leaf], served: dict[str, str]) -> list[Found]:
    by_key = {leaf.keys[0]: leaf for leaf in theirs}
    moved = [(s, by_key.get(served.get(s.keys[0].rpartition(".")[0], "") + "." + s.path[-1])) for s in mine]
    return [(s, t, Evidence()) for s, t in moved if t is not None]


def left_over(mine: list[Leaf], theirs: list[Leaf], served: dict[str, str], forbid: str = "") -> dict[str, str]:
    """What is put together beside the pairs of modules that are served already."""
    found = pairs(mine, theirs, served)
    more = between_the_same(found, mine, theirs, Names(lexicon()), lambda s, t: s.keys[0] == forbid)
    return {s.keys[0]: t.keys[0] for s, t, _ in more}


SERVED = {one: other for one, other in zip(MINE, THEIRS, strict=True) if not one.endswith("norm")}


def test_a_norm_that_the_head_holds_here_and_the_encoder_there() -> None:
    assert left_over(leaves(MINE), leaves(THEIRS), SERVED) == {
        "top.0.norm.weight": "encoder.ln_norm.weight",
        "top.0.norm.bias": "encoder.ln_norm.bias",
    }


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (leaves(MINE), leaves([THEIRS[2], *THEIRS[:2], THEIRS[3]])),
        (leaves([*MINE[:3], "top.2.norm", MINE[3]]), leaves(THEIRS)),
        (leaves(MINE, ("weight",)), leaves(THEIRS, ("weight",))),
        ([leaf for leaf in leaves(MINE) if leaf.keys[0] != "top.0.norm.bias"], leaves(THEIRS)),
        (leaves(MINE), leaves([*THEIRS[:2], "encoder.q_head", THEIRS[3]])),
        (leaves([MINE[0], MINE[1], MINE[3], MINE[2]]), leaves([THEIRS[0], THEIRS[1], THEIRS[3], THEIRS[2]])),
    ],
    ids=["elsewhere", "two of them", "one tensor", "half of it", "of another shape", "at the end"],
)
def test_less_is_no_evidence(mine: list[Leaf], theirs: list[Leaf]) -> None:
    assert left_over(mine, theirs, SERVED) == {}


def test_names_and_persons_may_forbid_it() -> None:
    mine = leaves([*MINE[:2], "top.query_norm", MINE[3]])
    theirs = leaves([*THEIRS[:2], "encoder.key_norm", THEIRS[3]])
    assert left_over(mine, theirs, SERVED) == {}
    assert left_over(leaves(MINE), leaves(THEIRS), SERVED, forbid="top.0.norm.bias") == {}
