"""The proof that names cannot give: two libraries' networks, the weights of one loaded into the other, equal outputs.

    python benchmarks/functional.py                  every pair, both ways
    python benchmarks/functional.py swin vit         pairs with one of these words in their names
    python benchmarks/functional.py --report         and the diagnosis of those that are not equal

Every tensor of both networks, buffers too, is filled with random numbers of its own, so that a swap of any two shows;
the epsilon of norms is set equal. `automatch.load(second, first.state_dict())`, then both get the same input, in
float64 and in evaluation mode. A difference is the largest between the outputs, over the largest of the first's.

keys         of the first network's state_dict and the second's
flagged      ambiguous matches
load         strict, or refused: the second network was left as it was
before       difference before loading
difference   after loading; where the load was refused, after loading what automatch would have guessed
verdict      equal; WRONG: loaded without a flag, and other outputs; refused, and whether the guess was right; "other
             row order": loaded, other outputs, but the match is right: one of the two stores the rows of a fused query,
             key and value in an order of its own, which neither keys nor shapes show (put right, the outputs are equal)

The exit code is 1 where any pair is WRONG. What is not installed is named and left out
(`pip install -e '.[functional]'`).
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from networks import PAIRS, Network, Pair, first
from tabulate import tabulate

import automatch

EQUAL = 1e-9
"""Differences below are rounding of float64."""
EPSILON = 1e-6
COLUMNS = ("checkpoint -> model / and back", "keys", "rules", "flagged", "load", "before", "difference", "verdict")


@dataclass(frozen=True)
class Side:
    """A network and the module that was built of it."""

    network: Network
    model: torch.nn.Module

    def fused(self) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Key, tensor and where the rows of query, key and value stand, of tensors with an order of their own."""
        for key, tensor in self.model.state_dict().items():
            if self.network.fused and self.network.fused in key.split("."):
                yield key, tensor, self.network.rows(len(tensor))


@dataclass(frozen=True)
class Outcome:
    """What came of one load.

    Attributes:
        names: of both networks.
        keys: of their state_dicts.
        diagnosis: what automatch found.
        loaded: whether it loaded, or refused.
        before: difference of the outputs before.
        difference: after, None where not even the guess could be loaded.
        rearranged: the same with the rows of fused tensors put right, None where that was not needed.
    """

    names: str
    keys: tuple[int, int]
    diagnosis: Any
    loaded: bool
    before: float
    difference: float | None
    rearranged: float | None = None

    @property
    def verdict(self) -> str:
        """In words."""
        equal = self.difference is not None and self.difference < EQUAL
        if self.loaded:
            known = self.rearranged is not None and self.rearranged < EQUAL
            return "equal" if equal else "other row order" if known else "WRONG"
        if self.difference is None:
            return "refused, nothing to compare"
        return "refused, the guess is equal" if equal else "refused, the guess differs"

    def line(self) -> list[str]:
        """Its part of the line of the table."""
        return [
            f"{self.keys[0]} -> {self.keys[1]}",
            str(len(self.diagnosis.rules)),
            str(sum(len(match.model_keys) for match in self.diagnosis.doubtful)),
            "strict" if self.loaded else "refused",
            f"{self.before:.0e}",
            "" if self.difference is None else f"{self.difference:.0e}",
            self.verdict,
        ]


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Fills every floating tensor of the state_dict with numbers of its own, of a size that signals survive."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                continue
            if tensor.dim() > 1:
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / max(1, tensor[0].numel()) ** 0.5)
            else:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) - (0.5 if "bias" in key else -0.5))


def level(model: torch.nn.Module) -> None:
    """Sets the epsilon of all norms equal; libraries differ there, and so would the outputs."""
    for part in model.modules():
        for name in ("eps", "variance_epsilon"):
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, EPSILON)


def difference(one: torch.nn.Module, other: torch.nn.Module, given: torch.Tensor) -> float:
    """The largest difference of their outputs, over the largest output of the first."""
    with torch.no_grad():
        wanted, got = first(one(given)), first(other(given))
    return float((wanted - got).abs().max() / wanted.abs().max())


def load(source: Side, target: Side, given: torch.Tensor) -> Outcome:
    """Loads the first network's random weights into the second."""
    names, one, other = f"{source.network} -> {target.network}", source.model, target.model
    randomise(one, 0)
    randomise(other, 1)
    before = difference(one, other, given)
    state_dict = one.state_dict()
    keys = len(state_dict), len(other.state_dict())
    try:
        loaded = automatch.load(other, state_dict)
    except automatch.NotProvenError as refusal:
        return Outcome(names, keys, refusal.diagnosis, False, before, guess(refusal.diagnosis, one, other, given))
    after, rearranged = difference(one, other, given), None
    if after >= EQUAL and (source.network.fused or target.network.fused):
        plain = {**state_dict, **{key: tensor[rows] for key, tensor, rows in source.fused()}}
        automatch.load(other, plain)
        with torch.no_grad():
            for _, tensor, rows in target.fused():
                tensor[rows] = tensor.clone()
        rearranged = difference(one, other, given)
    return Outcome(names, keys, loaded.diagnosis, True, before, after, rearranged)


def guess(diagnosis: Any, one: torch.nn.Module, other: torch.nn.Module, given: torch.Tensor) -> float | None:
    """The difference after loading all that the rules rename, ambiguous or not; None where that cannot be loaded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that these are guesses is what the table says
            other.load_state_dict(diagnosis.rules.apply(one.state_dict()), strict=False)
    except (automatch.AutomatchError, RuntimeError, ValueError):
        return None
    return difference(one, other, given)


def run(pair: Pair, report: bool) -> list[Outcome]:
    """Both ways of a pair."""
    one, other = (Side(network, network.build().double().eval()) for network in (pair.one, pair.other))
    level(one.model)
    level(other.model)
    outcomes = []
    for source, target in ((one, other), (other, one)):
        outcomes.append(load(source, target, pair.input()))
        if report and outcomes[-1].verdict != "equal":
            print(f"\n{outcomes[-1].names}: {outcomes[-1].verdict}\n{outcomes[-1].diagnosis}", flush=True)
    return outcomes


def absent(pair: Pair) -> list[Network]:
    """The networks of a pair whose libraries are not installed."""
    return [network for network in (pair.one, pair.other) if not network.installed]


def show(results: Sequence[tuple[Pair, Sequence[Outcome]]]) -> None:
    """Prints the table: a line per pair, where both ways differ one after the other."""
    lines = []
    for pair, outcomes in results:
        cells = [" / ".join(dict.fromkeys(ways)) for ways in zip(*(o.line() for o in outcomes), strict=True)]
        if not outcomes:
            libraries = ", ".join(dict.fromkeys(network.library for network in absent(pair)))
            cells = [*[""] * (len(COLUMNS) - 2), f"not installed: {libraries}"]
        lines.append([f"{pair.one} -> {pair.other}", *cells])
    align = ("left", *("right",) * (len(COLUMNS) - 2), "left")
    print(f"\n{tabulate(lines, COLUMNS, tablefmt='github', colalign=align, disable_numparse=True)}")


def main() -> int:
    """Runs the pairs that the arguments name; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only pairs with one of these words in their names")
    parser.add_argument("--report", action="store_true", help="the diagnosis of those that are not equal")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    wanted = [
        pair
        for pair in PAIRS
        if not args.words or any(word.lower() in f"{pair.one} {pair.other}".lower() for word in args.words)
    ]
    results = [(pair, run(pair, args.report) if not absent(pair) else []) for pair in wanted]
    show(results)
    verdicts = [outcome.verdict for _, outcomes in results for outcome in outcomes]
    print("\n" + "; ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts))))
    return int("WRONG" in verdicts)


if __name__ == "__main__":
    sys.exit(main())
