"""What a cause looks at, and what it answers.

The same causes serve `diagnose`, where every key and shape of both sides is known, and `explain`,
where an error text names some keys and no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from automatch.diagnosing.naming import WRAPPER_WORDS, is_buffer, tokens, words_removed
from automatch.matching.assignment import Assignment, Mismatch
from automatch.spec import StateDictSpec

CAUSE_WORDS = (
    "prefix-module",
    "prefix-compile",
    "prefix-wrapper",
    "renamed-modules",
    "index-shift",
    "nested-dict",
    "missing-buffers",
    "num-classes/head",
    "vocab-or-shape-change",
    "wrong-architecture/variant",
    "quantized",
    "lora/peft",
    "tied-weights",
    "version-change",
    "weight-norm/parametrization",
    "fused/split tensors",
    "other",
)
"""The causes, in the words of `explain(text).to_dict()["cause"]`."""

HINTS = {
    "copy-failed": "torch could not copy a tensor although its shape is right, and shows the exception",
    "copy-failed-silently": "torch could not copy a tensor although its shape is right, and does not say why",
    "meta": "tensors on the meta device, without values",
    "quantized": "quantised tensors are spoken of",
    "first-key-only": "the loader stopped at the first key",
    "container-wanted": "a script looked for a dict inside the file that is not there",
    "fsdp": "an assertion of FullyShardedDataParallel",
    "running-stats": "an InstanceNorm got statistics that it does not track",
    "all-matched": "the loader said that every key was matched",
    "warning": "a loader warned and went on; the keys it names were left as initialised",
}
"""What a text can say beside its lists."""

Wrapped = tuple[str, frozenset[str]]
"""A key and the words of `WRAPPER_WORDS` in it."""
Removed = Counter[tuple[str, ...] | None]


@dataclass(frozen=True)
class Evidence:
    """Everything known about one attempt to load a checkpoint into a model.

    Attributes:
        missing_keys: the model has them, the checkpoint does not (by name, as torch lists them).
        unexpected_keys: the checkpoint has them, the model does not.
        mismatched: keys of both sides with different shapes.
        truncated: more keys than these may be concerned.
        missing_whole: the missing keys are all there.
        unexpected_whole: the unexpected keys are all there.
        half_read: keys that differ in shape, but a cut took the shapes away.
        hints: words of `HINTS`.
        checkpoint: all keys and shapes of the file, None where only an error text is known.
        model: all keys and shapes of the model, None likewise.
        assignment: what matching found, None likewise.
    """

    missing_keys: tuple[str, ...] = ()
    unexpected_keys: tuple[str, ...] = ()
    mismatched: tuple[Mismatch, ...] = ()
    truncated: bool = False
    missing_whole: bool = True
    unexpected_whole: bool = True
    half_read: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    checkpoint: StateDictSpec | None = None
    model: StateDictSpec | None = None
    assignment: Assignment | None = None

    @cached_property
    def listed(self) -> tuple[str, ...]:
        """All keys that something is wrong with: missing, unexpected, mismatched."""
        return (*self.missing_keys, *self.unexpected_keys, *(m.key for m in self.mismatched), *self.half_read)

    @property
    def matched(self) -> bool:
        """Whether matching found anything: then what names alone would suggest is of no interest."""
        return self.assignment is not None and bool(self.assignment.matches)

    @cached_property
    def renamed(self) -> tuple[tuple[str, str], ...]:
        """Pairs (checkpoint key, model key) that matching found under different names."""
        if self.assignment is None:
            return ()
        pairs = ((m.checkpoint_keys[0], m.model_keys[0]) for m in self.assignment.matches if m.op == "rename")
        return tuple((source, target) for source, target in pairs if source != target)

    # Several causes ask for what follows, and a name is worth its look-up only once.

    @cached_property
    def buffers(self) -> frozenset[str]:
        """Those of `listed` that are buffers by their names."""
        return frozenset(filter(is_buffer, self.listed))

    @cached_property
    def wrapped(self) -> tuple[tuple[Wrapped, ...], tuple[Wrapped, ...]]:
        """The unexpected and the missing keys that carry words of a wrapper, each with these words."""
        return _wrapped(self.unexpected_keys), _wrapped(self.missing_keys)

    @cached_property
    def removed(self) -> tuple[Removed, Removed]:
        """How many of `renamed` lose which words from checkpoint to model, and likewise from model to checkpoint.

        Empty where no wrapper's words are among them.
        """
        return _removed(self.renamed), _removed([(target, source) for source, target in self.renamed])


@dataclass(frozen=True)
class Finding:
    """One cause that the evidence speaks for.

    Attributes:
        cause: one of `CAUSE_WORDS`.
        score: in [0, 1]; how well the evidence agrees, comparable between causes.
        sentence: what happened, with counts.
        advice: one concrete way out.
        rules: (pattern, replacement) pairs in the language of `automatch.rules.rule.Rule` that
            would cure it, replayed on the listed keys; empty where no rule can.
    """

    cause: str
    score: float
    sentence: str
    advice: str
    rules: tuple[tuple[str, str], ...] = ()


def gather(checkpoint: StateDictSpec, model: StateDictSpec, assignment: Assignment | None = None) -> Evidence:
    """Compare two sides by name, as torch does, and add what matching found.

    Args:
        checkpoint: the keys of the file.
        model: the keys of the model.
        assignment: the answer of the matching stage.

    Returns:
        The evidence; a mismatch found under another name is listed under its model key.
    """
    by_name = (
        Mismatch(t.key, t.key, checkpoint.by_key[t.key].shape, t.shape)
        for t in model.tensors
        if t.key in checkpoint.by_key and checkpoint.by_key[t.key].shape != t.shape
    )
    matched = {key for match in assignment.matches for key in match.model_keys} if assignment else set()
    renamed = assignment.mismatched if assignment else ()
    return Evidence(
        missing_keys=tuple(key for key in model.keys if key not in checkpoint.by_key),
        unexpected_keys=tuple(key for key in checkpoint.keys if key not in model.by_key),
        mismatched=_each_once((*(m for m in by_name if m.key not in matched), *renamed)),
        checkpoint=checkpoint,
        model=model,
        assignment=assignment,
    )


def _may_be_wrapped(keys: Iterable[str]) -> bool:
    """Does a wrapper's word occur anywhere? One search of all keys spares the many that have none."""
    text = "\n".join(keys)
    return any(word in text for word in WRAPPER_WORDS)


def _removed(pairs: Sequence[tuple[str, str]]) -> Removed:
    if not _may_be_wrapped(source for source, _ in pairs):
        return Counter()
    return Counter(words_removed(source, target) for source, target in pairs)


def _wrapped(keys: tuple[str, ...]) -> tuple[Wrapped, ...]:
    if not _may_be_wrapped(keys):
        return ()
    found = ((key, WRAPPER_WORDS.intersection(tokens(key)[:-1])) for key in keys)
    return tuple((key, words) for key, words in found if words)


def _each_once(mismatched: Iterable[Mismatch]) -> tuple[Mismatch, ...]:
    return tuple({m.key: m for m in mismatched}.values())
