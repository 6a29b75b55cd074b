"""automatch beside its rivals: the same cases, the same scoring, one table.

    python benchmarks/rivals.py                      all matchers, all groups, then solved cases group by group
    python benchmarks/rivals.py DIR_OR_FILE...       on these cases alone
    python benchmarks/rivals.py --groups             the whole table for every group
    python benchmarks/rivals.py --limit SECONDS      how long a matcher may take for one case (default: 10)
    python benchmarks/rivals.py --only NAME          one matcher (may be repeated); a part of the name is enough

solved           every truth key right, nothing put on a key that is truly missing
accuracy         mean over the cases of right keys / (truth keys + invented ones)
silently wrong   cases with at least one wrong or invented match that is not flagged
no answer        it raised instead; "out of time" is counted apart
seconds          of the matcher alone, imports not counted, the limit where it was reached

accuracy.py explains when a match is right. Every matcher sees keys, shapes and dtypes and nothing else; it runs in a
process of its own. What is not installed is named and left out (`pip install -e '.[rivals]'`).
A new matcher is one file in matchers/ and its name in the tuple there.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cases import CORPUS, Case, read_cases
from matchers import MATCHERS
from matchers.matcher import Matcher
from scoring import Row, score
from tabulate import tabulate
from workers import Worker

COLUMNS = ("solved", "accuracy", "silently wrong", "no answer", "out of time", "seconds")


@dataclass(frozen=True)
class Result:
    """The rows of one matcher, in the order of the cases, and which of them the time limit ended."""

    matcher: Matcher
    rows: tuple[Row, ...]
    late: frozenset[str]

    def group(self, name: str) -> Result:
        """The part of one group."""
        return Result(self.matcher, tuple(row for row in self.rows if row.case.group == name), self.late)

    @property
    def solved(self) -> int:
        """How many cases are solved."""
        return sum(row.solved for row in self.rows)

    def figures(self) -> list[str]:
        """One line of the table."""
        late = sum(row.case.id in self.late for row in self.rows)
        return [
            self.matcher.name,
            f"{self.solved}/{len(self.rows)}",
            f"{sum(row.accuracy for row in self.rows) / max(1, len(self.rows)):.1%}",
            str(sum(row.silent > 0 for row in self.rows)),
            str(sum(bool(row.error) for row in self.rows) - late),
            str(late),
            f"{sum(row.seconds for row in self.rows):.1f}",
        ]


def run(number: int, cases: Sequence[Case], limit: float, each: bool) -> Result:
    """Asks one matcher for all cases.

    Args:
        number: of the matcher in MATCHERS.
        cases: what is asked.
        limit: seconds for one case.
        each: print a line per case.

    Returns:
        Its rows.
    """
    rows, late = [], set()
    with Worker(number, limit) as worker:
        for case in cases:
            reply = worker.ask(case)
            row = score(case, reply.answers, [], reply.seconds, reply.error)
            rows.append(row)
            if reply.late:
                late.add(case.id)
            if each:
                print(
                    f"{MATCHERS[number].name} | {case.group}/{case.id} | {'OK' if row.solved else 'BAD'}"
                    f" {len(row.right)}/{row.asked} silent={row.silent} {row.seconds:.2f}s"
                    f" {' '.join(reply.error.split())[:120]}",
                    flush=True,
                )
    return Result(MATCHERS[number], tuple(rows), frozenset(late))


def show(title: str, results: Sequence[Result], absent: Sequence[Matcher]) -> None:
    """Prints one table; what is not installed stands in it with its name."""
    lines = [result.figures() for result in results]
    lines += [[matcher.name, "not installed", *[""] * (len(COLUMNS) - 1)] for matcher in absent]
    align = ("left", *("right",) * len(COLUMNS))
    print(f"\n{tabulate(lines, (title, *COLUMNS), tablefmt='github', colalign=align, disable_numparse=True)}")


def show_by_group(groups: Sequence[str], results: Sequence[Result]) -> None:
    """Prints solved and silently wrong cases, a line per group and a column per matcher."""
    lines = []
    for group in groups:
        parts = [result.group(group) for result in results]
        cells = [f"{part.solved} · {sum(row.silent > 0 for row in part.rows)}" for part in parts]
        lines.append([f"{group} ({len(parts[0].rows)})", *cells])
    heads = ("solved · silently wrong", *(result.matcher.name for result in results))
    print(f"\n{tabulate(lines, heads, tablefmt='github', disable_numparse=True)}")


def ahead(groups: Sequence[str], results: Sequence[Result]) -> list[str]:
    """Where a rival solves more cases than the first matcher, in words."""
    ours, *rivals = results
    return [
        f"{group}: {rival.matcher.name} {rival.group(group).solved}, {ours.matcher.name} {ours.group(group).solved}"
        for group in groups
        for rival in rivals
        if rival.group(group).solved > ours.group(group).solved
    ]


def main() -> None:
    """Runs the matchers that the arguments name on the cases that they name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, default=[CORPUS], help="cases or folders of cases")
    parser.add_argument("--groups", action="store_true", help="the whole table for every group")
    parser.add_argument("--cases", action="store_true", help="a line per case")
    parser.add_argument("--limit", type=float, default=10.0, metavar="SECONDS", help="for one case (default: 10)")
    parser.add_argument("--only", action="append", metavar="NAME", help="only matchers whose name holds this")
    args = parser.parse_args()
    chosen = [
        (number, matcher)
        for number, matcher in enumerate(MATCHERS)
        if not args.only or any(part in matcher.name for part in args.only)
    ]
    absent = [matcher for _, matcher in chosen if not matcher.installed]
    present = [(number, matcher) for number, matcher in chosen if matcher.installed]
    cases = list(read_cases(args.paths))
    groups = sorted({case.group for case in cases})
    versions = [f"{matcher.distribution} {matcher.version}" for _, matcher in present if matcher.version]
    print(", ".join([f"Python {platform.python_version()}", *versions]), f"; at most {args.limit:g} s a case", sep="")
    results = [run(number, cases, args.limit, args.cases) for number, _ in present]
    show(f"all ({len(cases)} cases)", results, absent)
    if args.groups:
        for group in groups:
            show(f"{group} ({sum(case.group == group for case in cases)})", [r.group(group) for r in results], absent)
    elif results:
        show_by_group(groups, results)
    if len(results) > 1:
        print("\ngroups in which a rival solves more cases:", "; ".join(ahead(groups, results)) or "none")


if __name__ == "__main__":
    main()
