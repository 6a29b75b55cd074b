"""How sure is sure: for every reason that a match is given, its confidence and the share that was right.

    python benchmarks/calibration.py [--knockout SEED]... [--perturb NAME]... [DIR_OR_FILE ...]

First a row per reason: the confidence that the engine gives it, the share of right matches by keys, how many keys,
cases and families there were, the fitted confidence (right share, mean over the cases), and Wilson's interval with a
family as one draw. A confidence outside of the interval is off. Then the reliability table: matches by how sure they
are said to be, against the share that was right, with the engine's confidences and with confidences fitted without the
families that they are held against. The cases that share most of their names, numbers apart, are one family.

With `--knockout` and `--perturb`, which may be repeated, every case is asked once more, changed (see accuracy.py): with
a family of keys taken out, a left-over that fits is no evidence.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from asking import ask
from cases import CORPUS, Case, read_cases
from perturbing import add_variants, variants
from reliability import Fitted, Quality, Reason, Sample, bins, families, fit, held_out, quality
from scoring import Answer, is_right, truth_by_key
from tabulate import tabulate

VOTES = re.compile(r" \(\d+ times alike\)$")
FOLDS = 5


def count(case: Case, name: str, family: int) -> list[Sample]:
    """Asks about one case and counts right and wrong matches under their reasons."""
    truth, missing = truth_by_key(case), set(case.missing)
    rows: dict[Reason, list[bool]] = defaultdict(list)
    for match in ask(case):
        several = len(match.model_keys) > 1
        reason = Reason(match.confidence, match.ambiguous, VOTES.sub("", match.reason))
        for piece, key in enumerate(match.model_keys):
            if key in truth or key in missing:
                answer = Answer(match.checkpoint_keys, match.op, piece if several else None)
                rows[reason].append(key in truth and is_right(answer, truth[key]))
    return [Sample(name, family, reason, sum(right), len(right)) for reason, right in rows.items()]


def verdict(reason: Reason, fitted: Fitted) -> str:
    """Whether the engine's confidence lies outside of what was measured."""
    if reason.confidence > fitted.high:
        return "too high"
    return "too low" if reason.confidence < fitted.low else ""


def show_reasons(fitted: dict[Reason, Fitted]) -> None:
    """Prints a row per reason."""
    heads = ("confidence", "right", "keys", "cases", "families", "fitted", "95 %", "off", "flagged", "reason")
    lines = [
        (
            f"{reason.confidence:.2f}",
            f"{f.right / f.keys:.2%}",
            f.keys,
            f.cases,
            f.families,
            f"{f.value:.3f}",
            f"{f.low:.2f}-{f.high:.2f}",
            verdict(reason, f),
            "flagged" if reason.flagged else "",
            reason.words,
        )
        for reason, f in sorted(fitted.items(), reverse=True)
    ]
    print(tabulate(lines, heads, tablefmt="github", disable_numparse=True))


def show_reliability(title: str, samples: Sequence[Sample], said: Sequence[float], asked: dict[str, int]) -> None:
    """Prints the reliability table of some confidences, and what they are worth."""
    lines = [
        (f">= {b.low:.2f}", b.keys, b.cases, f"{b.said:.3f}", f"{b.right:.3f}") for b in reversed(bins(samples, said))
    ]
    print(f"\n{title}")
    print(tabulate(lines, ("confidence", "keys", "cases", "said", "right"), tablefmt="github", disable_numparse=True))
    found: Quality = quality(samples, said, asked)
    print(
        f"Brier {found.brier:.4f} | ECE {found.ece:.4f} | p@.95 {found.precision:.3%} of {found.cover:.1%}"
        " (flagged ones left out)"
    )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, default=[CORPUS], help="cases or folders of cases")
    add_variants(parser)
    options = parser.parse_args()
    cases = list(read_cases(options.paths))
    family = families(cases)
    samples: list[Sample] = []
    asked: dict[str, int] = {}
    for case in cases:
        for way in variants(options):
            changed = way.of(case)
            if changed is not None:
                samples += count(changed, f"{case.id}, {way}", family[case.id])
                asked[f"{case.id}, {way}"] = len(truth_by_key(changed))
    show_reasons(fit(samples))
    counted = f"{len(asked)} askings of {len(cases)} cases in {len(set(family.values()))} families"
    show_reliability(f"the engine's confidences: {counted}", samples, [s.reason.confidence for s in samples], asked)
    show_reliability(f"fitted without the family, {FOLDS} folds", samples, held_out(samples, FOLDS), asked)


if __name__ == "__main__":
    main()
