"""Where does each signal act, and what changes there without it? Thousands of cases in the time of a few runs.

    python benchmarks/acting.py                       the corpus, more_cases and blind_cases
    python benchmarks/acting.py DIR_OR_FILE...        these cases instead
    python benchmarks/acting.py --knockout SEED       asked with a family of keys taken out as well
    python benchmarks/acting.py --most CASES          signals that act in more cases are not asked again (default: 100)

ablation.py asks every case once without each signal. Here all cases are asked once, with every signal watched: it acts
where what it answers, or does to what it is given, is ever something else than what its silent form (signals.py) would.
Only there the case is asked again without it. *lost* and *won*: cases that are solved only with the signal, and only
without it; *silent* and *told*: cases in which a match is wrong without a flag only without it, and only with it;
*hedged*: right keys that are flagged without it, less those that are with it. Signals that are numbers or classes
cannot be watched and are left to ablation.py.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

from ablation import Figures, measure
from asking import ask
from cases import CORPUS, Case, read_case
from perturbing import Variant, add_variants, variants
from signals import SIGNALS
from tabulate import tabulate

ALL = [CORPUS, CORPUS.parent / "more_cases", CORPUS.parent / "blind_cases"]
COLUMNS = ("without", "acts in", "lost", "won", "silent", "told", "hedged")
Question = tuple[Path, Variant]


def state_of(given: Sequence[Any]) -> list[Any]:
    """What of some arguments a function may change: the paths and shapes of tensors, the words and turns of modules."""
    out: list[Any] = []
    for held in given:
        if isinstance(held, list) and held and hasattr(held[0], "raw"):
            out.append([(x.path, x.shape, x.ops, x.place, x.woven, x.of_map) for x in held])
        elif isinstance(held, list) and held and hasattr(held[0], "words"):
            out.append([(x.words, x.turn) for x in held])
    return out


def watched(name: str, whole: Callable[..., Any], silent: Callable[..., Any], found: set[str]) -> Callable[..., Any]:
    """A function that answers as `whole` does, and adds the name to `found` where `silent` would answer otherwise."""

    def both(*given: Any, **options: Any) -> Any:
        if name in found:
            return whole(*given, **options)
        try:
            other = silent(*given, **options)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            other = NotImplemented
        before = state_of(given)
        answer = whole(*given, **options)
        nothing = hasattr(answer, "__len__") and hasattr(other, "__len__") and not len(answer) and not len(other)
        if before != state_of(given) or not (nothing or answer is other or answer == other):
            found.add(name)
        return answer

    return both


def acting(question: Question) -> set[str]:
    """The signals that act in a case; none where it cannot be asked so."""
    case = case_of(question)
    found: set[str] = set()
    if case is None:
        return found
    with ExitStack() as stack:
        for signal in SIGNALS:
            for place, silent in signal.replacements:
                whole = resolve_name(place)
                if callable(whole) and not isinstance(whole, type) and callable(silent):
                    stack.enter_context(patch(place, watched(signal.name, whole, silent, found)))
        ask(case)
    return found


def case_of(question: Question) -> Case | None:
    """The case, as it is asked; None where there is nothing to change."""
    path, way = question
    return way.of(read_case(path))


def without(name: str, question: Question) -> tuple[Figures, Figures]:
    """The figures of a case with and without a signal."""
    case = case_of(question)
    assert case is not None
    with ExitStack() as stack:
        for place, silent in (pair for signal in SIGNALS if signal.name == name for pair in signal.replacements):
            stack.enter_context(patch(place, silent))
        now = measure(case)
    return measure(case), now


def line(name: str, pairs: Sequence[tuple[Figures, Figures]]) -> list[object]:
    """One line of the table."""
    return [
        name,
        len(pairs),
        sum(old.solved and not new.solved for old, new in pairs),
        sum(new.solved and not old.solved for old, new in pairs),
        sum(new.silent > 0 == old.silent for old, new in pairs),
        sum(old.silent > 0 == new.silent for old, new in pairs),
        sum(new.hedged - old.hedged for old, new in pairs),
    ]


def main() -> None:
    """Watches all signals, then asks again without each where it acts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, default=ALL, help="cases or folders of cases")
    add_variants(parser)
    parser.add_argument("--most", type=int, default=100, metavar="CASES", help="ask no more again (default: 100)")
    args = parser.parse_args()
    files = [file for path in args.paths for file in (sorted(path.rglob("*.json.gz")) if path.is_dir() else [path])]
    questions = [(file, way) for way in variants(args) for file in files]
    where: dict[str, list[Question]] = defaultdict(list)
    with multiprocessing.Pool() as pool:
        for question, names in zip(questions, pool.imap(acting, questions, chunksize=8), strict=True):
            for name in names:
                where[name].append(question)
        few = {name: asked for name, asked in where.items() if len(asked) <= args.most}
        few = dict(sorted(few.items(), key=lambda item: len(item[1])))
        lines = [line(name, pool.map(partial(without, name), asked)) for name, asked in few.items()]
    print(f"\n{len(questions)} questions")
    print(tabulate(lines, COLUMNS, tablefmt="github"))
    print("\nacting nowhere, or not watched:", "; ".join(s.name for s in SIGNALS if s.name not in where))


if __name__ == "__main__":
    main()
