"""How sure is sure: for every reason that a match is given, its confidence and the share that was right.

    python benchmarks/calibration.py [--knockout SEED]... [DIR_OR_FILE ...]

A row per reason: the confidence, the share of right matches, how many there were, whether they are flagged. With
`--knockout`, which may be repeated, every case is asked once more with a family of keys taken out of either side (see
accuracy.py): that is where a left-over that fits is no evidence.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections import defaultdict
from pathlib import Path

from accuracy import write_keys
from cases import CORPUS, Case, knock_out, read_cases
from scoring import Answer, is_right, truth_by_key

import automatch

VOTES = re.compile(r" \(\d+ times alike\)$")
Rows = dict[tuple[float, bool, str], list[int]]


def count(case: Case, folder: Path, rows: Rows) -> None:
    """Ask about one case and count right and wrong matches under their reasons."""
    source = write_keys(folder / "source.keys.json", case.source)
    target = write_keys(folder / "target.keys.json", case.target)
    truth, missing = truth_by_key(case), set(case.missing)
    for match in automatch.diagnose(source, target).matches:
        several = len(match.model_keys) > 1
        for piece, key in enumerate(match.model_keys):
            if key not in truth and key not in missing:
                continue
            answer = Answer(tuple(match.checkpoint_keys), match.op, piece if several else None)
            row = rows[match.confidence, match.ambiguous, VOTES.sub("", match.reason)]
            row[0] += key in truth and is_right(answer, truth[key])
            row[1] += 1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--knockout", type=int, action="append", default=[], metavar="SEED")
    parser.add_argument("paths", nargs="*", type=Path, default=[CORPUS])
    options = parser.parse_args()
    rows: Rows = defaultdict(lambda: [0, 0])
    with tempfile.TemporaryDirectory() as folder:
        for case in read_cases(options.paths):
            count(case, Path(folder), rows)
            for seed in options.knockout:
                count(knock_out(case, seed), Path(folder), rows)
    print("confidence  right       of  flagged  reason")
    for (confidence, flagged, reason), (right, of) in sorted(rows.items(), reverse=True):
        print(f"{confidence:10.2f} {right / of:7.2%} {of:7d}  {'flagged' if flagged else '       '}  {reason}")


if __name__ == "__main__":
    main()
