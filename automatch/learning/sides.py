"""Both sides of a conversion: their tensors, and the sketches by which candidates are found."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import prod

from automatch.learning.arrangement import Arrangement, Quad
from automatch.learning.arrays import Arrays
from automatch.learning.forms import blocks, equal_bits, form_of
from automatch.learning.sketch import Sketch, sketch
from automatch.spec import StateDictSpec

Progress = Callable[[str, int, int], None]
"""What is told on the way: what is done, how much of it, out of how much."""

Cut = tuple[slice | int, ...]
PROBE = 8
"""So many entries along each dimension are compared before all are."""


@dataclass(eq=False)
class Sides:
    """A checkpoint and its conversion.

    Attributes:
        original: the values of the checkpoint.
        converted: the values of the conversion.
        sketches: (whether of the conversion, key, form) -> its sketch.
    """

    original: Arrays
    converted: Arrays
    sketches: dict[tuple[bool, str, str], Sketch] = field(default_factory=dict)

    def arrays(self, converted: bool) -> Arrays:
        """One of the two."""
        return self.converted if converted else self.original

    def spec(self, converted: bool) -> StateDictSpec:
        """Keys and shapes of one of the two."""
        return self.arrays(converted).spec

    def form(self, source: str, target: str) -> str | None:
        """In which form a tensor of the original and one of the conversion are compared."""
        return self.form_of_dtype(self.original.spec.by_key[source].dtype, target)

    def form_of_dtype(self, dtype: str, target: str) -> str | None:
        """In which form a tensor of a dtype of the original and one of the conversion are compared."""
        return form_of(dtype, self.converted.spec.by_key[target].dtype)

    def read(self, progress: Progress) -> None:
        """Sketch every tensor of both sides, in each form in which a tensor of the other side may want it."""
        total = sum(prod(t.shape) for side in (False, True) for t in self.spec(side).tensors)
        done = 0
        for side in (False, True):
            arrays = self.arrays(side)
            others = dict.fromkeys(t.dtype for t in self.spec(not side).tensors)
            for tensor in arrays.spec.tensors:
                pairs = [(tensor.dtype, other) if not side else (other, tensor.dtype) for other in others]
                forms = dict.fromkeys(form for pair in pairs if (form := form_of(*pair)) is not None)
                array = arrays(tensor.key) if forms else None
                for form in forms:
                    if array is not None:
                        self.sketches[side, tensor.key, form] = sketch(array, tensor.dtype, form)
                done += prod(tensor.shape)
                progress("reading", done, total)

    def first_equal(
        self, source: str, target: str, hows: Iterable[Arrangement], of_source: Cut = (), of_target: Cut = ()
    ) -> Arrangement | None:
        """The first arrangement in which (a piece of) a tensor of the original is (a piece of) one of the conversion.

        Args:
            source: key of the original.
            target: key of the conversion.
            hows: what may happen to the source, simplest first.
            of_source: the piece of the source; () for all of it.
            of_target: the piece of the target.
        """
        form = self.form(source, target)
        if form is None:
            return None
        given, wanted = self.original(source)[of_source], self.converted(target)[of_target]
        dtype, other = self.original.spec.by_key[source].dtype, self.converted.spec.by_key[target].dtype
        for how in hows:
            left, right = how.views(given, wanted)
            probe = tuple(slice(0, min(size, PROBE)) for size in left.shape)
            looks = ((left[probe], right[probe]), (left, right))
            if all(equal_bits(a, dtype, b, other, form) for a, b in looks):
                return how
        return None

    def equal_rows(self, cutting: bool, whole: str, parts: Sequence[str], quad: Quad, lengths: Sequence[int]) -> bool:
        """Whether parts are the pieces of a whole, one after the other, once its rows are in the order of `quad`.

        Args:
            cutting: whether the whole is the original's.
            whole: its key.
            parts: keys of the other side.
            quad: how its rows are seen; the middle two sizes are exchanged.
            lengths: rows of each part.
        """
        array = self.arrays(not cutting)(whole)
        rows = array.reshape((*quad, *array.shape[1:])).swapaxes(1, 2).reshape(array.shape)
        end = 0
        for part, length in zip(parts, lengths, strict=True):
            ends = (whole, part) if cutting else (part, whole)
            form = self.form(*ends)
            piece, other = rows[end : end + length], self.arrays(cutting)(part)
            dtypes = self.spec(not cutting).by_key[whole].dtype, self.spec(cutting).by_key[part].dtype
            if form is None or piece.shape != other.shape or not equal_bits(piece, dtypes[0], other, dtypes[1], form):
                return False
            end += length
        return end == len(rows)

    def digest(self, converted: bool, key: str) -> bytes:
        """What tells two tensors of one side apart: equal only for equal values in equal order and equal dtype."""
        array = self.arrays(converted)(key)
        state = hashlib.blake2b(self.spec(converted).by_key[key].dtype.encode(), digest_size=16)
        for cut in blocks(array.shape):
            state.update(array[cut].tobytes())
        return state.digest()

    def by_total(self, converted: bool, keys: Iterable[str]) -> dict[tuple[str, str, int, int], list[str]]:
        """(dtype, form, size, total) -> the keys among these that have it, in order."""
        out: dict[tuple[str, str, int, int], list[str]] = defaultdict(list)
        wanted = set(keys)
        for (side, key, form), one in self.sketches.items():
            if side is converted and key in wanted:
                out[self.spec(side).by_key[key].dtype, form, one.size, one.total].append(key)
        return dict(out)
