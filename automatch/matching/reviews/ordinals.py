"""Norms of a transformer's layer that one side numbers and the other names by what stands beside them.

`norm1`, `norm2` and `norm3` of torch's `TransformerDecoderLayer` are those of the self-attention, of the
cross-attention and of the feed-forward part, in whatever order they are registered.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Found
from automatch.matching.basis.exchange import Refuses, exchanged
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.names import Names
from automatch.matching.basis.units import block_of, module_path

SELF, CROSS, MLP = 1, 2, 3
_PARTS = {"mlp": MLP, "cross": CROSS, "selfattn": SELF, "attention": SELF}

_NUMBERED = re.compile(r"(?:norm|ln|layer_?norm)_?([123])")


_OF_THE_BLOCK = frozenset({"blocks", "lent", "once", "echo"})
"""Doubts that are about a whole block, and not about which of its norms is which."""


def as_they_run(
    found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names, refuses: Refuses
) -> list[Found]:
    """The same pairs, with numbered norms that were in doubt at those that are named by the parts of a layer."""
    levels: dict[Path, set[str]] = defaultdict(set)
    doubted: set[Path] = set()
    for s, _, e in found:
        levels[module_path(s.path)].add(e.level)
        if judge(e).ambiguous:
            doubted.add(module_path(s.path))
    pairs = {module_path(s.path): module_path(t.path) for s, t, _ in found if not (s.ops or t.ops)}
    norms = [s for s, t in pairs.items() if _NUMBERED.fullmatch(s[-1]) or _NUMBERED.fullmatch(t[-1])]
    mine, theirs = (_blocks(side) if norms else {} for side in (source, target))
    groups: tuple[list[Mapping[Path, Path]], list[Mapping[Path, Path]]] = [], []  # sure, and as doubtful as their block
    for one, other in dict.fromkeys((block_of(s), block_of(pairs[s])) for s in norms):
        ours, others = mine.get(one, ()), theirs.get(other, ())
        there = _as_numbered(ours, others, len(one), len(other), names)
        back = _as_numbered(others, ours, len(other), len(one), names) if there is None else None
        group = there or {named: numbered for numbered, named in (back or {}).items()}
        if all(pairs.get(s) in group.values() for s in group) and not doubted.isdisjoint(group):
            outer = any(not levels[s].isdisjoint(_OF_THE_BLOCK) for s in ours if s in levels)
            groups[outer].append(group)
    return exchanged(exchanged(found, target, groups[0], "runs", refuses), target, groups[1], "blocks", refuses)


def _blocks(leaves: Sequence[Leaf]) -> dict[Path, list[Path]]:
    """The modules of every numbered block, in state_dict order."""
    out: dict[Path, dict[Path, None]] = defaultdict(dict)
    for leaf in sorted(leaves, key=lambda leaf: leaf.place):
        module = module_path(leaf.path)
        out[block_of(module)][module] = None
    return {block: list(modules) for block, modules in out.items() if block}


def _as_numbered(
    numbered: Sequence[Path], named: Sequence[Path], depth: int, other: int, names: Names
) -> dict[Path, Path] | None:
    """The numbered norms of a block and those of another block that are named so; None where these are no such.

    Nor where the numbered side registers the cross-attention before the self-attention: some of those run it first.

    Args:
        numbered: the modules of the one block.
        named: the modules of the other block.
        depth: how long the path of the one block is.
        other: how long the path of the other is.
        names: compares words.
    """
    own = [path for path in numbered if _is_norm(path, names)]
    ordinals = {int(m[1]): path for path in own if (m := _NUMBERED.fullmatch(path[-1]))}
    norms = [path for path in named if _is_norm(path, names)]
    parts = {part: path for path in norms if (part := _part(path[other:], names))}
    wanted = [SELF, CROSS, MLP] if CROSS in parts else [SELF, MLP]
    if sorted(ordinals) != list(range(1, len(wanted) + 1)) or sorted(parts) != wanted:
        return None
    if len(own) != len(ordinals) or len(norms) != len(parts):
        return None  # SAM's `norm4` is that of another cross-attention
    there = (_part(path[depth:], names) for path in numbered if not _is_norm(path, names))
    if CROSS in parts and list(dict.fromkeys(part for part in there if part in (SELF, CROSS))) != [SELF, CROSS]:
        return None  # some of those that register the cross-attention first run it first
    return {ordinals[n]: parts[part] for n, part in enumerate(wanted, 1)}


def _is_norm(path: Path, names: Names) -> bool:
    return any("norm" in word.concepts for word in names.token_words(path[-1]))


def _part(path: Path, names: Names) -> int:
    """Which part of a layer a path below it names; 0 for none."""
    concepts = {concept for word in names.path_words(path) for concept in word.concepts}
    return next((part for concept, part in _PARTS.items() if concept in concepts), 0)
