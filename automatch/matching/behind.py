"""Norms that are numbered apart from the layers they stand behind: Keras' `batch_normalization_7` follows `conv2d_7`.

Where there are as many of either, and each norm is as wide as the layer of its number, the numbers were given in the
order of use; what serves the layer then says which norm of the other side is meant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from automatch.describing.tokens import stem_index
from automatch.matching.confidence import judge
from automatch.matching.evidence import Found
from automatch.matching.exchange import Refuses, exchanged
from automatch.matching.leaves import Leaf
from automatch.matching.units import block_of, module_path

Path = tuple[str, ...]
Modules = dict[Path, list[Leaf]]

FEWEST = 4
"""Fewer layers have norms of their widths by chance."""


def behind_their_layers(
    found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf], refuses: Refuses
) -> list[Found]:
    """The same pairs, with norms that are numbered apart on one side at those behind their layers on the other."""
    sides = _modules(source), _modules(target)
    pairs = {module_path(s.path): module_path(t.path) for s, t, _ in found}
    flagged = [(module_path(s.path), module_path(t.path)) for s, t, e in found if judge(e).ambiguous]
    doubted = {s for s, _ in flagged}, {t for _, t in flagged}
    for turned in (False, True):
        own, other = sides[turned], sides[not turned]
        next_norms = {a: b for a, b in pairwise(other) if not _is_norm(other[a]) and _is_norm(other[b])}
        partners = {t: s for s, t in pairs.items()} if turned else pairs
        for layers, norms in _numbered(own):
            if not layers:
                found = _doubt_uneven(found, {*norms}, other, turned)
                continue
            behind = [next_norms.get(partners.get(layer, ())) for layer in layers]
            group = {norm: there for norm, there in zip(norms, behind, strict=True) if there is not None}
            if len(set(behind)) < len(norms) or len(group) < len(norms):
                continue
            moves = {there: norm for norm, there in group.items()} if turned else group
            if moves.keys() <= pairs.keys() and any(pairs[s] != t or s in doubted[0] for s, t in moves.items()):
                found = exchanged(found, target, [moves], "behind", refuses)
                unsure = {norm for layer, norm in zip(layers, norms, strict=True) if layer in doubted[turned]}
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
    """Norms that one stem names, `bn_3`, in the order of their numbers, and the layers beside them that are as wide.

    No layers where those that are numbered so are not as wide, or not as many.
    """
    kinds: dict[Path, dict[int, Path]] = defaultdict(dict)
    for path in modules:
        stem, number = stem_index(path[-1]) or (f"{path[-1]}_", 0)  # Keras writes the first without a number
        kind = *path[:-1], stem
        kinds[kind][number] = path
    rows = [[own[n] for n in sorted(own)] for own in kinds.values() if len(own) >= FEWEST]
    norms = [row for row in rows if all(_is_norm(modules[path]) for path in row)]
    layers = [row for row in rows if all(any(len(x.shape) > 1 for x in modules[path]) for path in row)]
    out = []
    for row in norms:
        beside = [other for other in layers if other[0][:-1] == row[0][:-1]]
        fits = [o for o in beside if [_width(modules[a]) for a in o] == [modules[b][0].shape[0] for b in row]]
        if beside and len(fits) < 2:
            out.append((fits[0] if fits else [], row))
    return out
