"""Putting what is proven into a model; a model that is refused is left untouched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from automatch.applying.proof import meta_copy, meta_tensors, without_tensor
from automatch.applying.tensors import load_values
from automatch.applying.undo import Undo
from automatch.diagnosing.comparison import Comparison, is_doubtful
from automatch.diagnosing.values import PartedTie, tie_sentence
from automatch.errors import AutomatchError, NotProvenError, quoted
from automatch.matching.assignment import Match
from automatch.rules.versions import versions_of, with_versions

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

# Below this share of the keys of both sides, what fits is chance: even unrelated networks share small shapes.
NEXT_TO_NOTHING = 0.2


@dataclass(frozen=True)
class Loaded:
    """What was loaded and what was left.

    Attributes:
        diagnosis: what was found before.
        loaded_keys: model keys that have the checkpoint's values now.
        left_keys: model keys that are as they were.
        unused_keys: checkpoint keys that went nowhere.
        notes: sentences about what else happened.
    """

    diagnosis: Comparison
    loaded_keys: tuple[str, ...]
    left_keys: tuple[str, ...]
    unused_keys: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Loaded: {self}>"

    def __str__(self) -> str:
        """One sentence."""
        text = f"loaded {len(self.loaded_keys)} of {len(self.diagnosis.model)} model keys"
        text += self._rest("left as they were", self.left_keys)
        said = self.diagnosis.assignment.notes  # which of two copies was taken, say
        return "; ".join([text + self._rest("not used", self.unused_keys), *said, *self.notes])

    def _rest(self, what: str, keys: tuple[str, ...]) -> str:
        """The keys that matter, and how many harmless ones there are."""
        harmless = self.diagnosis.assignment.harmless
        matters = [key for key in keys if key not in harmless]
        parts = [_some(matters)] if matters else []
        parts += [f"{len(keys) - len(matters)} harmless"] if len(matters) < len(keys) else []
        return f"; {what}: {' and '.join(parts)}" if parts else ""


def load_complete(module: Module, source: object, comparison: Comparison) -> Loaded:
    """Load a checkpoint of which every key is accounted for.

    Raises:
        NotProvenError: something is ambiguous, missing, unexpected or not proven.
        InputError: the values cannot be read.
    """
    if not comparison.complete:
        raise NotProvenError(
            f"{comparison.verdict.rstrip('.')}; nothing was loaded: {_faults(comparison)}; "
            f"print(error.diagnosis) shows them, pin=[...] decides, strict=False loads what is certain",
            comparison,
        )
    return _load(module, source, comparison, strict=True)


def load_certain(module: Module, source: object, comparison: Comparison) -> Loaded:
    """Load the matches that are certain and leave all else as it was.

    Raises:
        NotProvenError: nothing or next to nothing is certain, or the rules are not proven.
        InputError: the values cannot be read.
    """
    sure = _certain(comparison)
    targets = sum(len(match.model_keys) for match in sure)
    sources = len({key for match in sure for key in match.checkpoint_keys})
    share = max(targets / max(1, len(comparison.model)), sources / max(1, len(comparison.checkpoint)))
    if share < NEXT_TO_NOTHING:
        raise NotProvenError(
            f"{comparison.verdict.rstrip('.')}; nothing was loaded: only {targets} of {len(comparison.model)} "
            f"model keys have a certain counterpart",
            comparison,
        )
    if not comparison.proof.ok:
        raise NotProvenError(f"nothing was loaded: {_faults(comparison)}", comparison)
    return _load(module, source, comparison, strict=False)


def _certain(comparison: Comparison) -> list[Match]:
    """The matches whose values may be loaded: decided, and of the kind that the model wants."""
    other_kind = {pair.key for pair in comparison.mismatched_dtypes}
    return [m for m in comparison.matches if not is_doubtful(m) and other_kind.isdisjoint(m.model_keys)]


def _load(module: Module, source: object, comparison: Comparison, strict: bool) -> Loaded:
    """Load all certain matches, first into a copy without memory unless the proof has done so, then for good.

    Raises:
        NotProvenError: torch refuses, or strict and two different tensors would go into one.
    """
    sure = _certain(comparison)
    used = {key for match in sure for key in match.checkpoint_keys}
    wanted = {key for match in sure for key in match.model_keys}

    def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is certain, under the model's keys."""
        given = {key: tensor for key, tensor in tensors.items() if key in used}
        moved = comparison.rules.apply(with_versions(given, versions_of(tensors)))
        return with_versions({key: tensor for key, tensor in moved.items() if key in wanted}, versions_of(moved))

    if comparison.strict_load is None or not comparison.strict_load.passed:
        # The proof has loaded the same into such a copy already where it passed.
        _rehearse(module, renamed(meta_tensors(comparison.checkpoint)), comparison)
    values, states = load_values(source, comparison.checkpoint)
    tensors = renamed(values)
    versions = versions_of(tensors)
    parted = _parted(tensors, comparison)
    if parted and strict:
        raise NotProvenError(
            f"nothing was loaded: {tie_sentence(parted[0])}, and they are not equal; untie the model, or strict=False",
            comparison,
        )
    later = {tie.other for tie in parted}
    tensors = {key: tensor for key, tensor in tensors.items() if key not in later}
    kept = {key for match in sure if not later.issuperset(match.model_keys) for key in match.checkpoint_keys}
    own = module.state_dict()
    on_meta = any(getattr(tensor, "is_meta", False) for tensor in own.values())
    if on_meta:
        tensors = _with_ties(tensors, comparison)
    own_states = without_tensor(own)
    moved = {comparison.rules.rename(key): state for key, state in states.items()}
    extra = {key: state for key, state in moved.items() if key in own_states}
    _fill(module, with_versions({**tensors, **extra}, versions), on_meta, comparison)
    return Loaded(
        comparison,
        tuple(key for key in comparison.model.keys if key in tensors),
        tuple(key for key in comparison.model.keys if key not in tensors and key not in later),
        tuple(key for key in comparison.checkpoint.keys if key not in kept),
        tuple(f"{tie_sentence(tie)}, and they are not equal: the first was taken" for tie in parted),
    )


def _parted(tensors: dict[str, Tensor], comparison: Comparison) -> tuple[PartedTie, ...]:
    """Keys that are one tensor in the model and would get two different ones."""
    import torch

    return tuple(
        tie
        for tie in comparison.parted_ties
        if tie.key in tensors and tie.other in tensors and not torch.equal(tensors[tie.key], tensors[tie.other])
    )


def _fill(module: Module, tensors: dict[str, Any], assign: bool, comparison: Comparison) -> None:
    """Load for good. What no copy without memory can show (a buffer that cannot be written to, a hook) is undone.

    Raises:
        NotProvenError: torch, or the module's own code, refuses.
    """
    undo = Undo(module)
    try:
        surplus = module.load_state_dict(tensors, strict=False, assign=assign).unexpected_keys
        if surplus:
            raise NotProvenError(f"nothing was loaded: the model has no place for {_some(surplus)}", comparison)
        if assign:
            undo.tie()
    except BaseException as error:
        undo.restore()
        if isinstance(error, AutomatchError) or not isinstance(error, Exception):
            raise
        raise NotProvenError(f"nothing was loaded: torch refuses it: {quoted(error)}", comparison) from error


def _rehearse(module: Module, tensors: dict[str, Tensor], comparison: Comparison) -> None:
    """Load into a copy without memory, so that nothing can go wrong half-way through the real one.

    Raises:
        NotProvenError: torch refuses, or has no place for a key.
    """
    twin = meta_copy(module)
    if twin is None:
        return
    try:
        surplus = twin.load_state_dict(tensors, strict=False, assign=True).unexpected_keys
    except (RuntimeError, KeyError, ValueError, AssertionError) as error:
        raise NotProvenError(f"nothing was loaded: torch refuses it: {quoted(error)}", comparison) from None
    if surplus:
        raise NotProvenError(f"nothing was loaded: the model has no place for {_some(surplus)}", comparison)


def _with_ties(tensors: dict[str, Tensor], comparison: Comparison) -> dict[str, Tensor]:
    """Gives keys that share a tensor in the model the same tensor; assigning would part them otherwise."""
    served = {t.tied or t.key: tensors[t.key] for t in comparison.model.tensors if t.key in tensors}
    shared = {t.key: served[t.tied or t.key] for t in comparison.model.tensors if (t.tied or t.key) in served}
    return {**shared, **tensors}


def _faults(comparison: Comparison) -> str:
    """What stands in the way, counted."""
    harmless = comparison.assignment.harmless
    counts = {
        "ambiguous": sum(len(match.model_keys) for match in comparison.doubtful),
        "of another size": len(comparison.mismatched_keys),
        "of another dtype": len(comparison.mismatched_dtypes),
        "missing": sum(key not in harmless for key in comparison.missing_keys),
        "unexpected": sum(key not in harmless for key in comparison.unexpected_keys),
        "not reproduced by the rules": len(comparison.proof.wrong) + len(comparison.proof.collisions),
        "out of reach of any rule": len(comparison.proof.unsaid),
    }
    texts = [f"{count} {'key' if count == 1 else 'keys'} {what}" for what, count in counts.items() if count]
    if comparison.strict_load is not None and comparison.strict_load.passed is False:
        texts.append(comparison.strict_load.message)
    return ", ".join(texts) or "nothing matches"


def _some(keys: Sequence[str]) -> str:
    """The first few keys of a list."""
    more = f" and {len(keys) - 4} more" if len(keys) > 4 else ""
    return ", ".join(map(repr, keys[:4])) + more
