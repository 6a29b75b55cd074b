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


def pixels(last: bool) -> tuple[Keys, list[str]]:
    """A small network whose kernels have their channels last (MLX), or behind the outputs (torch)."""
    keys: Keys = []
    for name, out, channels in (("conv1", 16, 3), ("layers.0.conv", 32, 16), ("layers.1.conv", 32, 32)):
        keys.append((f"{name}.weight", (out, 3, 3, channels) if last else (out, channels, 3, 3)))
        keys.append((f"{name}.bias", (out,)))
    return [*keys, ("fc.weight", (10, 32))], [key for key, shape in keys if len(shape) > 2]


@pytest.mark.parametrize("turn", [False, True])
def test_kernels_with_their_channels_last_are_turned_with_the_first_that_does_not_show_it(turn: bool) -> None:
    """Three channels and kernels of three: [16, 3, 3, 3] in either layout."""
    (mlx, kernels), (torch, _) = pixels(last=True), pixels(last=False)
    expected = {(key,): Served((key,), "transpose" if key in kernels else "rename") for key, _ in mlx}
    answer = solved(spec(torch if turn else mlx), spec(mlx if turn else torch), expected)
    assert {m.perm for m in answer.matches if m.op == "transpose"} == {(0, 2, 3, 1) if turn else (0, 3, 1, 2)}


def test_kernels_that_the_other_side_has_one_by_one_are_no_frames() -> None:
    layers: Keys = [
        (f"layers.{i}.{name}", shape) for i in range(2) for name, shape in (("a", (64, 16)), ("b", (16, 64)))
    ]
    own: Keys = [(f"kernels.{i}", (16, 3, 4, 4)) for i in range(2)]
    theirs: Keys = [*own, ("temporal.weight", (16, 3, FRAMES, 4, 4)), *layers]
    solved(spec([*own, *layers]), spec(theirs), {(key,): Served((key,)) for key, _ in [*own, *layers]})


def test_frames_lie_in_the_order_of_their_numbers() -> None:
    mine, theirs, expected = both_towers()
    solved(spec([mine[1], mine[0], *mine[2:]]), spec(theirs), expected)


def test_what_fits_only_turned_and_in_other_numbers_is_a_guess() -> None:
    """Either the file lies [in, out], or it lost what leads up and the model what leads down."""
    mine: Keys = [("wte.weight", (50, 16))]
    theirs: Keys = [("embed.weight", (50, 16))]
    for i in range(3):
        mine += [(f"h.{i}.attn.qkv.weight", (48, 16)), (f"h.{i}.attn.proj.weight", (16, 16))]
        mine += [(f"h.{i}.mlp.proj.weight", (16, 64))]
        theirs += [(f"layers.{i}.attn.{part}_proj.weight", (16, 16)) for part in "qkvo"]
        theirs += [(f"layers.{i}.mlp.{part}_proj.weight", (64, 16)) for part in ("gate", "up")]
    answer = match(spec(mine), spec(theirs))
    assert [m for m in answer.matches if "transpose" in m.op and not m.ambiguous] == []


def test_a_turned_head_turns_no_kernel_of_three_channels() -> None:
    """Paddle stores linear layers [in, out], and kernels as torch does."""
    widths = (("conv1", 32, 3), ("conv2", 32, 32), ("conv3", 64, 32))
    convolutions: Keys = [(f"{name}.weight", (out, before, 3, 3)) for name, out, before in widths]
    answer = match(
        spec([*convolutions, ("out.weight", (64, 10)), ("out.bias", (10,))]),
        spec([*convolutions, ("fc.weight", (10, 64)), ("fc.bias", (10,))]),
    )
    served = found(answer)
    assert served["fc.weight",] == Served(("out.weight",), "transpose")
    assert [served[key,] for key, _ in convolutions] == [Served((key,)) for key, _ in convolutions]


def test_a_square_kernel_that_is_called_by_an_embedding_is_transposed_as_the_others() -> None:
    """diffusers' `time_emb_proj` is a linear layer, and no table."""
    flax: Keys = [("conv_in/kernel", (3, 3, 4, 8)), ("conv_in/bias", (8,))]
    torch: Keys = [("conv_in.weight", (8, 4, 3, 3)), ("conv_in.bias", (8,))]
    expected: dict[tuple[str, ...], Served] = {("conv_in.weight",): Served(("conv_in/kernel",), "transpose")}
    for i, inner in enumerate((24, 8, 8)):
        flax += [(f"resnets_{i}/time_emb_proj/kernel", (8, inner)), (f"resnets_{i}/time_emb_proj/bias", (inner,))]
        torch += [(f"resnets.{i}.time_emb_proj.weight", (inner, 8)), (f"resnets.{i}.time_emb_proj.bias", (inner,))]
        expected[f"resnets.{i}.time_emb_proj.weight",] = Served((f"resnets_{i}/time_emb_proj/kernel",), "transpose")
    answer = found(match(spec(flax), spec(torch)))
    assert {keys: answer.get(keys) for keys in expected} == expected
