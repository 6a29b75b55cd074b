"""The benchmark of equal outputs: real networks of two libraries, and a wrong load is told from a right one."""

import re
import subprocess
import sys
from pathlib import Path

import functional
import networks
import pytest
import torch
from networks import Network, Pair
from torch import nn

FUNCTIONAL = Path(functional.__file__)


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(FUNCTIONAL), *args], capture_output=True, text=True, check=False)


def test_torchs_encoder_and_torchvisions_blocks_give_equal_outputs() -> None:
    done = run("EncoderBlock")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "EncoderBlock" in line]
    assert re.search(r"36 -> 36 .* 0 \| +strict .*\| equal +\|$", line)
    assert done.stdout.endswith("\n2 equal\n")


def test_there_are_a_dozen_pairs_of_many_libraries() -> None:
    assert len(networks.PAIRS) >= 12
    libraries = {network.library for pair in networks.PAIRS for network in (pair.one, pair.other)}
    assert libraries == {"torch", "torchvision", "timm", "transformers"}


class Gate(nn.Module):
    """Two layers of one shape under names that mislead; `turned` uses them the other way round."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        self.up = nn.Linear(4, 4)
        self.gate = nn.Linear(4, 4)
        self.turned = turned

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        up, gate = (self.gate, self.up) if self.turned else (self.up, self.gate)
        return up(x) * torch.sigmoid(gate(x))


def gates(turned: bool) -> Pair:
    return Pair(
        Network("torch", "Gate", lambda: Gate(False)), Network("torch", "other Gate", lambda: Gate(turned)), width=4
    )


@pytest.mark.parametrize(("turned", "verdict"), [(False, "equal"), (True, "WRONG")])
def test_other_outputs_without_a_flag_are_wrong(turned, verdict, monkeypatch, capsys) -> None:
    monkeypatch.setattr(functional, "PAIRS", (gates(turned),))
    monkeypatch.setattr(sys, "argv", ["functional.py"])
    assert functional.main() == (verdict == "WRONG")
    assert f"2 {verdict}" in capsys.readouterr().out


class Twins(nn.Module):
    """Names that say nothing."""

    def __init__(self, names: str) -> None:
        super().__init__()
        for name in names:
            self.add_module(name, nn.Linear(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, other = self.children()
        return one(x) * torch.sigmoid(other(x))


def test_a_refusal_is_shown_as_one(monkeypatch, capsys) -> None:
    pair = Pair(Network("torch", "ab", lambda: Twins("ab")), Network("torch", "xz", lambda: Twins("xz")), width=4)
    monkeypatch.setattr(functional, "PAIRS", (pair,))
    monkeypatch.setattr(sys, "argv", ["functional.py", "--report"])
    assert functional.main() == 0
    said = capsys.readouterr().out
    assert "refused, the guess is equal" in said and "ambiguous" in said


class Fused(nn.Module):
    """A fused layer whose pieces stand in this order."""

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)
        self.order = order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pieces = self.qkv(x).chunk(3, -1)
        query, key, value = (pieces[i] for i in self.order)
        return query * torch.sigmoid(key) + value


@pytest.mark.parametrize(("order", "verdict"), [((1, 0, 2), "other row order"), ((2, 1, 0), "WRONG")])
def test_only_the_row_order_that_a_network_is_known_for_is_excused(order, verdict, monkeypatch, capsys) -> None:
    def rows(size: int) -> torch.Tensor:
        return torch.arange(size).view(3, -1)[[1, 0, 2]].flatten()

    plain = Network("torch", "plain", lambda: Fused((0, 1, 2)))
    turned = Network("torch", "turned", lambda: Fused(order), fused="qkv", rows=rows)
    monkeypatch.setattr(functional, "PAIRS", (Pair(plain, turned, width=4),))
    monkeypatch.setattr(sys, "argv", ["functional.py"])
    assert functional.main() == (verdict == "WRONG")
    assert f"2 {verdict}" in capsys.readouterr().out


def test_what_is_not_installed_is_named(monkeypatch, capsys) -> None:
    absent = Network("no_such_library", "net", lambda: None)
    monkeypatch.setattr(functional, "PAIRS", (Pair(absent, absent),))
    monkeypatch.setattr(sys, "argv", ["functional.py"])
    assert functional.main() == 0
    assert "not installed: no_such_library" in capsys.readouterr().out


def test_random_weights_are_all_different() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    functional.randomise(model, 0)
    tensors = [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
    values = torch.cat([tensor.flatten() for tensor in tensors])
    assert len(set(values.tolist())) == len(values)
    assert (model[1].running_var > 0).all()
