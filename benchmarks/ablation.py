"""What each signal contributes: the engine without one of them, beside the whole engine.

    python benchmarks/ablation.py                       the corpus
    python benchmarks/ablation.py DIR_OR_FILE...        these cases instead
    python benchmarks/ablation.py --knockout SEED       one table more: a family of keys is taken out of either side
    python benchmarks/ablation.py --perturb NAME        one table more: perturbed cases (perturbing.py)
    python benchmarks/ablation.py --only PART           only the signals whose name holds this
    python benchmarks/ablation.py --largest KEYS        larger cases are left out (default: 400 keys a side)

solved, accuracy, silent, hedged and p@.95 are explained in accuracy.py; in brackets, the difference to the whole engine
(cases for solved and silent). *cases* says in how many cases any answer is another one or is believed otherwise. The
matcher alone is asked, without rules. A signal is one line of SIGNALS in signals.py; nothing in the engine knows of it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

from asking import answers_of, ask
from cases import CORPUS, Case, read_cases
from perturbing import add_variants, variants
from scoring import score
from signals import SIGNALS
from tabulate import tabulate

COLUMNS = ("without", "solved", "accuracy", "silent", "hedged", "p@.95", "of", "cases")


@dataclass(frozen=True)
class Figures:
    """One case, in numbers.

    Attributes:
        solved: everything right and nothing invented.
        accuracy: share of right keys.
        silent: keys that are wrong without a flag.
        right: right keys of a case that can be decided.
        hedged: those of them that are flagged.
        asked: keys that have a true counterpart.
        sure: answers with confidence >= 0.95 and no flag.
        sure_right: the right ones among them.
        mark: equal where all answers are the same and are believed alike.
    """

    solved: bool
    accuracy: float
    silent: int
    right: int
    hedged: int
    asked: int
    sure: int
    sure_right: int
    mark: int


def measure(case: Case) -> Figures:
    """Asks the engine, as it is now, about one case."""
    answers = answers_of(ask(case))
    row = score(case, answers, [])
    decidable = "undecidable" not in case.tags
    return Figures(
        solved=row.solved,
        accuracy=row.accuracy,
        silent=row.silent,
        right=len(row.right) if decidable else 0,
        hedged=row.hedged if decidable else 0,
        asked=row.asked,
        sure=row.sure,
        sure_right=row.sure_right,
        mark=zlib.crc32(repr(sorted(answers.items())).encode()),
    )


def run(name: str | None, asked: Sequence[Sequence[Case]]) -> list[list[Figures]]:
    """Asks the engine without a signal; in a process of its own, so that nothing remembered goes over.

    Args:
        name: of the signal, or None for the whole engine.
        asked: the cases, for each way in which they are asked.

    Returns:
        Their figures, in the same order.
    """
    with ExitStack() as stack:
        for place, replacement in (pair for signal in SIGNALS if signal.name == name for pair in signal.replacements):
            stack.enter_context(patch(place, replacement))
        return [[measure(case) for case in cases] for cases in asked]


def line(name: str, rows: Sequence[Figures], whole: Sequence[Figures]) -> list[str]:
    """One line of a table."""

    def share(part: int, of: int) -> float:
        return part / of if of else 0.0

    def told(value: float, before: float, digits: int = 1) -> str:
        change = f" ({100 * (value - before):+.{digits}f})" if rows is not whole else ""
        return f"{value:.{digits}%}{change}"

    def count(now: int, before: int) -> str:
        return f"{share(now, len(rows)):.1%}" + (f" ({now - before:+d})" if rows is not whole else "")

    def hedged(of: Sequence[Figures]) -> float:
        return share(sum(row.hedged for row in of), sum(row.right for row in of))

    return [
        name,
        count(sum(row.solved for row in rows), sum(row.solved for row in whole)),
        told(sum(row.accuracy for row in rows) / len(rows), sum(row.accuracy for row in whole) / len(rows)),
        count(sum(row.silent > 0 for row in rows), sum(row.silent > 0 for row in whole)),
        told(hedged(rows), hedged(whole)),
        f"{share(sum(row.sure_right for row in rows), sum(row.sure for row in rows)):.2%}",
        f"{share(sum(row.sure_right for row in rows), sum(row.asked for row in rows)):.1%}",
        str(sum(a.mark != b.mark for a, b in zip(rows, whole, strict=True))),
    ]


def gained(rows: Sequence[Figures], whole: Sequence[Figures]) -> bool:
    """Does any figure of the table get worse without the signal, by as much as the table shows?"""
    now, before = line("", rows, whole), line("", whole, whole)
    return any(
        sign * (float(a.split("%")[0]) - float(b.split("%")[0])) > 0
        for sign, a, b in zip((-1, -1, 1, 1, -1, -1), now[1:7], before[1:7], strict=True)
    )


def main() -> None:
    """Measures the engine without each signal, prints the tables and which signals contribute nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, default=[CORPUS], help="cases or folders of cases")
    add_variants(parser)
    parser.add_argument("--only", metavar="PART", default="", help="only signals whose name holds this")
    parser.add_argument(
        "--largest", type=int, default=400, metavar="KEYS", help="leave out larger cases (default: 400)"
    )
    parser.add_argument("--jobs", type=int, default=None, help="processes at a time (default: one a core)")
    args = parser.parse_args()
    ways = variants(args)
    names = [signal.name for signal in SIGNALS if args.only in signal.name]
    cases = [case for case in read_cases(args.paths) if max(len(case.source), len(case.target)) <= args.largest]
    asked = [[new for case in cases if (new := way.of(case)) is not None] for way in ways]
    with multiprocessing.Pool(args.jobs, maxtasksperchild=1) as pool:
        results = []
        for number, rows in enumerate(pool.imap(partial(run, asked=asked), [None, *names])):
            results.append(rows)
            print(f"{number} of {len(names)} signals", end="\r", file=sys.stderr, flush=True)
    whole, *results = results
    for i, way in enumerate(ways):
        lines = [line("(nothing)", whole[i], whole[i])]
        lines += [line(name, rows[i], whole[i]) for name, rows in zip(names, results, strict=True)]
        print(f"\n{way}: {len(whole[i])} cases")
        print(tabulate(lines, COLUMNS, tablefmt="github", disable_numparse=True, colalign=("left", *["right"] * 7)))
    idle = [
        name
        for name, rows in zip(names, results, strict=True)
        if not any(gained(rows[i], whole[i]) for i in range(len(ways)))
    ]
    print("\nno figure is worse without:", "; ".join(idle) or "none of them is idle")


if __name__ == "__main__":
    main()
