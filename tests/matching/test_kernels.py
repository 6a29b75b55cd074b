"""Kernels of convolutions that two code bases lay out, cut or stack in different ways."""

from __future__ import annotations

import pytest

from automatch.matching import match
from tests.matching.truth import Served, Truth, found, solved, spec

Keys = list[tuple[str, tuple[int, ...]]]


@pytest.mark.parametrize("turn", [False, True])
def test_a_depthwise_kernel_with_its_channels_last_is_transposed(turn: bool) -> None:
    """MLX keeps [out, width, in]; of one channel in, a reshape would give the same, and say less."""
    mlx: Keys = []
    torch: Keys = []
    expected: dict[tuple[str, ...], Served] = {}
    for i in range(3):
        path = f"layers.{i}.mixer"
        for name, shape in (("in_proj.weight", (64, 16)), ("out_proj.weight", (16, 32)), ("A_log", (32, 4))):
            mlx.append((f"{path}.{name}", shape))
            torch.append((f"{path}.{name}", shape))
            expected[(f"{path}.{name}",)] = Served((f"{path}.{name}",))
        mlx.append((f"{path}.conv1d.weight", (32, 4, 1)))
        torch.append((f"{path}.conv1d.weight", (32, 1, 4)))
        expected[(f"{path}.conv1d.weight",)] = Served((f"{path}.conv1d.weight",), "transpose")
    solved(spec(torch if turn else mlx), spec(mlx if turn else torch), expected)


FRAMES = 2


def tower(kernels: Keys) -> Keys:
    layers: Keys = []
    for i in range(3):
        layers += [(f"blk.{i}.attn_q.weight", (16, 16)), (f"blk.{i}.up.weight", (64, 16))]
    return [*kernels, ("patch.bias", (16,)), *layers]


def both_towers() -> tuple[Keys, Keys, Truth]:
    """llama.cpp's vision tower with a kernel for each frame, and one with a kernel over both."""
    mine = tower([("patch.weight", (16, 3, 4, 4)), ("patch.weight.1", (16, 3, 4, 4))])
    theirs = [(f"visual.{key}", shape) for key, shape in tower([("patch.weight", (16, 3, FRAMES, 4, 4))])]
    expected: dict[tuple[str, ...], Served] = {(f"visual.{key}",): Served((key,)) for key, _ in mine[2:]}
    expected["visual.patch.weight",] = Served(("patch.weight", "patch.weight.1"), "stack")
    return mine, theirs, expected


def test_kernels_of_single_frames_are_stacked_along_the_frames() -> None:
    mine, theirs, expected = both_towers()
    answer = solved(spec(mine), spec(theirs), expected)
    assert [m.dim for m in answer.matches if m.op == "stack"] == [2]


def test_a_kernel_over_frames_is_taken_apart() -> None:
    mine, theirs, _ = both_towers()
    answer = found(match(spec(theirs), spec(mine)))
    assert answer["patch.weight", "patch.weight.1"] == Served(("visual.patch.weight",), "unstack")


def test_kernels_of_two_stages_are_no_frames_of_one() -> None:
    mine = tower([("patch.weight", (16, 3, 4, 4)), ("again.weight", (16, 3, 4, 4))])
    theirs = tower([("patch.weight", (16, 3, FRAMES, 4, 4))])
    assert "stack" not in {m.op for m in match(spec(mine), spec(theirs)).matches}


def test_a_small_kernel_is_no_stack_of_keys_and_values() -> None:
    """TensorFlow's [2, 2, 4, 16] has the sizes of two [8, 16] on each other."""
    attention = (("q_proj", (8, 16)), ("k_proj", (8, 16)), ("v_proj", (8, 16)), ("out_proj", (16, 8)))
    mine: Keys = [("up/kernel:0", (2, 2, 4, 16)), ("up/bias:0", (4,))]
    theirs: Keys = [("up.weight", (16, 4, 2, 2)), ("up.bias", (4,))]
    expected: dict[tuple[str, ...], Served] = {
        ("up.weight",): Served(("up/kernel:0",), "transpose"),
        ("up.bias",): Served(("up/bias:0",)),
    }
    for where, there in (("layers_._0", "layers.0"), ("layers_._1", "layers.1"), ("final_attn", "final_attn")):
        for name, (rows, columns) in attention:
            mine.append((f"{where}/{name}/kernel:0", (columns, rows)))
            theirs.append((f"{there}.{name}.weight", (rows, columns)))
            expected[theirs[-1][0],] = Served((mine[-1][0],), "transpose")
    solved(spec(mine), spec(theirs), expected)
