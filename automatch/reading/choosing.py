"""Which of the dicts in a nested checkpoint is the state_dict that is meant."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass

from automatch.averages import is_average
from automatch.errors import InputError
from automatch.reading.source import Candidate, Found, listed
from automatch.spec import Shape, StateDictSpec

# names that hold the weights themselves, the most usual first; averaged copies come after all others
USUAL = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "params",
    "weights",
)
_TEACHER = re.compile(r"(?:^|[^a-z])teacher(?![a-z])")
NAME_WEIGHT = 0.25
# so much better must an averaged copy fit than the weights themselves
AVERAGED_LEAD = 0.05
SHARE_TO_BE_PREFERRED = 0.5
SHARE_TO_BE_NAMED = 0.2


def escaped(path: tuple[str, ...]) -> str:
    r"""The dotted form of a path; a dot or backslash inside a key is written `\.` or `\\`."""
    return ".".join(key.replace("\\", "\\\\").replace(".", "\\.") for key in path)


def split_at(at: str) -> tuple[str, ...]:
    r"""The keys of a dotted path, the inverse of what `StateDictSpec.at` says; "" gives ()."""
    if not at:
        return ()
    keys, escape = [""], False
    for letter in at:
        if escape or letter not in "\\.":
            keys[-1] += letter
            escape = False
        elif letter == "\\":
            escape = True
        else:
            keys.append("")
    return tuple(keys)


@dataclass(frozen=True)
class Choice:
    """The dict that is taken.

    Attributes:
        candidate: the dict.
        notes: sentences that name the others.
        rivals: paths of others with the same keys and shapes, unless the user chose.
        beside: all others, with their sizes.
    """

    candidate: Candidate
    notes: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


def choose(found: Found, where: str, at: str | None, like: StateDictSpec | None, usual: str | None = None) -> Choice:
    """Chooses one dict of a source.

    Args:
        found: all dicts that hold tensors, and optimizers; at least one.
        where: names the source in errors.
        at: path that the user asks for, or None.
        like: the other side; what fits it best is chosen. Without it: the usual name, else the most tensors.
        usual: the path that is meant without `at`, unless the source has but one dict, elsewhere: a key list of a
            nested checkpoint is flat.

    Returns:
        The chosen dict, notes that name the others, and those that nothing tells from it.

    Raises:
        InputError: `at` leads to no dict with tensors, or only an optimizer's state is there.
    """
    candidates = tuple(c for c in found.candidates if not c.is_optimizer)
    if at is None and usual and (len(candidates) > 1 or _under(candidates, usual) is not None):
        at = usual
    if at is not None:
        return Choice(_at(candidates, where, at))
    models = [c for c in candidates if not _is_optimizer(c)]
    if not models:
        choice = f", or choose {_paths(candidates)} with --at" if candidates else ""
        raise InputError(f"{where}: holds only an optimizer's state; give the file with the weights{choice}")
    if len(models) == 1:
        return Choice(models[0])
    chosen = _best_fit(models, like) if like is not None and like.tensors else _usual(models)
    others = [c for c in models if c is not chosen and len(c.tensors) >= len(chosen.tensors) * SHARE_TO_BE_NAMED]
    if not others:
        return Choice(chosen)
    place = f"`{escaped(chosen.path)}`" if chosen.path else "the top level"
    beside = tuple(map(_told, others))
    shapes = _shapes(chosen)
    wanted = _wanted(like)
    serving = shapes.items() & wanted

    def serves_alike(c: Candidate) -> bool:
        return bool(serving) and _shapes(c).items() & wanted == serving and _is_averaged(c) == _is_averaged(chosen)

    rivals = [c for c in others if _shapes(c) == shapes or serves_alike(c)]
    if rivals:
        same = " and ".join([place, *(_name(c) for c in rivals)])
        what = "" if all(_shapes(c) == shapes for c in rivals) else " of all that the model wants"
        rest = [c for c in others if c not in rivals]
        also = f"; also there: {_paths(rest)}" if rest else ""
        note = (
            f"{same} hold the same keys and shapes{what}, nothing tells them apart; "
            f"{place} is shown, choose with --at{also}"
        )
        return Choice(chosen, (note,), tuple(escaped(c.path) for c in rivals), beside)
    why = "fits the model best" if like is not None else "is the usual place"
    note = f"{place} ({len(chosen.tensors)} tensors) {why}; also there: {_paths(others)} (choose with --at)"
    return Choice(chosen, (note,), beside=beside)


def _shapes(candidate: Candidate) -> dict[str, Shape]:
    """The shapes by key, wrappers apart."""
    bare = _bare(tuple(t.key for t in candidate.tensors))
    return {key: t.shape for key, t in zip(bare, candidate.tensors, strict=True)}


def _wanted(like: StateDictSpec | None) -> set[tuple[str, Shape]]:
    """The keys of the other side with their shapes, wrappers apart."""
    return set(zip(_bare(like.keys), (t.shape for t in like.tensors), strict=True)) if like is not None else set()


def _name(candidate: Candidate) -> str:
    return f"`{escaped(candidate.path)}`" if candidate.path else "the top level (--at '')"


def _at(candidates: tuple[Candidate, ...], where: str, at: str) -> Candidate:
    found = _under(candidates, at)
    if found is None:
        raise InputError(f"{where}: no tensors at {at!r}; they are at {_paths(candidates) or 'no other place'}")
    return found


def _under(candidates: tuple[Candidate, ...], at: str) -> Candidate | None:
    """The dict at a path, or the usual one below it; None where there is none."""
    path = split_at(at)
    for candidate in candidates:
        if candidate.path == path:
            return candidate
    # a key with dots, written without escapes
    plain = [c for c in candidates if ".".join(c.path) == at]
    if len(plain) == 1:
        return plain[0]
    inside = [c for c in candidates if c.path[: len(path)] == path]
    return _usual(inside) if inside else None


def _paths(candidates: tuple[Candidate, ...] | list[Candidate]) -> str:
    return listed([*map(_told, candidates)])


def _told(candidate: Candidate) -> str:
    path, tensors = candidate.path, len(candidate.tensors)
    return f"`{escaped(path)}` ({tensors} tensor{'s' * (tensors != 1)})" if path else "the top level (--at '')"


def _is_optimizer(candidate: Candidate) -> bool:
    return any(key.lower().startswith(("optim", "exp_avg")) for key in candidate.path)


def _rank(candidate: Candidate) -> int:
    """Position of the usual names: weights first, then whatever else, averaged copies last."""
    name = candidate.path[-1].lower() if candidate.path else ""
    if _is_averaged(candidate):
        return len(USUAL) + 1
    return USUAL.index(name) if name in USUAL else len(USUAL)


def _is_averaged(candidate: Candidate) -> bool:
    """Is it an average, or a teacher, which mostly is one?"""
    return any(is_average(key) or _TEACHER.search(key.lower()) for key in candidate.path)


def _usual(candidates: list[Candidate]) -> Candidate:
    most = max(len(c.tensors) for c in candidates)
    large = [c for c in candidates if len(c.tensors) >= most * SHARE_TO_BE_PREFERRED]
    return min(large, key=lambda c: (_rank(c) if _rank(c) < len(USUAL) else len(USUAL), -len(c.tensors), _rank(c)))


def _best_fit(candidates: list[Candidate], like: StateDictSpec) -> Candidate:
    shapes = Counter(t.shape for t in like.tensors)
    names, bare_names = frozenset(like.keys), frozenset(_bare(like.keys))

    def fit(candidate: Candidate) -> tuple[float, int, int]:
        ours = Counter(t.shape for t in candidate.tensors)
        common = (shapes & ours).total()
        either = len(like) + len(candidate.tensors) - common
        keys = tuple(t.key for t in candidate.tensors)
        exact = sum(key in names for key in keys)
        same = max(exact, sum(key in bare_names for key in _bare(keys))) / len(like)
        lead = AVERAGED_LEAD if _is_averaged(candidate) else 0
        return (common / either + NAME_WEIGHT * same - lead, -_rank(candidate), exact)

    best = max(candidates, key=fit)
    if not _is_averaged(best):
        return best
    # what a loss keeps beside the weights makes their average no better a fit
    wanted = _wanted(like)
    serving = _shapes(best).items() & wanted
    plain = [c for c in candidates if serving and not _is_averaged(c) and _shapes(c).items() & wanted == serving]
    return max(plain, key=fit, default=best)


def _bare(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys without the modules that all of them stand in: a wrapper tells nothing about which dict is meant."""
    start = len(os.path.commonprefix(keys).rpartition(".")[0])  # noqa: RUF071 - these are no file paths
    return tuple(key[start:].removeprefix(".") for key in keys)
