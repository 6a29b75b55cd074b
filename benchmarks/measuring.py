"""Whole processes, measured: how long they ran and how much memory they took."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPORT_PEAK = (Path(__file__).parent / "peak.py").read_text(encoding="utf-8")
"""Code that a measured process runs last: prints its peak of resident memory in bytes."""


@dataclass(frozen=True)
class Timing:
    """Medians over several runs, in seconds."""

    wall: float
    cpu: float


# As in an installed package, byte code is compiled once and kept, wherever the machine says not to; here, aside.
_BYTE_CODE = tempfile.TemporaryDirectory()


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": _BYTE_CODE.name}


def run_python(*args: str) -> subprocess.CompletedProcess[str]:
    """Runs this interpreter; what it leaves with is in the result, as `automatch` leaves with 1 where keys are left."""
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, check=False, env=_environment())


def time_in_turn(commands: Sequence[Sequence[str]], rounds: int) -> list[Timing]:
    """Times commands of this interpreter, one after the other in each round, so that a slow moment hits all alike.

    Args:
        commands: the arguments of each.
        rounds: how often; one more round warms up and is not counted.

    Returns:
        The medians, in the order of the commands.
    """
    walls: list[list[float]] = [[] for _ in commands]
    cpus: list[list[float]] = [[] for _ in commands]
    for turn in range(rounds + 1):
        for i, command in enumerate(commands):
            cpu, start = _children_cpu(), time.perf_counter()
            done = run_python(*command)
            wall = time.perf_counter() - start
            if done.returncode not in (0, 1):
                raise RuntimeError(f"{command}: {done.stderr}")
            if turn:
                walls[i].append(wall)
                cpus[i].append(_children_cpu() - cpu)
    return [Timing(statistics.median(w), statistics.median(c)) for w, c in zip(walls, cpus, strict=True)]


def _children_cpu() -> float:
    spent = os.times()
    return spent.children_user + spent.children_system


def imported_modules(*args: str) -> set[str]:
    """Names of the modules that this interpreter imports when it runs with these arguments."""
    traced = run_python("-X", "importtime", *args).stderr
    return {line.rsplit("|", 1)[1].strip() for line in traced.splitlines() if line.startswith("import time:")}
