"""Tables whose last rows one side keeps apart: the words that were added for images, in Idefics and Llama 3.2 Vision.

`embed_tokens` [words, width] and `embed_tokens.additional_embedding` [more, width] are one table on the other side, and
`lm_head` beside `additional_fc` is one head.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from automatch.describing.tokens import words_of
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.exchange import Refuses
from automatch.matching.basis.leaves import Leaf
from automatch.matching.basis.names import Names
from automatch.matching.basis.units import module_path

_MORE = frozenset("additional extra added fusion new".split())
"""What rows are called that were added to a table."""

NAMED = 0.3
"""Names that are as alike as this are those of one table."""


def with_more_rows(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names, refuses: Refuses
) -> list[Found]:
    """Further pairs: a left-over matrix, and two of the other side that are together as large, by their names; flagged.

    The first rows are those of the table that has the name, the others follow.
    """
    used = {id(leaf) for s, t, _ in found for leaf in (s, t)}
    mine, theirs = ([leaf for leaf in side if id(leaf) not in used and _may(leaf)] for side in (source, target))
    out: list[Found] = []
    for turn, (wholes, parts) in enumerate(((theirs, mine), (mine, theirs))):
        for whole in wholes:
            fits = [(first, more) for first, more in _extended(parts) if _is_of(whole, first, more, names)]
            if len(fits) != 1:
                continue
            first, more = fits[0]
            if any(refuses(whole, one) if turn else refuses(one, whole) for one in fits[0]):
                continue
            joined = replace(
                first,
                shape=whole.shape,
                keys=(*first.keys, *more.keys),
                ops=("concat",),
                dim=0,
                sizes=(first.shape[0], more.shape[0]),
            )
            out.append((*((whole, joined) if turn else (joined, whole)), Evidence(level="extended")))
    given = Counter(key for s, _, _ in out for key in s.keys)
    wanted = Counter(key for _, t, _ in out for key in t.keys)
    return [f for f in out if max(map(given.__getitem__, f[0].keys)) == max(map(wanted.__getitem__, f[1].keys)) == 1]


def _may(leaf: Leaf) -> bool:
    return len(leaf.shape) == 2 and not (leaf.ops or leaf.layers or leaf.whole)


def _extended(leaves: Sequence[Leaf]) -> Iterator[tuple[Leaf, Leaf]]:
    """Matrices, and others that are called more of the same: inside their module, or beside it, a head for a head."""
    more = [leaf for leaf in leaves if _is_more(leaf)]
    for first in leaves:
        path = module_path(first.path)
        near = [
            leaf
            for leaf in more
            if leaf is not first and leaf.shape[1] == first.shape[1] and leaf.shape[0] < first.shape[0]
            if module_path(leaf.path)[:-1] in (path, path[:-1])
        ]
        inside = [leaf for leaf in near if module_path(leaf.path)[:-1] == path]
        if not _is_more(first) and len(inside or near) == 1:
            yield first, (inside or near)[0]


def _is_more(leaf: Leaf) -> bool:
    return not _MORE.isdisjoint(words_of(module_path(leaf.path)[-1]))


def _is_of(whole: Leaf, first: Leaf, more: Leaf, names: Names) -> bool:
    """Is a table as large as two together, and called as the first?"""
    if whole.shape != (first.shape[0] + more.shape[0], first.shape[1]):
        return False
    paths = module_path(first.path), module_path(whole.path)
    alike = names.compare(names.path_words(paths[0]), names.path_words(paths[1]), {})
    return alike >= NAMED and names.is_table(paths[0]) == names.is_table(paths[1])
