"""From the values of both sides to an assignment: what is equal, what the neighbours tell, what stays open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from automatch.errors import InputError
from automatch.learning.arrangement import Quad
from automatch.learning.constants import Neighbours
from automatch.learning.forms import FLOATS
from automatch.learning.joints import find_joints
from automatch.learning.relation import Relation, free_sizes
from automatch.learning.siblings import find_siblings
from automatch.learning.sides import Progress, Sides
from automatch.learning.singles import Equal, find_singles
from automatch.learning.undecided import choose_among_equals
from automatch.matching.answer.outcome import COUNTER
from automatch.matching.assignment import Assignment, Match
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet

MOST_SHOWN = 3
FEW = 0.2
"""A conversion of which less than this share is explained is probably one of another checkpoint."""


@dataclass
class _State:
    """What is known so far."""

    sides: Sides
    relations: list[Relation] = field(default_factory=list)
    equals: list[Equal] = field(default_factory=list)

    def open_sources(self) -> list[str]:
        """Keys of the original that serve nothing yet."""
        used = {key for relation in self.relations for key in relation.sources}
        return [key for key in self.sides.original.spec.keys if key not in used]

    def open_targets(self) -> list[str]:
        """Keys of the conversion that nothing serves yet."""
        served = {key for relation in self.relations for key in relation.targets}
        return [key for key in self.sides.converted.spec.keys if key not in served]

    def unexplained(self) -> tuple[list[str], list[str]]:
        """Open keys of both sides that are not equal to anything as they are."""
        alike = {key for equal in self.equals for key in (*equal.sources, *equal.targets)}
        return [k for k in self.open_sources() if k not in alike], [k for k in self.open_targets() if k not in alike]


def correspondence(sides: Sides, pinned: Mapping[str, Sequence[str]], progress: Progress) -> Assignment:
    """Find which tensors of the original became which of the conversion, by their values.

    Nothing is put together whose values are not equal, at the precision of the narrower side. Where several tensors
    hold the same values, their neighbours decide, else names and order, and what these do not decide is flagged.

    Args:
        sides: both sides.
        pinned: key of the original -> keys of the conversion: what a person decided among equal tensors.
        progress: is told how far it is.

    Raises:
        InputError: a pin joins tensors whose values are not equal.
    """
    if not callable(progress):
        raise InputError(f"progress={progress!r}: give a function that takes (what, done, total), or None")
    sides.read(progress)
    state = _State(sides)
    progress("comparing", 0, 3)
    state.relations, state.equals = find_singles(sides, sides.original.spec.keys, sides.converted.spec.keys)
    progress("comparing", 1, 3)
    sources, targets = state.unexplained()
    state.relations += find_joints(sides, _matrices(sides, False, sources), _matrices(sides, True, targets))
    state.relations += find_siblings(sides, state.relations, state.open_sources(), state.open_targets())
    progress("comparing", 2, 3)
    left = set(state.open_targets())
    sources = state.open_sources()
    # Parts may be equal to others: which one it was, its place among its neighbours tells.
    state.relations += find_joints(sides, sources, [key for key in state.unexplained()[1] if key in left])
    state.relations += _pinned(state, pinned)
    chosen = choose_among_equals(sides, state.relations, state.equals, state.open_targets())
    progress("comparing", 3, 3)
    return _assignment(state, chosen)


def _pinned(state: _State, pinned: Mapping[str, Sequence[str]]) -> list[Relation]:
    """What a person decided.

    Raises:
        InputError: the values are not equal.
    """
    known = {(source, target) for r in state.relations for source in r.sources for target in r.targets}
    out: list[Relation] = []
    for source, target in ((source, target) for source, targets in pinned.items() for target in targets):
        equal = next((e for e in state.equals if source in e.sources and target in e.targets), None)
        if (source, target) in known:
            continue
        if equal is None or target not in state.open_targets():
            raise InputError(f"pin {source}={target}: the values say otherwise; leave the pin out")
        out.append(Relation((source,), (target,), equal.how, why="pinned by you"))
    return out


def _matrices(sides: Sides, converted: bool, keys: Iterable[str]) -> list[str]:
    by_key = sides.spec(converted).by_key
    return [key for key in keys if len(by_key[key].shape) > 1]


def _assignment(state: _State, chosen: Mapping[str, Match]) -> Assignment:
    """Word what was found, in the order of the conversion's keys."""
    sides, neighbours = state.sides, Neighbours(state.sides, state.relations)
    state.relations = [neighbours.settle(relation) for relation in state.relations]
    quads = [quad for relation in state.relations if (quad := _quad(relation)) is not None]
    hows = {target: equal for equal in state.equals for target in equal.targets}
    quads += [quad for equal in state.equals if (quad := _quad(Relation((), (), equal.how))) is not None]
    frees = free_sizes(quads)
    served: dict[str, Match] = {}
    for relation in state.relations:
        one = relation.match(frees, _rounded(sides, relation.sources[0], relation.targets[0]))
        served.update(dict.fromkeys(relation.targets, one))
    for target, guess in chosen.items():
        equal = hows[target]
        why = f"as in {len(equal.sources)} tensors, and {guess.reason}"
        relation = neighbours.settle(Relation(guess.checkpoint_keys, (target,), equal.how, why=why))
        one = relation.match(frees, _rounded(sides, guess.checkpoint_keys[0], target))
        others = tuple(key for key in guess.alternatives if key in equal.sources)
        served[target] = one._replace(
            confidence=min(guess.confidence, one.confidence),
            ambiguous=guess.ambiguous or one.ambiguous,
            alternatives=others,
        )
    matches = tuple({id(m): m for key in sides.converted.spec.keys if (m := served.get(key))}.values())
    used = {key for one in matches for key in one.checkpoint_keys}
    unexpected = tuple(key for key in sides.original.spec.keys if key not in used)
    missing = tuple(key for key in sides.converted.spec.keys if key not in served)
    notes = (*_notes(sides, matches, missing, unexpected), *_silent(neighbours.silent))
    harmless = {key: COUNTER for key in (*missing, *unexpected) if key.endswith("num_batches_tracked")}
    harmless.update(_harmless(state, used, unexpected))
    return Assignment(matches, missing, unexpected, (), notes, harmless)


def _quad(relation: Relation) -> Quad | None:
    """How the rows of a relation are seen, if they are interleaved."""
    if relation.quad is not None:
        return relation.quad
    shape = relation.how.shape if "interleave" in relation.how.words else None
    return None if shape is None else (shape[0], shape[1], shape[2], shape[3])


def _harmless(state: _State, used: set[str], unexpected: Sequence[str]) -> dict[str, str]:
    """Keys of the original that hold what one that is used holds, too."""
    twins = {key: equal.sources for equal in state.equals for key in equal.sources}
    out = {}
    for key in unexpected:
        other = next((one for one in twins.get(key, ()) if one in used), None)
        if other is not None:
            out[key] = f"holds the same values as {other}, which is used"
    return out


def _rounded(sides: Sides, source: str, target: str) -> str:
    """What is said of the precision at which two tensors are equal; "" where both have the same."""
    given, wanted = sides.original.spec.by_key[source].dtype, sides.converted.spec.by_key[target].dtype
    if given == wanted or given not in FLOATS or wanted not in FLOATS:
        return ""
    return f", rounded to {wanted}" if sides.form(source, target) == wanted else f", at the precision of {given}"


def _notes(
    sides: Sides, matches: Sequence[Match], missing: Sequence[str], unexpected: Sequence[str]
) -> tuple[str, ...]:
    """Sentences about the whole."""
    notes = []
    total = len(sides.converted.spec)
    notes.append(f"by values: {total - len(missing)} of {total} tensors of the conversion are made of the original's")
    if total - len(missing) < FEW * total:
        notes.append(
            "hardly any values are equal: is this the conversion of that very checkpoint? diagnose needs no values"
        )
    casts = Counter(
        (sides.original.spec.by_key[m.checkpoint_keys[0]].dtype, sides.converted.spec.by_key[m.model_keys[0]].dtype)
        for m in matches
    )
    for (given, wanted), count in casts.items():
        if given != wanted and given in FLOATS and wanted in FLOATS:
            notes.append(
                f"{count} of them are {given} in the original and {wanted} in the conversion, compared at the narrower "
                f"precision: the rules do not cast, loading into a model does"
            )
    notes += _reordered(sides, missing, unexpected)
    unread = [key for side in (False, True) for key in sides.spec(side).keys if not sides.arrays(side).readable(key)]
    if unread:
        notes.append(f"{len(unread)} tensors are of dtypes whose values cannot be compared, the first {unread[0]}")
    return tuple(notes)


def _silent(keys: Sequence[str]) -> list[str]:
    """What is said of matrices that show nothing of how they were arranged."""
    if not keys:
        return []
    are = "tensor has" if len(keys) == 1 else "tensors have"
    return [
        f"{len(keys)} {are} one value throughout, the first {keys[0]}: whether rows were moved only a trained "
        f"checkpoint can tell"
    ]


def _reordered(sides: Sides, missing: Sequence[str], unexpected: Sequence[str]) -> list[str]:
    """Tensors left over that hold the same values in an order that no operation describes."""
    index = sides.by_total(False, unexpected)
    pairs = []
    for target in missing:
        for (dtype, form, *sums), keys in index.items():
            one = sides.sketches.get((True, target, form))
            if one is not None and sides.form_of_dtype(dtype, target) == form and [one.size, one.total] == sums:
                pairs.append((keys[0], target))
    shown = [f"{source} and {target}" for source, target in pairs[:MOST_SHOWN]]
    more = f" (and {len(pairs) - MOST_SHOWN} more)" if len(pairs) > MOST_SHOWN else ""
    return [f"the same values in an order that no operation describes: {', '.join(shown)}{more}"] if pairs else []


def with_notes(rules: RuleSet) -> RuleSet:
    """The rules with a word on the sizes of heads that they hold: those are of this pair."""

    def noted(rule: Rule) -> Rule:
        if "interleave" not in rule.law.words or rule.shape is None:
            return rule
        kept = [str(size) for size in rule.shape if size > 1]
        if -1 not in rule.shape:
            _, b, c, _ = rule.shape
            words = (
                f"for these sizes alone: this pair has one block of {b} times {c} and cannot tell where a variant with "
                f"several (heads) has them, as [-1, {b}, {c}, 1] if each is such a block"
            )
            return replace(rule, note=f"{rule.note}; {words}" if rule.note else words)
        words = f"the sizes {', '.join(kept)} are those of this pair: for variants that share them"
        return replace(rule, note=f"{rule.note}; {words}" if rule.note else words)

    return replace(rules, rules=tuple(map(noted, rules)))
