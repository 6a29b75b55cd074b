"""Recurrent layers with a layer, or a parameter, for every gate against torch's: equal outputs, both ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import automatch
from automatch.matching import match
from tests.matching.truth import flagged, found, spec

WIDTH, HIDDEN = 5, 8
LSTM, GRU = ("input", "forget", "cell", "output"), ("reset", "update", "new")
LETTERS = dict(zip((*LSTM, *GRU), "ifgorzn", strict=True))


class Apart(nn.Module):
    """A recurrent layer with two linear layers for each gate, registered in an order of its own."""

    def __init__(self, gates: tuple[str, ...], called: Callable[[str, str], str], width: int = WIDTH) -> None:
        super().__init__()
        self.called = called
        for gate in gates[::-1]:
            for reads, size in (("hidden", HIDDEN), ("input", width)):
                node: nn.Module = self
                *way, last = called(gate, reads).split(".")
                for name in way:
                    if name not in dict(node.named_children()):
                        node.add_module(name, nn.Module())
                    node = node.get_submodule(name)
                node.add_module(last, nn.Linear(size, HIDDEN))

    def gate(self, name: str, reads: str, x: torch.Tensor) -> torch.Tensor:
        return self.get_submodule(self.called(name, reads))(x)


class Lstm(Apart):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(x.shape[1], HIDDEN)
        for step in x:
            i, f, g, o = (self.gate(n, "input", step) + self.gate(n, "hidden", h) for n in LSTM)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return h


class Gru(Apart):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(x.shape[1], HIDDEN)
        for step in x:
            (ri, zi, ni), (rh, zh, nh) = (
                [self.gate(n, reads, seen) for n in GRU] for reads, seen in (("input", step), ("hidden", h))
            )
            z = (zi + zh).sigmoid()
            h = (1 - z) * (ni + (ri + rh).sigmoid() * nh).tanh() + z * h
        return h


class Fused(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], width: int = WIDTH) -> None:
        super().__init__()
        self.rnn = kind(width, HIDDEN)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(x)[0][-1]


def as_letters(gate: str, reads: str) -> str:
    return f"cell.W_{reads[0]}{LETTERS[gate]}"


def as_words(gate: str, reads: str) -> str:
    return f"cell.{gate}_{reads}"


def as_modules(gate: str, reads: str) -> str:
    return f"cell.{'in' if gate == 'input' else 'out' if gate == 'output' else gate}_gate.{reads[0]}2h"


WRITINGS = [as_letters, as_words, as_modules]


@pytest.mark.parametrize("called", WRITINGS)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("width", [WIDTH, HIDDEN])
@pytest.mark.parametrize("back", [False, True])
def test_gates_are_joined_and_cut(
    called: Callable[[str, str], str], kind: type[nn.RNNBase], width: int, back: bool
) -> None:
    """Whichever side has them apart, the layer computes the same afterwards; `load` refuses what is flagged."""
    apart = Lstm(LSTM, called, width) if kind is nn.LSTM else Gru(GRU, called, width)
    fused = Fused(kind, width)
    checkpoint, model = (fused, apart) if back else (apart, fused)
    automatch.load(model, checkpoint.state_dict())
    x = torch.randn(4, 2, width)
    assert torch.allclose(checkpoint(x), model(x), atol=1e-6)


def parameters(turned: bool, width: int = WIDTH) -> dict[str, torch.Tensor]:
    """A layer as many write it: `x @ W_i + h @ U_i + b_i`, or `W_i @ x` where not turned."""
    shapes = {"W": (width, HIDDEN) if turned else (HIDDEN, width), "U": (HIDDEN, HIDDEN), "b": (HIDDEN,)}
    return {f"cell.{a}_{gate}": torch.randn(shape) for gate in "ifco" for a, shape in shapes.items()}


@pytest.mark.parametrize("turned", [False, True])
def test_square_parameters_lie_as_the_others(turned: bool) -> None:
    state = parameters(turned)
    with torch.no_grad():
        diagnosis = automatch.diagnose(state, Fused(nn.LSTM))
    loaded = diagnosis.rules.apply(state)
    for key, letter in (("rnn.weight_ih_l0", "W"), ("rnn.weight_hh_l0", "U")):
        parts = [state[f"cell.{letter}_{gate}"] for gate in "ifco"]
        assert torch.equal(loaded[key], torch.cat([part.T if turned else part for part in parts]))


def test_square_parameters_that_nothing_shows_are_flagged() -> None:
    assignment = match(spec(parameters(True, HIDDEN)), spec(Fused(nn.LSTM, HIDDEN)))
    assert {"rnn.weight_ih_l0", "rnn.weight_hh_l0"} <= flagged(assignment)


def test_gates_without_a_name_are_not_sure() -> None:
    """Four layers that are only numbered may be in any order."""
    keys = [(f"cell.gates.{i}.{r}.weight", (HIDDEN, WIDTH if r == "x" else HIDDEN)) for i in range(4) for r in "xh"]
    assert all(m.ambiguous for m in match(spec(keys), spec(Fused(nn.LSTM))).matches)


@pytest.mark.parametrize("read", ["xh", "x"])
def test_an_lstm_is_no_gru(read: str) -> None:
    """The gates of an LSTM fill no GRU whose input's matrices have as many rows: four times 6 are three times 8."""
    keys = [("emb.weight", (11, 5))]
    keys += [(f"lstm.{d}.{r}2{g}.weight", (6, 5 if r == "x" else 6)) for d in (0, 1) for r in read for g in "ifgo"]
    model = nn.Module()
    model.emb, model.rnn = nn.Embedding(11, 5), nn.GRU(5, 8, bidirectional=True)
    assert found(match(spec(keys), spec(model))).keys() == {("emb.weight",)}


@pytest.mark.parametrize("order", ["UV", "WU", "UW"])
def test_letters_that_nothing_explains_are_flagged(order: str) -> None:
    """Which of two square matrices reads the state, textbooks write in either way."""
    keys = [
        (f"cell.{a}_{g}.{r}", (8, 8)[: 2 - (r == "bias")]) for a in order for g in "ifgo" for r in ("weight", "bias")
    ]
    keys = [(key, shape) for key, shape in keys if key[5] == order[0] or "bias" not in key]
    assignment = match(spec(keys), spec(Fused(nn.LSTM, HIDDEN)))
    assert {"rnn.weight_ih_l0", "rnn.weight_hh_l0"} <= flagged(assignment)


@pytest.mark.parametrize("order", ["UV", "WU", "UW"])
@pytest.mark.parametrize("back", [False, True])
def test_letters_are_explained_by_a_layer_of_another_width(order: str, back: bool) -> None:
    """The first of two layers reads more inputs than it has states; the second calls its matrices alike."""
    reads, keeps = order
    model = nn.Module()
    model.rnn = nn.LSTM(12, 8, num_layers=2, bias=False)
    keys = [
        (f"cell.{i}.{a}_{g}.weight", (8, 12 if (i, a) == (0, reads) else 8))
        for i in (0, 1)
        for a in sorted(order)
        for g in "ifgo"
    ]
    mine, theirs = (spec(model), spec(keys)) if back else (spec(keys), spec(model))
    assignment = match(mine, theirs)
    for i in (0, 1):
        for a, kind in ((reads, "ih"), (keeps, "hh")):
            parts, whole = tuple(f"cell.{i}.{a}_{g}.weight" for g in "ifgo"), (f"rnn.weight_{kind}_l{i}",)
            one = next(m for m in assignment.matches if m.model_keys == (parts if back else whole))
            assert one.checkpoint_keys == (whole if back else parts)


def test_layers_of_other_names_are_no_gates() -> None:
    """Both sides have the same LSTM, and beside it four layers that one of them calls as gates are called."""
    layers = dict(zip(("in", "f", "g", "out"), ("in_proj", "ff", "gg", "out_proj"), strict=True))
    rnn = [(key, tuple(tensor.shape)) for key, tensor in nn.LSTM(5, HIDDEN).state_dict().items()]
    mine = [(f"lstm.{key}", shape) for key, shape in rnn] + [("fc.weight", (3, HIDDEN))]
    model = [*mine[:-1], ("fc.weight", (5, HIDDEN))]
    mine += [(f"net.{name}.weight", (HIDDEN, HIDDEN)) for name in layers]
    model += [(f"net.{name}.weight", (HIDDEN, HIDDEN)) for name in layers.values()]
    assert match(spec(mine), spec(model)).missing_keys == ("fc.weight",)


@pytest.mark.parametrize("shape", [(8,), (8, 0)])
def test_a_state_that_no_matrix_reads(shape: tuple[int, ...]) -> None:
    """As in an IndRNN, whose `weight_hh` is a vector."""
    mine = [("cell.weight_ih", (8, 4)), ("cell.weight_hh", shape), ("fc.weight", (5, 8))]
    model = [("rnn.weight_ih", (8, 4)), ("rnn.weight_hh", shape), ("fc.weight", (3, 8))]
    assert "rnn.weight_ih" not in match(spec(mine), spec(model)).missing_keys
