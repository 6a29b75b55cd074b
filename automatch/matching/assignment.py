"""What matching answers: which checkpoint keys serve which model keys, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from automatch.spec import Shape


class Match(NamedTuple):
    """Checkpoint keys that serve model keys through one operation.

    A named tuple, not a dataclass: a checkpoint may have a hundred thousand of them.

    Attributes:
        model_keys: one key; several for chunk and unstack, in the order of the pieces.
        checkpoint_keys: one key; several for concat and stack, in the order they are joined.
        op: rename, transpose, permute, interleave, flip, reshape, concat, chunk, stack, unstack,
            join_latent, split_latent; joined by `+` where several apply ("stack+concat").
        confidence: in [0, 1]; a level for matches of this kind, held against the share that is right
            (`benchmarks/calibration.py`).
        ambiguous: the evidence does not decide; `alternatives` would do as well.
        alternatives: checkpoint keys that fit `model_keys` as well as the chosen ones.
        reason: the evidence in words that a user can check.
        dim: the dimension joined or cut by concat, chunk, stack and unstack.
        perm: order of the checkpoint tensor's dimensions for transpose and permute of dims.
        sizes: for chunk into unequal pieces: their proportions in lowest terms, e.g. (4, 1, 1).
        shape: for reshape: the sizes that `automatch.ops.relative_shape` gives (0 keeps, -1 takes the rest); for
            interleave, and where a permute has it: the four sizes as which `dim` is seen (-1 takes the rest); for flip:
            number and size of the blocks; for split_latent: the rows of a head for its keys, and for its values.
    """

    model_keys: tuple[str, ...]
    checkpoint_keys: tuple[str, ...]
    op: str = "rename"
    confidence: float = 1.0
    ambiguous: bool = False
    alternatives: tuple[str, ...] = ()
    reason: str = ""
    dim: int | None = None
    perm: tuple[int, ...] | None = None
    sizes: tuple[int, ...] | None = None
    shape: Shape | None = None


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A model key whose counterpart was found but has another shape (never loaded)."""

    key: str
    checkpoint_key: str
    checkpoint_shape: Shape
    model_shape: Shape


@dataclass(frozen=True, slots=True)
class Sample:
    """Matches and keys that stand for all: long lists of equal items are cut, nothing else.

    Attributes:
        matches: those of the keys that stay.
        checkpoint_keys: the keys that stay, in order.
        model_keys: likewise.
    """

    matches: tuple[Match, ...]
    checkpoint_keys: tuple[str, ...]
    model_keys: tuple[str, ...]


@dataclass(frozen=True)
class Assignment:
    """The answer of the matching stage; every key of both sides stands in exactly one place.

    A checkpoint key may serve several matches (tied weights); a model key is served once.

    Attributes:
        matches: in the order of the model's keys.
        missing_keys: model keys that nothing serves, in model order (those in `mismatched` included).
        unexpected_keys: checkpoint keys that serve nothing, in checkpoint order (those in
            `mismatched` included).
        mismatched: pairs that belong together but differ in shape.
        notes: sentences about the whole ("the checkpoint holds a second copy under ema.*").
        harmless: key -> why its being missing or unexpected does no harm.
        sample: where the whole was matched in miniature, the miniature: what holds for it holds for all.
    """

    matches: tuple[Match, ...] = ()
    missing_keys: tuple[str, ...] = ()
    unexpected_keys: tuple[str, ...] = ()
    mismatched: tuple[Mismatch, ...] = ()
    notes: tuple[str, ...] = ()
    harmless: dict[str, str] = field(default_factory=dict)
    sample: Sample | None = field(default=None, compare=False, repr=False)
