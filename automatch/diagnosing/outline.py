"""The outline of a list of keys, which a renaming of modules leaves as it is: counts, last words, blocks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from automatch.diagnosing.naming import count, is_counter, tokens

_SHOWN = 3
_Of = TypeVar("_Of")


@dataclass(frozen=True)
class Outline:
    """What is left of keys when the names of modules are taken away.

    Attributes:
        keys: how many, num_batches_tracked left out.
        leaves: last word -> keys.
        blocks: length of a numbered list of modules -> keys in such lists.
    """

    keys: int
    leaves: Counter[str]
    blocks: Counter[int]


def outline(keys: Sequence[str]) -> Outline:
    """Take the outline of a list of keys."""
    wanted = [k for k in keys if not is_counter(k)]
    lists: dict[str, list[str]] = defaultdict(list)
    for key in wanted:
        parts = tokens(key)
        first = next((i for i, p in enumerate(parts) if p.isdigit()), None)
        if first is not None:
            lists[".".join(parts[:first])].append(parts[first])
    blocks: Counter[int] = Counter()
    for numbers in lists.values():
        blocks[len(set(numbers))] += len(numbers)
    return Outline(len(wanted), Counter(k.rpartition(".")[2] for k in wanted), blocks)


def alike(a: Outline, b: Outline) -> float:
    """How far two outlines agree, in [0, 1]: the share that counts and last words have in common.

    Blocks are asked for too, except where all else is equal: `layer1.0`, `layer2.0` may have become `stages.0.0`.
    """
    if not a.keys or not b.keys:
        return 0.0
    equal = _overlap(a.leaves, b.leaves)
    return equal if equal == 1.0 else min(equal, _overlap(a.blocks, b.blocks))


def in_words(there: Outline) -> str:
    """`weight 18, bias 18; 3 blocks`, the commonest words first."""
    words = ", ".join(f"{word} {number}" for word, number in there.leaves.most_common(_SHOWN))
    length = there.blocks.most_common(1)[0][0] if there.blocks else 0
    return f"{words}; {count(length, 'block')}" if length > 1 else words


def contrast(there: Outline, here: Outline) -> str:
    """In which last word two outlines differ most, "" where in none: `bias 12 against 0`."""
    words = {w: (there.leaves[w], here.leaves[w]) for w in (*here.leaves, *there.leaves)}
    word = max(words, key=lambda w: abs(words[w][0] - words[w][1]), default="")
    a, b = words.get(word, (0, 0))
    return f"`{word}` {a} times against {b}" if a != b else ""


def _overlap(a: Counter[_Of], b: Counter[_Of]) -> float:
    return sum((a & b).values()) / max(sum(a.values()), sum(b.values()), 1) if a or b else 1.0
