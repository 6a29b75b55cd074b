"""Scores automatch on the corpus: real pairs of checkpoint and model whose true correspondence is certain.

    python benchmarks/accuracy.py                    a row per group, then the totals
    python benchmarks/accuracy.py DIR_OR_FILE...     on these cases alone
    python benchmarks/accuracy.py --show-wrong       what was not solved, and why
    python benchmarks/accuracy.py --knockout SEED    a family of keys is taken out of either side first
    python benchmarks/accuracy.py --perturb NAME     cases changed, their truth with them (perturbing.py): ciphered or
                                                     sorted names, shuffled modules, other depths, a second copy, an
                                                     added head; `all` for a row each; --seed SEED for another chance
    python benchmarks/transfer.py                    rules learnt on a small variant, tried on its large sibling

solved        every truth key right, nothing put on a key that is truly missing
accuracy      mean over the cases of right keys / (truth keys + invented ones)
silent        cases with at least one wrong or invented match that is not flagged (ambiguous, or confidence < 0.5)
hedged        right matches that are flagged: the price of safety (cases tagged 'undecidable' left out)
p@.95         precision of the matches with confidence >= 0.95, and the share of truth keys that they cover
op            right matches whose operation is named exactly
rules/hand    rules against the library's own converter's, on solved cases (median of the ratios, how many)
replay bad    matched keys whose rule, replayed on the original key, does not give the match, and other keys that a
              rule sends onto a matched one; must be 0

A match is right with the truth's checkpoint keys in order, the right piece of a cut tensor, and an operation that loads
the right values. Rotary row permutations and changes of values cannot be seen in keys and shapes: there a plain rename
or transpose is right too, and reshape is not told apart.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from asking import answers_of
from cases import CORPUS, Case, Entry, knock_out, read_cases
from perturbing import PERTURBATIONS
from scoring import Answers, Row, Rules, score, summary, truth_by_key

import automatch


def diagnose(case: Case, folder: Path) -> tuple[Answers, Rules, float]:
    """Asks automatch, by two `*.keys.json` files as a user would.

    Args:
        case: what is asked.
        folder: where the two files are written.

    Returns:
        The answer to each model key, the rules, the seconds.
    """
    checkpoint = write_keys(folder / "source.keys.json", case.source)
    model = write_keys(folder / "target.keys.json", case.target)
    start = time.perf_counter()
    found = automatch.diagnose(checkpoint=str(checkpoint), model=str(model))
    rules: Rules = found.to_dict()["rules"]
    return answers_of(found.matches), rules, time.perf_counter() - start


def write_keys(path: Path, entries: Sequence[Entry]) -> Path:
    """Writes a `*.keys.json` file of one side of a case."""
    path.write_text(json.dumps({"keys": entries}), encoding="utf-8")
    return path


def run_case(case: Case, folder: Path) -> tuple[Row, Answers]:
    """Diagnoses and scores one case; a crash is counted and shown, so that one fault does not hide the other cases."""
    try:
        answers, rules, seconds = diagnose(case, folder)
        return score(case, answers, rules, seconds), answers
    except Exception as error:  # noqa: BLE001
        return score(case, {}, [], error=repr(error)[:200]), {}


def run_cases(cases: Iterable[Case], each: bool, wrong: bool) -> list[Row]:
    """Diagnoses and scores cases; prints each of them, or what was not solved, if asked."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            row, answers = run_case(case, Path(folder))
            rows.append(row)
            if each or (wrong and not row.solved):
                show(row, answers, wrong)
    return rows


def show(row: Row, answers: Answers, details: bool) -> None:
    """Prints one case, with its first faults if asked."""
    case = row.case
    print(
        f"{'OK ' if row.solved else 'BAD'} {case.group}/{case.id:<60} {len(row.right)}/{row.asked}"
        f" false={len(row.invented)} silent={row.silent} hedged={row.hedged} rules={row.rules}"
        f" hand={case.handwritten_rules} {row.seconds:.2f}s {row.error}"
    )
    if row.solved or not details:
        return
    truth = truth_by_key(case)
    for key in row.wrong[:3]:
        answer, true = answers[key], truth[key]
        flag = "flagged" if answer.flagged else ""
        print("      wrong", key, "<-", answer.op, *answer.keys, "| truth", true.op, *true.sources[0], flag)
    for key in row.invented[:3]:
        print("      false", key, "<-", *answers[key].keys, "flagged" if answers[key].flagged else "")
    for key in [key for key in truth if key not in answers][:3]:
        print("      none ", key, "| truth", truth[key].op, *truth[key].sources[0])


def main() -> None:
    """Scores the cases that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, default=[CORPUS], help="cases or folders of cases")
    parser.add_argument("--cases", action="store_true", help="a row per case")
    parser.add_argument("--show-wrong", action="store_true", help="what was not solved, with its first faults")
    parser.add_argument("--knockout", type=int, metavar="SEED", help="take a family of keys out of either side first")
    parser.add_argument("--perturb", choices=["all", *(p.name for p in PERTURBATIONS)], help="change the cases first")
    parser.add_argument("--seed", type=int, default=1, help="chance of --perturb (default: 1)")
    args = parser.parse_args()
    cases: Iterable[Case] = read_cases(args.paths)
    if args.perturb:
        whole = list(cases)
        for perturbation in PERTURBATIONS:
            if args.perturb in ("all", perturbation.name):
                changed = (c for case in whole if (c := perturbation.change(case, args.seed)) is not None)
                print(f"{perturbation.name:16s}", summary(run_cases(changed, args.cases, args.show_wrong)), flush=True)
        return
    if args.knockout is not None:
        cases = (knock_out(case, args.knockout) for case in cases)
    rows = run_cases(cases, args.cases, args.show_wrong)
    for group in sorted({row.case.group for row in rows}):
        print(f"{group:14s}", summary([row for row in rows if row.case.group == group]))
    print(f"{'all':14s}", summary(rows))


if __name__ == "__main__":
    main()
