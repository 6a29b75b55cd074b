"""Every rule on every key: do the rules reproduce the assignment, and nothing else?

This is the check that stands between the induction and the user, so it shares nothing with
the induction: it asks the rules about each key, one by one, and compares with the matches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from automatch.errors import RuleError
from automatch.matching.assignment import Match, Mismatch
from automatch.rules.rule_set import RuleSet
from automatch.rules.tensors import PLAIN, Law, Move, group_fault, law_of


@dataclass(frozen=True)
class Proof:
    """What the replay found.

    Attributes:
        hits: how many checkpoint keys each rule took, in the order of the rules.
        wrong: sentences, one for each key that does not become what the assignment says.
        collisions: sentences, one for each key that lands where another one belongs.
        untouched: checkpoint keys that no rule takes, in checkpoint order.
        unused: numbers (from 1) of rules that take no key.
        unsaid: model keys that no ordered list of rules can serve, because their checkpoint
            key goes elsewhere by another operation.
    """

    hits: tuple[int, ...] = ()
    wrong: tuple[str, ...] = ()
    collisions: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()
    unused: tuple[int, ...] = ()
    unsaid: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the rules reproduce exactly the assignment."""
        return not (self.wrong or self.collisions or self.unsaid)


def replay(
    rules: RuleSet,
    matches: Sequence[Match],
    checkpoint_keys: Sequence[str],
    model_keys: Sequence[str],
    mismatched: Sequence[Mismatch] = (),
) -> Proof:
    """Replays rules on every checkpoint key.

    Args:
        rules: any rules, induced or written by hand.
        matches: the whole assignment.
        checkpoint_keys: all keys of the checkpoint, in order.
        model_keys: all keys of the model, in order.
        mismatched: pairs that belong together but differ in shape; rules may rename them too.

    Returns:
        A proof; `proof.ok` says whether the rules reproduce exactly the assignment.
    """
    moves, broken = _moved(rules, checkpoint_keys)
    wanted = _wanted(matches)
    wrong, unsaid = _misled(wanted, moves, broken, rules)
    wrong += _groups(matches, moves)
    taken = Counter(move.rule for move in moves.values() if move is not None)
    hits = tuple(taken[number] for number in range(1, len(rules) + 1))
    return Proof(
        hits=hits,
        wrong=tuple(wrong),
        collisions=tuple(
            [*_collisions(moves, wanted, rules), *_intruders(moves, wanted, matches, model_keys, mismatched)]
        ),
        untouched=tuple(key for key, move in moves.items() if move is None),
        unused=tuple(number for number, count in enumerate(hits, 1) if not count),
        unsaid=tuple(unsaid),
    )


def _moved(rules: RuleSet, keys: Sequence[str]) -> tuple[dict[str, Move | None], dict[str, str]]:
    """What the rules make of every key, and why they cannot say it of some."""
    moves: dict[str, Move | None] = {}
    broken: dict[str, str] = {}
    for key in keys:
        try:
            moves[key] = rules.move(key)
        except RuleError as error:
            broken[key] = str(error)
    return moves, broken


def _wanted(matches: Sequence[Match]) -> dict[str, list[Match]]:
    """The matches that each key serves; all members of a stack share one list, unless they serve more than it."""
    wanted: dict[str, list[Match]] = {}
    for match in matches:
        alone = [match]
        for key in match.checkpoint_keys:
            own = wanted.setdefault(key, alone)
            if own is not alone:
                wanted[key] = [*own, match]
    return wanted


def _misled(
    wanted: dict[str, list[Match]], moves: dict[str, Move | None], broken: dict[str, str], rules: RuleSet
) -> tuple[list[str], list[str]]:
    """Sentences on keys that do not become what the matches say, and model keys that no ordered rules can serve."""
    wrong = [f"{key!r}: {sentence}" for key, sentence in broken.items()]
    unsaid: list[str] = []
    ties = dict.fromkeys(rules.tied)
    last: list[Match] = []
    law: Law = PLAIN
    targets: tuple[str, ...] = ()
    for key, own in wanted.items():
        if own is not last:  # the members of a stack follow each other
            last, law, targets = own, _law_of(own[0]), own[0].model_keys
        move = moves.get(key)
        if move is not None and move.targets == targets and move.law is law and len(own) == 1 and move.members is None:
            continue
        if key not in moves:
            wrong += [] if key in broken else [f"{key!r} is not a key of the checkpoint"]
        elif len(own) > 1 or not _serves(own[0], key, move):
            wrong += _judge(key, move, own, ties, unsaid)
    return wrong, unsaid


def _judge(
    key: str, move: Move | None, own: list[Match], ties: dict[tuple[str, str], None], unsaid: list[str]
) -> list[str]:
    """What is wrong with one key that serves matches."""
    targets, op = ((key,), "rename") if move is None else (move.targets, move.law.op)
    served = next((m for m in own if _serves(m, key, move)), None)
    if served is None:
        wanted = " or ".join(repr(m.model_keys[0] if len(m.model_keys) == 1 else list(m.model_keys)) for m in own)
        got = repr(targets[0] if len(targets) == 1 else list(targets))
        return [f"{key!r} becomes {got} by {op}, and should become {wanted} by {own[0].op}"]
    for other in own:
        if other is served:
            continue
        if other.op != "rename" or served.op != "rename":
            unsaid += other.model_keys
        elif (targets[0], other.model_keys[0]) not in ties:
            return [f"{key!r} serves {other.model_keys[0]!r} too, and the rules do not say so"]
    return []


def _law_of(match: Match) -> Law:
    """What a rule must do to tensors for a match."""
    return PLAIN if match.op == "rename" else law_of(match.op, match.dim, match.perm, match.sizes, match.shape)


def _serves(match: Match, key: str, move: Move | None) -> bool:
    """Whether a move is what a match asks of a key (whole groups are judged elsewhere)."""
    if move is None:
        return match.op == "rename" and match.model_keys == (key,)
    if move.law != _law_of(match):
        return False
    targets = move.targets if move.members is None else move.members(len(match.model_keys))
    return targets == match.model_keys


def _groups(matches: Sequence[Match], moves: dict[str, Move | None]) -> list[str]:
    """What is wrong with the matches that several checkpoint keys serve together."""
    wrong = []
    for match in matches:
        if len(match.checkpoint_keys) < 2:
            continue
        joined = [(key, move) for key in match.checkpoint_keys if (move := moves.get(key)) is not None and move.joins]
        if len(joined) < len(match.checkpoint_keys):
            continue  # the lone key has been named already
        fault = group_fault(joined)
        if fault:
            wrong.append(f"{match.model_keys[0]!r}: {fault}")
        elif not _in_order([move for _, move in joined]):
            wrong.append(f"{match.model_keys[0]!r}: its members are joined in another order than the match says")
    return wrong


def _in_order(moves: list[Move]) -> bool:
    """Whether the rules join the members in the order of the match: part by part, or member by member."""
    places = [(move.part[0] if move.part else 0, move.order or 0) for move in moves]
    words = moves[0].law.words
    if "stack" in words and "concat" in words:
        return places == sorted(places) or places == sorted(places, key=lambda place: place[::-1])
    return places == sorted(places)


def _collisions(moves: dict[str, Move | None], wanted: dict[str, list[Match]], rules: RuleSet) -> list[str]:
    """Keys that land where another one belongs."""
    owner: dict[str, str] = {}
    group: dict[str, Move] = {}
    out = []
    for key, move in moves.items():
        for target in (key,) if move is None else _targets(key, move, wanted):
            if target not in owner:
                owner[target] = key
                if move is not None and move.joins:
                    group[target] = move
            elif move is None or target not in group or not move.joins:
                out.append(f"{owner[target]!r} and {key!r} both become {target!r}")
    out += [
        f"{other!r} is tied to {first!r} and served by {owner[other]!r}"
        for first, other in rules.tied
        if other in owner
    ]
    return out


def _intruders(
    moves: dict[str, Move | None],
    wanted: dict[str, list[Match]],
    matches: Sequence[Match],
    model_keys: Sequence[str],
    mismatched: Sequence[Mismatch],
) -> list[str]:
    """Keys that belong nowhere and yet land on a model key.

    One that keeps its name lands there only where another key serves it: else the shapes differ,
    which torch says by itself.
    """
    if not moves.keys() - wanted.keys():
        return []
    served = {key for match in matches for key in match.model_keys}
    model, pairs = set(model_keys), {(pair.checkpoint_key, pair.key) for pair in mismatched}
    out = []
    for key, move in moves.items():
        if key in wanted:
            continue
        for target in (key,) if move is None else move.targets:
            if target in served or (target in model and target != key and (key, target) not in pairs):
                out.append(f"{key!r} belongs nowhere and becomes {target!r}")
    return out


def _targets(key: str, move: Move, wanted: dict[str, list[Match]]) -> tuple[str, ...]:
    """What a key becomes; where its tensor is taken apart, as many pieces as its matches have."""
    if move.members is None:
        return move.targets
    return move.members(max((len(match.model_keys) for match in wanted.get(key, ())), default=len(move.targets)))
