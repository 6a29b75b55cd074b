"""In what two architectures differ, told from keys and shapes alone."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from automatch.diagnosing.evidence import Evidence
from automatch.diagnosing.naming import count, template, tokens

_SEVERAL = 3
_BLOCK_PART = re.compile(r"(?:^|.*\.)(?P<list>[A-Za-z]\w*\.\d+)\.(?P<kind>conv|bn)3\.\w+$")


LAYERS = 4
"""Fewer modules whose numbers are part of their names are no list: `norm_1`, `norm_2`."""

_GLUED = re.compile(r"(.*[A-Za-z]_)(\d{1,5})")


def differences(evidence: Evidence) -> tuple[str, ...]:
    """What the checkpoint has, such as "12 layers in `encoder.layer` against 24", the telling ones first.

    Args:
        evidence: with all keys of both sides where they are known, else with the lists.

    Returns:
        At most three; empty where nothing can be told.
    """
    return tuple([*_bottlenecks(evidence), *_depths(evidence), *_widths(evidence)][:3])


def _bottlenecks(evidence: Evidence) -> list[str]:
    """A residual network's block has two convolutions or three; names and nothing else show it."""
    file_has = any(_BLOCK_PART.match(k) for k in evidence.unexpected_keys)
    model_has = any(_BLOCK_PART.match(k) for k in evidence.missing_keys)
    if file_has == model_has:
        return []
    if file_has:
        return ["bottleneck blocks (a third convolution in each), and the model none"]
    return ["no bottleneck blocks (a third convolution in each), and the model does"]


def _depths(evidence: Evidence) -> list[str]:
    """Lists of modules whose length differs, where all keys of both sides are known."""
    if evidence.checkpoint is None or evidence.model is None:
        return _depths_by_lists(evidence)
    file, model = _lengths(evidence.checkpoint.keys), _lengths(evidence.model.keys)
    names = _called(evidence)
    different = [(names.get(n, n), n) for n in model if file.get(names.get(n, n), model[n]) != model[n]]
    return [
        f"{count(file[a], 'module')} in `{a}` against {model[b]}{f' in `{b}`' if a != b else ''}"
        for a, b in different[:2]
    ]


def _called(evidence: Evidence) -> dict[str, str]:
    """What the checkpoint calls a numbered list of the model, by most of the pairs that matching found."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for source, target in evidence.renamed:
        for numbers in (_numbered, _glued):
            for (a, _), (b, _) in zip(numbers(source), numbers(target), strict=False):
                votes[template(b)][template(a)] += 1
    return {name: found.most_common(1)[0][0] for name, found in votes.items()}


def _depths_by_lists(evidence: Evidence) -> list[str]:
    """One list names whole modules of a numbered list that the other never names."""
    for keys, others, words in (
        (evidence.missing_keys, evidence.unexpected_keys, "no module {} of `{}`, which the model has"),
        (evidence.unexpected_keys, evidence.missing_keys, "module {} of `{}` that the model has not"),
    ):
        found: dict[str, set[int]] = defaultdict(set)
        for key in keys:
            if key not in evidence.buffers:
                for name, number in _numbered(key):
                    found[name].add(number)
        for name, numbers in found.items():
            first, last = min(numbers), max(numbers)
            if first > 0 and len(numbers) == last - first + 1 and not any(k.startswith(name + ".") for k in others):
                span = str(first) if first == last else f"{first} to {last}"
                return [words.format(span, name)]
    return []


def _lengths(keys: tuple[str, ...]) -> dict[str, int]:
    """Length of each numbered list of modules; lists inside lists are taken together, the longest counts."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for key in keys:
        for name, number in (*_numbered(key), *_glued(key)):
            numbers[name].add(number)
    lengths: dict[str, int] = {}
    for name, found in numbers.items():
        kind = template(name)
        if not name.endswith("_") or len(found) >= LAYERS:
            lengths[kind] = max(lengths.get(kind, 0), len(found))
    return lengths


def _numbered(key: str) -> list[tuple[str, int]]:
    """The numbered lists that a key leads through, and the number in each."""
    parts = tokens(key)
    return [(".".join(parts[:i]), int(p)) for i, p in enumerate(parts) if p.isdigit() and len(p) < 6 and i]


def _glued(key: str) -> list[tuple[str, int]]:
    """The same of numbers that are part of a name: `layers.layer_3` is the fourth of a list `layers.layer_`."""
    parts = tokens(key)
    return [(".".join((*parts[:i], m[1])), int(m[2])) for i, p in enumerate(parts) if (m := _GLUED.fullmatch(p))]


def _widths(evidence: Evidence) -> list[str]:
    """The commonest pair of sizes that differ; a width shows in several tensors, what differs once is no width."""
    pairs = Counter(
        pair
        for m in evidence.mismatched
        if len(m.checkpoint_shape) == len(m.model_shape)
        for pair in sorted({(a, b) for a, b in zip(m.checkpoint_shape, m.model_shape, strict=True) if a != b})
    )
    told = [f"size {a} in {n} tensors against {b}" for (a, b), n in pairs.most_common(1) if n >= _SEVERAL]
    ranks = next((m for m in evidence.mismatched if len(m.checkpoint_shape) != len(m.model_shape)), None)
    if ranks:
        told.insert(0, f"`{ranks.key}` as {list(ranks.checkpoint_shape)} against {list(ranks.model_shape)}")
    return told
