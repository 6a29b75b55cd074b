"""How an answer to a case is scored; accuracy.py explains the figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cases import Case, Keys
from replaying import replay

UNSEEN = {"permute", "other", "reshape", "rename"}
"""Operations that keys and shapes cannot show, or that change nothing."""


@dataclass(frozen=True)
class Answer:
    """What a matcher says about one model key.

    Attributes:
        keys: the checkpoint keys, in order.
        op: the operation.
        piece: which piece of a cut tensor, or None.
        confidence: in [0, 1].
        flagged: said to be unsure (ambiguous, or confidence < 0.5).
    """

    keys: Keys
    op: str = "rename"
    piece: int | None = None
    confidence: float = 1.0
    flagged: bool = False


Answers = Mapping[str, Answer]
Rules = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Row:
    """The score of one case.

    Attributes:
        case: what was asked.
        right: model keys of the truth that were answered rightly.
        wrong: those answered wrongly.
        invented: model keys without a counterpart that got one.
        silent: wrong or invented without a flag.
        solved: everything right and nothing invented.
        hedged: right answers that were flagged.
        sure: answers with confidence >= 0.95 and no flag.
        sure_right: the right ones among them.
        op_right: right answers whose operation is named exactly.
        rules: how many rules came with the answer.
        replay_bad: keys where the replayed rules and the answer disagree.
        seconds: time of the diagnosis.
        error: what it raised, or "".
    """

    case: Case
    right: Keys
    wrong: Keys
    invented: Keys
    silent: int
    solved: bool
    hedged: int
    sure: int
    sure_right: int
    op_right: int
    rules: int
    replay_bad: int
    seconds: float
    error: str

    @property
    def asked(self) -> int:
        """How many model keys have a true counterpart."""
        return len(truth_by_key(self.case))

    @property
    def accuracy(self) -> float:
        """Share of right keys; invented ones count against it."""
        whole = self.asked + len(self.invented)
        return len(self.right) / whole if whole else float(self.solved)


@dataclass(frozen=True)
class TrueAnswer:
    """Every right answer for one model key; the first of `sources` is the usual one."""

    sources: tuple[Keys, ...]
    op: str
    piece: int | None


def truth_by_key(case: Case) -> dict[str, TrueAnswer]:
    """The truth of a case under each model key."""
    truth = {}
    for t in case.truth:
        sources = tuple(order for source in (t.source, *t.also) for order in _nestings(source, t.op))
        for i, key in enumerate(t.target):
            truth[key] = TrueAnswer(sources, t.op, i if len(t.target) > 1 else None)
    return truth


def _nestings(source: Keys, op: str) -> Iterator[Keys]:
    """The legal orders of a stack of concats: by part, then member; or by member, then part."""
    yield source
    if "stack" in op and "concat" in op:
        for parts in range(2, 5):
            if len(source) % parts == 0:
                size = len(source) // parts
                yield tuple(source[p * size + i] for i in range(size) for p in range(parts))


def is_right(answer: Answer | None, truth: TrueAnswer) -> bool:
    """Right keys in the right order, the right piece, and an operation that loads the right values."""
    if answer is None or answer.keys not in truth.sources or answer.piece != truth.piece:
        return False
    return _moves(answer.op) == _moves(truth.op)


def _moves(op: str) -> set[str]:
    """What an operation does to values; an unstack is a chunk of pieces of one, and the shapes tell which it is."""
    return {"chunk" if one == "unstack" else one for one in op.split("+")} - UNSEEN


def score(case: Case, answers: Answers, rules: Rules, seconds: float = 0.0, error: str = "") -> Row:
    """Scores the answers to one case.

    Args:
        case: what was asked.
        answers: model key -> answer; a key that is not in it was left open.
        rules: as in the JSON of a diagnosis.
        seconds: how long the answer took.
        error: what was raised instead of an answer, or "".

    Returns:
        The row.
    """
    truth = truth_by_key(case)
    right = tuple(key for key in truth if is_right(answers.get(key), truth[key]))
    rights = set(right)
    wrong = tuple(key for key in truth if key in answers and key not in rights)
    invented = tuple(key for key in case.missing if key in answers)
    asked = set(truth) | set(case.missing)
    sure = [k for k, a in answers.items() if a.confidence >= 0.95 and not a.flagged and k in asked]
    return Row(
        case=case,
        right=right,
        wrong=wrong,
        invented=invented,
        silent=sum(not answers[key].flagged for key in wrong + invented),
        solved=len(right) == len(truth) and not invented and not error,
        hedged=sum(answers[key].flagged for key in right),
        sure=len(sure),
        sure_right=sum(key in rights for key in sure),
        op_right=sum(answers[key].op == truth[key].op for key in right),
        rules=len(rules),
        replay_bad=count_replay_bad(case, answers, rules) if rules else 0,
        seconds=seconds,
        error=error,
    )


def count_replay_bad(case: Case, answers: Answers, rules: Rules) -> int:
    """Counts where rules and answers disagree.

    Returns:
        Matched keys whose rule, replayed on the original key, does not give the match, and other keys that a rule
        sends onto a matched one.
    """
    wanted: dict[str, set[str]] = {}  # checkpoint key -> the model keys that it serves alone (several if tied)
    for key, answer in answers.items():
        if answer.op in ("rename", "permute") and len(answer.keys) == 1:
            wanted.setdefault(answer.keys[0], set()).add(key)
    used = {key for answer in answers.values() for key in answer.keys}
    served = {key for targets in wanted.values() for key in targets}
    keys = [key for key, _, _ in case.source]
    renamed = replay(rules, keys)
    return sum(renamed.get(key, key) not in targets for key, targets in wanted.items()) + sum(
        renamed.get(key, key) in served for key in keys if key not in used
    )


def summary(rows: Sequence[Row]) -> str:
    """One line of figures over some rows."""
    cases = max(1, len(rows))
    asked = max(1, sum(row.asked for row in rows))
    right = max(1, sum(len(row.right) for row in rows))
    decidable = [row for row in rows if "undecidable" not in row.case.tags]
    decidable_right = max(1, sum(len(row.right) for row in decidable))
    sure, sure_right = sum(row.sure for row in rows), sum(row.sure_right for row in rows)
    ratios = [
        row.rules / row.case.handwritten_rules
        for row in rows
        if row.case.handwritten_rules and row.solved and row.rules
    ]
    ratio = statistics.median(ratios) if ratios else float("nan")
    return " | ".join(
        (
            f"cases {len(rows):4d}",
            f"solved {sum(row.solved for row in rows) / cases:6.1%}",
            f"accuracy {sum(row.accuracy for row in rows) / cases:6.1%}",
            f"silent {sum(row.silent > 0 for row in rows) / cases:6.1%} ({sum(row.silent for row in rows)} keys)",
            f"hedged {sum(row.hedged for row in decidable) / decidable_right:6.1%}",
            f"p@.95 {sure_right / sure if sure else 0:7.2%} of {sure_right / asked:6.1%}",
            f"op {sum(row.op_right for row in rows) / right:6.1%}",
            f"rules/hand {ratio:.2f} ({len(ratios)})",
            f"replay bad {sum(row.replay_bad for row in rows)}",
            f"errors {sum(bool(row.error) for row in rows)}",
            f"{sum(row.seconds for row in rows):.1f} s",
        )
    )
