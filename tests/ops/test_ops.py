"""Operations on tensors: values, shapes, and their reverse, for torch and numpy alike."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from automatch.errors import RuleError
from automatch.ops import (
    OPS,
    Chunk,
    Concat,
    Flip,
    Interleave,
    JoinLatent,
    Permute,
    Reshape,
    SplitLatent,
    Stack,
    Transpose,
    Unstack,
    relative_shape,
)

KINDS = {"torch": torch.from_numpy, "numpy": lambda array: array}
META = {"meta": lambda array: torch.from_numpy(array).to("meta")}


def array(*shape):
    return np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("make", (KINDS | META).values(), ids=KINDS | META)
@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        (Transpose(), [(2, 3)]),
        (Transpose((3, 2, 0, 1)), [(2, 3, 4, 5)]),
        (Permute((1, 2, 0)), [(2, 3, 4)]),
        (Interleave((-1, 2, 3, 1)), [(12, 5)]),
        (Interleave((1, -1, 3, 2), 1), [(2, 12, 2)]),
        (Interleave((2, 2, 3, -1), -1), [(2, 12)]),
        (Flip((2, -1)), [(6, 5)]),
        (Flip((-1, 1), -1), [(2, 5)]),
        (Reshape((0, -1)), [(4, 3, 1, 1)]),
        (Concat(0), [(2, 3), (1, 3), (4, 3)]),
        (Concat(-1), [(2, 3), (2, 1)]),
        (Stack(1), [(2, 3), (2, 3)]),
        (Chunk(3, 0), [(6, 2)]),
        (Chunk(3, 1, (4, 1, 1)), [(2, 12)]),
        (Unstack(0), [(3, 2)]),
        (Unstack(-1), [(3, 2)]),
        (JoinLatent(), [(3, 5, 2), (3, 4, 5)]),
        (SplitLatent((2, 4)), [(18, 5)]),
        (SplitLatent((2, 1)), [(6, 5), (3, 2)]),
    ],
)
def test_shapes_are_foretold(make, op, shapes):
    out = op.forward([make(array(*shape)) for shape in shapes])
    assert tuple(tuple(t.shape) for t in out) == op.out_shapes(shapes)
    assert {str(t.dtype).rpartition(".")[2] for t in out} == {"float32"}


def test_tensors_without_memory_are_joined_without_torchs_compiler():
    """Its import takes seconds, and every rule is first tried on such tensors."""
    code = """
import sys, torch
from automatch.ops import Concat, JoinLatent, Stack
for op, shapes in ((Concat(0), [(2, 3)] * 2), (Stack(0), [(2, 3)] * 2), (JoinLatent(), [(3, 5, 2), (3, 4, 5)])):
    op.forward([torch.empty(shape, device="meta") for shape in shapes])
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_operation_names_one_that_undoes_it():
    names = {op.name: op for op in OPS}
    assert all(names[names[op.name].reverse].reverse == op.name for op in OPS)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 1))
def test_cutting_undoes_joining(parts, size, dim):
    tensors = [array(size, size) + i for i in range(parts)]
    back = Chunk(parts, dim).forward(Concat(dim).forward(tensors))
    assert all(np.array_equal(a, b) for a, b in zip(tensors, back, strict=True))
    back = Unstack(dim).forward(Stack(dim).forward(tensors))
    assert all(np.array_equal(a, b) for a, b in zip(tensors, back, strict=True))


def test_transposing_twice_gives_the_tensor_back():
    tensor = torch.from_numpy(array(2, 3, 4))
    assert torch.equal(Transpose().forward(Transpose().forward([tensor]))[0], tensor)


def test_rows_go_from_one_rotary_layout_into_the_other_and_back():
    heads, size, width = 3, 8, 5
    rows = torch.from_numpy(array(heads * size, width))
    hugging_face = rows.view(heads, size // 2, 2, width).transpose(1, 2).reshape(heads * size, width)
    (turned,) = Interleave((-1, size // 2, 2, 1)).forward([rows])
    assert torch.equal(turned, hugging_face)
    assert torch.equal(Interleave((-1, 2, size // 2, 1)).forward([turned])[0], rows)


def test_scale_and_shift_change_places_and_come_back():
    rows = torch.from_numpy(array(6, 2))
    (turned,) = Flip((2, -1)).forward([rows])
    assert torch.equal(turned, torch.cat(rows.chunk(2)[::-1])) and torch.equal(Flip((2, -1)).forward([turned])[0], rows)


@given(*[st.integers(1, 4)] * 4)
def test_keys_and_values_of_latent_attention_are_those_of_its_heads(heads, keys, values, latent):
    whole = torch.from_numpy(array(heads * (keys + values), latent))
    of_keys, of_values = SplitLatent((keys, values)).forward([whole])
    for head, rows in enumerate(whole.view(heads, -1, latent)):
        assert torch.equal(of_keys[head].T, rows[:keys]) and torch.equal(of_values[head], rows[keys:])
    assert torch.equal(JoinLatent().forward([of_keys, of_values])[0], whole)


@pytest.mark.parametrize(
    ("source", "target", "shape"),
    [
        ((512, 512, 1, 1), (512, 512), (0, 0)),
        ((64, 3, 1, 1), (64, 3), (0, 0)),
        ((96,), (1, 1, 1, 96), (1, 1, 1, -1)),
        ((1, 1, 1, 96), (96,), (-1,)),
        ((4096, 25088), (4096, 512, 7, 7), (0, -1, 7, 7)),
        ((768, 12, 64), (768, 768), (0, -1)),
        ((12, 64, 512), (768, 512), (-1, 0)),
        ((768, 512), (12, 64, 512), (-1, 64, 0)),
        ((50, 512), (1, 50, 512), (1, -1, 0)),
        ((1, 50, 512), (50, 512), (-1, 0)),
        ((512, 50), (512, 1, 50), (0, 1, -1)),
        ((8, 3, 512, 64), (8, 1536, 64), (0, -1, 0)),
        ((1536, 512), (3, 512, 512), (3, -1, 0)),
        ((1,), (), ()),
        ((2, 3), (7,), None),
    ],
)
def test_a_shape_is_said_with_as_few_sizes_as_it_needs(source, target, shape):
    assert relative_shape(source, target) == shape
    if shape is not None:
        assert Reshape(shape).out_shapes([source]) == (target,)


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        (Transpose(), [(3,)]),
        (Transpose((0, 1)), [(3,)]),
        (Permute(), [(3, 3)]),
        (Permute((0, 0)), [(3, 3)]),
        (JoinLatent(), [(2, 3, 4)]),
        (JoinLatent(), [(2, 3, 4), (2, 3, 4)]),
        (JoinLatent(), [(2, 3), (2, 3)]),
        (SplitLatent(), [(4, 2)]),
        (SplitLatent((2, 0)), [(4, 2)]),
        (SplitLatent((2, 1)), [(4, 2)]),
        (SplitLatent((2, 1)), [(0, 2)]),
        (Flip(), [(4,)]),
        (Flip((2, -1)), [(5,)]),
        (Flip((2, 3)), [(12,)]),
        (Flip((-1, -1)), [(4,)]),
        (Flip((0, -1)), [(4,)]),
        (Flip((2, -1), 1), [(4,)]),
        (Interleave(), [(4,)]),
        (Interleave((-1, 2, 3, 1)), [(8,)]),
        (Interleave((-1, 2, -1, 1)), [(8,)]),
        (Interleave((1, 2, 2, 1)), [(8,)]),
        (Interleave((0, 2, 2, 1)), [(8,)]),
        (Interleave((-1, 2, 2, 1), 1), [(8,)]),
        (Reshape(), [(3,)]),
        (Reshape((0, 0)), [(3,)]),
        (Reshape((-1, 0, 0)), [(3,)]),
        (Reshape((-1, -1)), [(3,)]),
        (Reshape((2, -1)), [(3,)]),
        (Reshape((4,)), [(3,)]),
        (Concat(0), [(2, 3), (2, 4)]),
        (Concat(2), [(2, 3), (2, 3)]),
        (Stack(0), [(2, 3), (3, 2)]),
        (Stack(4), [(2,), (2,)]),
        (Chunk(2, 0), [(3,)]),
        (Chunk(2, 1), [(4,)]),
        (Chunk(2, 0, (1, 1, 1)), [(6,)]),
        (Unstack(1), [(3,)]),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(op, shapes):
    with pytest.raises(RuleError) as error:
        op.out_shapes(shapes)
    assert "\n" not in str(error.value)
