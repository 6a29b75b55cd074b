"""How many conversions of the corpus are learnt from values, with random weights in place of the real ones.

    python benchmarks/relearning.py [--fresh] [--elements N] [PATH ...]

Each case is a real pair of checkpoint and model whose true correspondence is certain (corpus/README.md). The checkpoint
is filled with random values, the conversion is what the true operations make of it; `automatch.learn` sees both and
must give rules that make the conversion of the checkpoint, bit for bit. `--fresh` fills vectors as an untrained network
has them: biases and means with zeros, all others with ones, counters with 0. Then values do not tell them apart, and a
wrong match must at least be flagged: `silent` counts those that are not.

Left out are what would be large (`--elements`), and operations whose dimensions the corpus does not tell (those of
three words).
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator, Sequence
from itertools import permutations
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from cases import CORPUS, Case, read_cases
from numpy.typing import NDArray

import automatch
from automatch.errors import RuleError
from automatch.ops import Chunk, Concat, Interleave, Op, Reshape, Stack, Transpose, Unstack
from automatch.spec import Shape

Tensors = dict[str, NDArray[Any]]
HEAD_SIZES = (64, 32, 16, 8, 4)


def filled(case: Case, fresh: bool) -> Tensors:
    """The checkpoint with values."""
    random = np.random.default_rng(0)
    out: Tensors = {}
    for key, shape, dtype in case.source:
        if not dtype.startswith(("float", "bfloat")):
            out[key] = np.zeros(shape, np.int64) if fresh else random.integers(0, 1000, shape)
        elif fresh and len(shape) == 1 and shape[0] > 1:
            zero = any(word in key for word in ("bias", "mean", "beta"))
            out[key] = np.zeros(shape, np.float32) if zero else np.ones(shape, np.float32)
        else:
            out[key] = random.standard_normal(shape).astype(np.float32)
    return out


def options(word: str, shapes: Sequence[Shape], goal: Sequence[Shape], last: bool) -> Iterator[Op]:
    """The operations that a word of the corpus may mean here."""
    dims = range(len(shapes[0]))
    if word == "transpose":
        yield from (Transpose(perm) for perm in permutations(dims) if perm != tuple(dims))
    elif word == "reshape" and last:
        yield Reshape(goal[0])
    elif word == "permute":
        rows = shapes[0][0]
        yield from (Interleave((-1, size // 2, 2, 1)) for size in HEAD_SIZES if rows % size == 0)
    elif word == "concat":
        yield from map(Concat, dims)
    elif word == "stack":
        yield from map(Stack, (*dims, len(shapes[0])))
    elif word == "unstack":
        yield from map(Unstack, dims)
    elif word == "chunk":
        for dim in dims:
            sizes = [shape[dim] for shape in goal if len(shape) > dim]
            if len(sizes) == len(goal) and all(sizes) and sum(sizes) == shapes[0][dim]:
                yield Chunk(len(sizes), dim, tuple(sizes))


def converted(words: Sequence[str], given: Sequence[NDArray[Any]], goal: Sequence[Shape]) -> list[NDArray[Any]] | None:
    """What the operations make of tensors, if they can be meant so that the shapes come out right."""
    if not words:
        return list(given) if [t.shape for t in given] == list(goal) else None
    if words == ["stack", "concat"]:  # part by part
        parts = [Stack(0).forward(given[i : i + goal[0][0]])[0] for i in range(0, len(given), goal[0][0])]
        return converted(["concat"], parts, goal)
    if words[0] == "rename":
        return converted(words[1:], given, goal)
    for op in options(words[0], [t.shape for t in given], goal, len(words) == 1):
        try:
            made = converted(words[1:], op.forward(given), goal)
        except RuleError:
            continue
        if made is not None:
            return made
    return None


def learnt(case: Case, fresh: bool) -> dict[str, int] | None:
    """Figures of one case; None where nothing of it can be made."""
    old, goals = filled(case, fresh), {key: shape for key, shape, _ in case.target}
    new: Tensors = {}
    truth = {}
    for true in case.truth:
        words = true.op.split("+")
        if len(words) > 2:
            continue
        made = converted(words, [old[key] for key in true.source], [goals[key] for key in true.target])
        if made is not None:
            new.update({key: tensor.copy(order="C") for key, tensor in zip(true.target, made, strict=True)})
            truth[true.target] = (true.source, *true.also)
    if not new:
        return None
    found = automatch.learn(old, {key: new[key] for key in goals if key in new})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # keys that go by a guess
        out = found.rules.apply(old)
    flagged = {match.model_keys for match in found.doubtful}
    wrong = [m.model_keys for m in found.matches if m.checkpoint_keys not in truth.get(m.model_keys, ())]
    same = all(key in out and np.array_equal(out[key], tensor) for key, tensor in new.items())
    return {
        "keys": len(new),
        "whole": int(same and found.proof.ok and not found.missing_keys and not wrong),
        "silent": sum(keys not in flagged for keys in wrong),
        "flagged": len(flagged),
        "missing": len(found.missing_keys),
        "not proven": int(not found.proof.ok),
    }


def main() -> None:
    """Learns every case that is small enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", metavar="PATH", nargs="*", type=Path, default=[CORPUS], help="default: the corpus")
    parser.add_argument("--fresh", action="store_true", help="vectors as in an untrained network")
    parser.add_argument("--elements", type=int, default=2_000_000, help="of both sides together (default: 2000000)")
    arguments = parser.parse_args()
    rows, start = [], time.perf_counter()
    for case in read_cases(arguments.paths):
        if sum(prod(shape) for _, shape, _ in (*case.source, *case.target)) > arguments.elements:
            continue
        row = learnt(case, arguments.fresh)
        if row is not None:
            rows.append(row)
            if not row["whole"]:
                print(f"  {case.id}: " + ", ".join(f"{count} {name}" for name, count in row.items() if name != "whole"))
    total = {name: sum(row[name] for row in rows) for name in rows[0]} if rows else {}
    print(f"{len(rows)} conversions, {total.pop('whole', 0)} learnt whole; all together: ", end="")
    print(", ".join(f"{count} {name}" for name, count in total.items()), f"({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    main()
