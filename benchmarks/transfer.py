"""Do rules that were learnt on a small variant of a network convert a large one?

    python benchmarks/transfer.py                    pairs of variants in the corpus and in more_cases
    python benchmarks/transfer.py DIR_OR_FILE...     those among these cases
    python benchmarks/transfer.py --cut              each case is cut to two blocks of its longest list first, and the
                                                     rules learnt on what is left are tried on the whole of it
    python benchmarks/transfer.py --failures         only pairs that fail

A pair is two cases of which the smaller one is tagged `small-pair-of:` the other. A row per pair:

renames    plain renames of the large variant that the rules send to their truth, replayed by other code than the
           package's own
complete   whether the rules carry the large checkpoint onto the large model as its truth says, every operation
           included, with the right shapes, and nothing else lands on a key of the model
first      what fails first: the key, what it becomes, what it should become
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from asking import answers_of
from cases import CORPUS, Case, Entry, read_cases, without
from replaying import replay
from scoring import Answer, score, truth_by_key

from automatch.matching import match
from automatch.rules.carrying import Load, carry
from automatch.rules.induce import induce
from automatch.rules.rule_set import RuleSet
from automatch.spec import StateDictSpec, TensorSpec

MORE = CORPUS.parent / "more_cases"
FEWEST = 4
"""A list of fewer blocks is not cut."""
LEFT = 2
_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Transfer:
    """Rules of a small variant, tried on a large one.

    Attributes:
        small: where they were learnt.
        large: where they were tried.
        rules: how many there are.
        renames: how many plain renames the large one has.
        right: how many of them go to their truth.
        first: what fails first; "" where everything is right.
    """

    small: Case
    large: Case
    rules: int
    renames: int
    right: int
    first: str


def transfer(small: Case, large: Case) -> Transfer:
    """Learns rules on one case and tries them on another."""
    rules = learn(small)
    wanted = _plain_renames(large)
    renamed = replay(rules.to_list(), wanted)
    right = sum(renamed.get(key, key) in targets for key, targets in wanted.items())
    return Transfer(small, large, len(rules), len(wanted), right, _first_failure(rules, large))


def learn(case: Case) -> RuleSet:
    """The rules that automatch finds for a case."""
    checkpoint, model = _spec("checkpoint", case.source), _spec("model", case.target)
    found = match(checkpoint, model)
    return induce(found.matches, checkpoint.keys, model.keys, found.mismatched)


def _spec(name: str, entries: Iterable[Entry]) -> StateDictSpec:
    return StateDictSpec(name, tuple(TensorSpec(*entry) for entry in entries))


def _plain_renames(case: Case) -> dict[str, set[str]]:
    wanted: dict[str, set[str]] = {}
    for truth in case.truth:
        if truth.op in ("rename", "permute") and len(truth.source) == len(truth.target) == 1:
            wanted.setdefault(truth.source[0], set()).add(truth.target[0])
    return wanted


def _first_failure(rules: RuleSet, case: Case) -> str:
    """What the rules do wrong first with the checkpoint of a case; "" where they do as its truth says."""
    load = carry(rules, {key: shape for key, shape, _ in case.source})
    shapes = {key: shape for key, shape, _ in case.target}
    came = {key: shape for one in load.carried for key, shape in zip(one.match.model_keys, one.shapes, strict=True)}
    answers = _answers(load, rules, shapes)
    row = score(case, answers, [])
    right = {key for key in row.right if came.get(key, shapes[key]) == shapes[key]}
    for key, true in truth_by_key(case).items():
        if key not in right:
            source = true.sources[0][0]
            return f"{source} becomes {_became(load, source)}; should become {key} by {true.op} {list(shapes[key])}"
    invented = [key for key in row.invented if came.get(key) == shapes[key]]
    return f"{invented[0]} is given, and has no counterpart" if invented else next(iter(load.collisions), "")


def _answers(load: Load, rules: RuleSet, shapes: dict[str, tuple[int, ...]]) -> dict[str, Answer]:
    """What the rules say about each model key."""
    answers = {key: answer for key, answer in answers_of(one.match for one in load.carried).items() if key in shapes}
    ties = {other: answers[served] for served, other in rules.tied if served in answers and other in shapes}
    return {**ties, **answers}


def _became(load: Load, source: str) -> str:
    """What the rules make of a checkpoint key, in words."""
    for one in load.carried:
        if source in one.match.checkpoint_keys:
            return f"{one.match.model_keys[0]} by {one.match.op} {list(one.shapes[0])}"
    return "nothing: " + next((fault for fault in load.faults if repr(source) in fault), "its group is not whole")


def pairs_of(cases: Iterable[Case]) -> Iterator[tuple[Case, Case]]:
    """Small variants with their large siblings."""
    by_id = {case.id: case for case in cases}
    for case in by_id.values():
        ids = [tag.split(":", 1)[1] for tag in case.tags if tag.startswith("small-pair-of:")]
        large = next((by_id[i] for i in ids if i in by_id), None)
        if large is not None and large.truth:
            yield case, large


def cut_pairs(cases: Iterable[Case]) -> Iterator[tuple[Case, Case]]:
    """Cases cut to the first blocks of their longest list, with the whole of them.

    A list counts where none of its blocks has tensors that the first two do not have: what was never seen cannot be
    learnt.
    """
    for case in cases:
        lists: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for key, _, _ in case.source:
            for number in _NUMBER.finditer(key):
                lists[_NUMBER.sub("#", key[: number.start()])][int(number.group())].add(key)
        whole = [head for head, blocks in lists.items() if _alike(head, blocks)]
        if not whole:
            continue
        blocks = max((lists[head] for head in whole), key=lambda own: (len(own), sum(map(len, own.values()))))
        gone = {key for number in sorted(blocks)[LEFT:] for key in blocks[number]}
        served = {key for t in case.truth if gone & set(t.source) for key in t.target}
        if all(gone.issuperset(t.source) for t in case.truth if gone & set(t.source)):
            yield replace(without(case, gone, served), id=f"{case.id} cut to {LEFT} of {len(blocks)}"), case


def _alike(head: str, blocks: dict[int, set[str]]) -> bool:
    """Whether a list is long enough, and its first blocks have all kinds of tensors."""
    place = head.count("#")
    kinds = {number: {_after(key, place) for key in keys} for number, keys in blocks.items()}
    first = set().union(*(kinds[number] for number in sorted(kinds)[:LEFT]))
    return len(blocks) >= FEWEST and all(first.issuperset(own) for own in kinds.values())


def _after(key: str, place: int) -> str:
    """What stands behind a number of a key, further numbers as `#`."""
    number = list(_NUMBER.finditer(key))[place]
    return _NUMBER.sub("#", key[number.end() :])


def main() -> None:
    """Prints a row per pair and the totals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, default=[CORPUS, MORE], help="cases or folders of cases")
    parser.add_argument("--cut", action="store_true", help="pairs made of each case and the first blocks of it")
    parser.add_argument("--failures", action="store_true", help="only rows of pairs that fail")
    args = parser.parse_args()
    cases = read_cases(args.paths)
    rows = []
    for small, large in cut_pairs(cases) if args.cut else pairs_of(cases):
        row = transfer(small, large)
        rows.append(row)
        if row.first or not args.failures:
            name = small.id if args.cut else f"{small.id} -> {large.id}"
            print(f"{'BAD' if row.first else 'OK '} {name}: renames {row.right}/{row.renames}, {row.rules} rules")
        if row.first:
            print(f"      {row.first}")
    named = [row for row in rows if row.renames]
    print(
        f"transfer: {sum(not row.first for row in rows)}/{len(rows)} pairs complete, "
        f"{sum(row.right == row.renames for row in named)}/{len(named)} with all plain renames right"
    )


if __name__ == "__main__":
    main()
