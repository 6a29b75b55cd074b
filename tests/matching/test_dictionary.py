"""Modules of one shape in names without blocks: what is sure of others says which word stands for which."""

from __future__ import annotations

import pytest
from torch import nn

from automatch.matching import match
from tests.matching.built import built
from tests.matching.truth import Served, flagged, found, spec

POINTS, LINKS = 19, 38
"""Channels of the two heads: their last layers alone show which is which."""


def conv(before: int, after: int, size: int = 3) -> nn.Module:
    return nn.Conv2d(before, after, size)


def flat(stages: int) -> nn.Module:
    """OpenPose's names: the branch is the number behind L."""
    modules = {"conv1": conv(3, 8)}
    for stage in range(1, stages + 1):
        for branch, channels in ((1, LINKS), (2, POINTS)):
            for i in range(1, 4):
                modules[f"conv{i}_stage{stage}_L{branch}"] = conv(8, 8)
            modules[f"conv4_stage{stage}_L{branch}"] = conv(8, channels, 1)
    return built(modules)


def nested(stages: int) -> nn.Module:
    """The same in two lists, the other branch first."""
    modules: dict[str, nn.Module] = {"stem": conv(3, 8)}
    for branch, channels in (("points", POINTS), ("links", LINKS)):
        for stage in range(stages):
            for i in range(3):
                modules[f"{branch}.{stage}.{2 * i}"] = conv(8, 8)
            modules[f"{branch}.{stage}.6"] = conv(8, channels, 1)
    return built(modules)


def expected(stages: int) -> dict[tuple[str, ...], Served]:
    out = {(f"stem.{role}",): Served((f"conv1.{role}",)) for role in ("weight", "bias")}
    for branch, number in (("points", 2), ("links", 1)):
        for stage in range(stages):
            for i in range(4):
                for role in ("weight", "bias"):
                    key = f"conv{i + 1}_stage{stage + 1}_L{number}.{role}"
                    out[(f"{branch}.{stage}.{2 * i}.{role}",)] = Served((key,))
    return out


@pytest.mark.parametrize("stages", [1, 3])
def test_a_word_that_has_one_partner_wherever_it_is_sure(stages: int) -> None:
    assignment = match(spec(flat(stages)), spec(nested(stages)))
    assert found(assignment) == expected(stages)
    assert "links.0.0.weight" in flagged(assignment)


def test_words_that_the_sure_pairs_contradict_say_nothing() -> None:
    """With heads of one width nothing is sure, and all stays in the order of the two sides, flagged."""
    modules = {f"conv{i}_L{branch}": conv(8, 8) for branch in (1, 2) for i in range(1, 4)}
    other = {f"{branch}.{i}": conv(8, 8) for branch in ("points", "links") for i in range(3)}
    assignment = match(spec(built(modules)), spec(built(other)))
    assert flagged(assignment) == {key for m in assignment.matches for key in m.model_keys}


@pytest.mark.parametrize("levels", [(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_numbers_stand_for_numbers(levels: tuple[int, ...]) -> None:
    """A RetinaNet's feature pyramid, its levels in any order: the widths of the layers before say what is which.

    The one more of the extra level leaves them without a rank.
    """
    modules, widths = {}, (16, 32, 64)
    for i in levels:
        modules |= {f"P{i + 3}_1": conv(widths[i], 8, 1), f"P{i + 3}_2": conv(8, 8)}
    modules |= {"P6": conv(widths[-1], 8), "P7_2": conv(8, 8)}
    other = {f"inner_blocks.{i}.0": conv(width, 8, 1) for i, width in enumerate(widths)}
    other |= {f"layer_blocks.{i}.0": conv(8, 8) for i in range(3)}
    other |= {"extra_blocks.p6": conv(widths[-1], 8), "extra_blocks.p7": conv(8, 8)}
    served = found(match(spec(built(modules)), spec(built(other))))
    for i in range(3):
        assert served[(f"layer_blocks.{i}.0.weight",)] == Served((f"P{i + 3}_2.weight",))


@pytest.mark.parametrize("first", ["stages.{s}.branch{b}.{i}", "branch{b}.{s}.{i}"])
def test_numbers_that_lie_across_each_other_decide_nothing(first: str) -> None:
    """`conv1_stage1_L2` is `branch2.0` and not `branch1.2`, though the numbers are the same ones."""
    flat, nested, expected = [], [], {}
    for s in (1, 2):
        for b, out in ((1, LINKS), (2, POINTS)):
            for i, shape in enumerate(((16, 16, 3, 3), (16, 16, 3, 3), (out, 16, 1, 1)), 1):
                key, other = f"conv{i}_stage{s}_L{b}.weight", first.format(s=s - 1, b=b, i=2 * i - 2) + ".weight"
                flat.append((key, shape))
                nested.append((other, shape))
                expected[(other,)] = Served((key,))
    for mine, theirs in ((flat, nested), (nested, flat)):
        assignment = match(spec(mine), spec(theirs))
        truth = expected if theirs is nested else {s.checkpoint: Served(t) for t, s in expected.items()}
        assert all(m.ambiguous or truth[m.model_keys].checkpoint == m.checkpoint_keys for m in assignment.matches)
