"""Norms that Keras numbers apart from the layers they stand behind: `batch_normalization_7` follows `conv2d_7`.

Where there are as many of either, and each norm is as wide as the layer of its number, the numbers were given in the
order of use; what serves the layer then says which norm of the other side is meant. Keras leaves the first of a kind
without a number; names that a person numbered may stand in any order, a norm before its layer or behind it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from automatch.describing.tokens import stem_index
from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Found
from automatch.matching.basis.exchange import Refuses, exchanged
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.units import block_of, module_path

Modules = dict[Path, list[Leaf]]

FEWEST = 4
"""Fewer layers have norms of their widths by chance."""


def behind_their_layers(
    found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf], refuses: Refuses
) -> list[Found]:
    """The same pairs, with norms that Keras numbered on one side at those behind their layers on the other.

    Only what the norms of one kind serve is exchanged between them, and only if some of it was in doubt. Where some
    of them are lost, those are flagged beside which another of their width is left over.
    """
    sides = _modules(source), _modules(target)
    kinds = [_numbered(side) for side in sides]
    if not any(kinds):
        return found
    pairs = {module_path(s.path): module_path(t.path) for s, t, _ in found}
    flagged = [(module_path(s.path), module_path(t.path)) for s, t, e in found if judge(e).ambiguous]
    for turned in (False, True):
        other = sides[not turned]
        partners = {t: s for s, t in pairs.items()} if turned else pairs
        doubted = {pair[turned] for pair in flagged}
        next_norms = {a: b for a, b in pairwise(other) if not _is_norm(other[a]) and _is_norm(other[b])}
        for layers, norms in kinds[turned]:
            behind = {norm: next_norms.get(partners.get(layer, ())) for layer, norm in zip(layers, norms, strict=False)}
            served = {partners.get(norm) for norm in norms}
            if not layers:
                found = _doubt_uneven(found, {*norms}, other, turned)
            elif None not in served and {*behind.values()} == served and not doubted.isdisjoint(norms):
                moves = {norm: there for norm, there in behind.items() if there is not None}
                moves = {there: norm for norm, there in moves.items()} if turned else moves
                found = exchanged(found, target, [moves], "behind", refuses)
                unsure = {norm for layer, norm in zip(layers, norms, strict=True) if layer in doubted}
                found = [_as_its_layer(f, module_path((f[1] if turned else f[0]).path) in unsure) for f in found]
    return found


def _as_its_layer(pair: Found, unsure: bool) -> Found:
    """A pair that was found so, flagged where that of its layer is."""
    s, t, evidence = pair
    return (s, t, replace(evidence, level="blocks")) if unsure and evidence.level == "behind" else pair


def _doubt_uneven(found: list[Found], norms: set[Path], others: Modules, turned: bool) -> list[Found]:
    """The pairs, those of `norms` flagged beside which another of their width is left over: some of them are lost."""
    taken = {module_path((s if turned else t).path) for s, t, _ in found}
    free = {
        (block_of(path[:-1]), held[0].shape) for path, held in others.items() if _is_norm(held) and path not in taken
    }
    out = []
    for s, t, e in found:
        own, other = (t, s) if turned else (s, t)
        place = block_of(module_path(other.path)[:-1]), other.shape
        lost = module_path(own.path) in norms and place in free and not judge(e).ambiguous
        out.append((s, t, replace(e, level="leavings") if lost else e))
    return out


def _modules(leaves: Sequence[Leaf]) -> Modules:
    """The tensors of each module, counters left out, in state_dict order."""
    out: Modules = defaultdict(list)
    for leaf in sorted(leaves, key=lambda leaf: leaf.place):
        if not leaf.integer:
            out[module_path(leaf.path)].append(leaf)
    return out


def _is_norm(held: Sequence[Leaf]) -> bool:
    return len(held) > 1 and len({leaf.shape for leaf in held}) == 1 and len(held[0].shape) == 1


def _width(held: Sequence[Leaf]) -> int:
    """How many channels a layer gives: of its weight in torch's layout."""
    return max(held, key=lambda leaf: len(leaf.shape)).shape[0]


def _numbered(modules: Modules) -> list[tuple[list[Path], list[Path]]]:
    """Norms of one kind that Keras numbered, in the order of their numbers, and the layers of one kind beside them.

    No layers where those that are numbered so are not as wide, or not as many, or all of one width.
    """
    kinds: dict[Path, dict[int, Path]] = defaultdict(dict)
    for path in modules:
        stem = stem_index(path[-1])
        if stem is not None and stem[0].endswith("_"):
            kind = *path[:-1], stem[0][:-1]
            kinds[kind][stem[1]] = path
    rows: dict[Path, list[list[Path]]] = defaultdict(list)
    for first, own in kinds.items():
        if first in modules and 0 not in own and len(own) >= FEWEST - 1:
            rows[first[:-1]].append([first, *(own[n] for n in sorted(own))])
    out = []
    for beside in rows.values():
        layers = [row for row in beside if all(any(len(x.shape) > 1 for x in modules[path]) for path in row)]
        for row in beside:
            widths = [modules[path][0].shape[0] for path in row] if all(_is_norm(modules[p]) for p in row) else []
            if layers and widths:
                fits = [o for o in layers if len(set(widths)) > 1 and [_width(modules[a]) for a in o] == widths]
                out.append((fits[0] if len(fits) == 1 else [], row))
    return out
