"""Norms of a transformer's layer that one side numbers and the other names by what stands beside them.

`norm1`, `norm2` and `norm3` of torch's `TransformerDecoderLayer` are those of the self-attention, the cross-attention
and the feed-forward part: that is the order in which a layer runs, in whatever order its modules are registered.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from automatch.matching.confidence import judge
from automatch.matching.evidence import Found
from automatch.matching.exchange import Refuses, exchanged
from automatch.matching.leaves import Leaf
from automatch.matching.names import Names
from automatch.matching.units import block_of, module_path

Path = tuple[str, ...]
Norms = dict[int, Path]
"""The norms of a layer, by their number or by the part that they belong to."""

SELF, CROSS, MLP = 1, 2, 3
_PARTS = {"mlp": MLP, "cross": CROSS, "selfattn": SELF, "attention": SELF}

_NUMBERED = re.compile(r"(?:norm|ln|layer_?norm)_?([123])")


def as_they_run(
    found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names, refuses: Refuses
) -> list[Found]:
    """The same pairs, with numbered norms at those that are named by the parts of a layer, where that was in doubt.

    Where there are two attentions they must be registered in the order in which the norms are numbered: `norm1` of
    Deformable DETR's decoder is that of the cross-attention, which comes first.
    """
    doubted = {module_path(s.path) for s, _, e in found if judge(e).ambiguous}
    pairs = {module_path(s.path): module_path(t.path) for s, t, _ in found if not (s.ops or t.ops)}
    if doubted.isdisjoint(pairs):
        return found
    mine, theirs = _blocks(source), _blocks(target)
    groups: list[Mapping[Path, Path]] = []
    for one, other in dict.fromkeys((block_of(s), block_of(t)) for s, t in pairs.items() if s in doubted):
        group = _as_numbered(mine.get(one, ()), theirs.get(other, ()), len(one), len(other), names)
        if group is None:
            back = _as_numbered(theirs.get(other, ()), mine.get(one, ()), len(other), len(one), names)
            group = back and {named: numbered for numbered, named in back.items()}
        if group and all(pairs.get(s) in group.values() for s in group) and not doubted.isdisjoint(group):
            groups.append(group)
    return exchanged(found, target, groups, "runs", refuses)


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
    """Each numbered norm of a block with the norm of the other block that is named so; None where these are no such.

    Args:
        numbered: the modules of the one block.
        named: the modules of the other block.
        depth: how long the path of the one block is.
        other: how long the path of the other is.
        names: compares words.
    """
    ordinals = {int(m[1]): path for path in numbered if (m := _NUMBERED.fullmatch(path[-1]))}
    norms = [path for path in named if _is_norm(path, names)]
    parts = {part: path for path in norms if (part := _part(path[other:], names))}
    wanted = [SELF, CROSS, MLP] if CROSS in parts else [SELF, MLP]
    if sorted(ordinals) != list(range(1, len(wanted) + 1)) or sorted(parts) != wanted or len(norms) != len(parts):
        return None
    run = [
        part for path in numbered if not _is_norm(path, names) and (part := _part(path[depth:], names)) in (SELF, CROSS)
    ]
    if CROSS in parts and list(dict.fromkeys(run)) != [SELF, CROSS]:
        return None
    return {ordinals[n]: parts[part] for n, part in enumerate(wanted, 1)}


def _is_norm(path: Path, names: Names) -> bool:
    return any("norm" in word.concepts for word in names.token_words(path[-1]))


def _part(path: Path, names: Names) -> int:
    """Which part of a layer a path below it names; 0 for none."""
    concepts = {concept for word in names.path_words(path) for concept in word.concepts}
    return next((part for concept, part in _PARTS.items() if concept in concepts), 0)
