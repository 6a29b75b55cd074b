"""Making a right list of rules shorter without making it wrong."""

from __future__ import annotations

from collections.abc import Sequence

from automatch.rules.scoring import Sample, Scored

_MOST_RULES = 40
_DETOUR = 2.0
_ALTERNATIVES = 4
_ROUNDS = 8


def pruned(chosen: Sequence[Scored], sample: Sample) -> list[Scored]:
    """Without the rules whose work the others do."""
    out = list(chosen)
    once = twice = 0
    for scored in chosen:
        twice |= once & scored.taken
        once |= scored.taken
    for scored in chosen:
        if scored.right & once & ~twice & sample.bad:
            continue  # the only one that puts some key right
        rest = [other for other in out if other is not scored]
        if not sample.left(rest):
            out = rest
    return out


def refined(chosen: list[Scored], pool: Sequence[Scored], sample: Sample) -> list[Scored]:
    """With rules exchanged for shorter ones, one by one and in pairs.

    A pair may shorten what neither exchange does alone: once the exceptions are said exactly,
    the rule that they except may be said in general.
    """
    for _ in range(_ROUNDS if len(chosen) <= _MOST_RULES else 0):
        better = _exchanged(chosen, pool, sample) or _exchanged_twice(chosen, pool, sample)
        if better is None:
            return chosen
        chosen = pruned(better, sample)
    return chosen


def _exchanged(chosen: list[Scored], pool: Sequence[Scored], sample: Sample) -> list[Scored] | None:
    """The list with one rule exchanged for the one that saves most; it may move to the end."""
    best, saved = None, 1e-6
    for i, scored in enumerate(chosen):
        for other in pool:
            if scored.cost - other.cost <= saved or not other.right & scored.right:
                continue
            for trial in ([*chosen[:i], other, *chosen[i + 1 :]], [*chosen[:i], *chosen[i + 1 :], other]):
                if not sample.left(trial):
                    best, saved = trial, scored.cost - other.cost
                    break
    return best


def _exchanged_twice(chosen: list[Scored], pool: Sequence[Scored], sample: Sample) -> list[Scored] | None:
    before = sum(scored.cost for scored in chosen)
    for i, scored in enumerate(chosen):
        others = [
            other
            for other in pool
            if other is not scored and other.right & scored.right and other.cost < scored.cost + _DETOUR
        ]
        tried = 0
        for other in sorted(others, key=lambda other: other.cost):
            trial = [*chosen[:i], other, *chosen[i + 1 :]]
            if sample.left(trial):
                continue
            better = _exchanged(trial, pool, sample)
            if better is not None and sum(s.cost for s in better) < before - 1e-6:
                return better
            tried += 1
            if tried == _ALTERNATIVES:
                break
    return None
