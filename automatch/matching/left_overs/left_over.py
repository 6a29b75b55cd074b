"""Modules that are left over on both sides at the very end, and fit nothing else that is left over.

A weight that is missing does not make its bias another module's, nor does a module that one side lacks change which
is which of the others. What stages before could not tell, for want of whole modules or of names, is proposed here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.exchange import Refuses
from automatch.matching.basis.leaves import Leaf, Path, squeeze, without_digits
from automatch.matching.basis.names import Names
from automatch.matching.basis.units import module_path, role_of, unlike
from automatch.matching.left_overs.homes import home_of, partners_of_homes
from automatch.matching.left_overs.one_model import is_wrapped_model

MANY = 64
"""What fits more modules than these is not compared."""

ALIKE = 0.3
"""Parameters without a module are of one kind from this likeness of their names on."""


@dataclass(slots=True)
class _Module:
    """A module: where it begins, its tensors by their roles, those left over, and the modules that it was given."""

    path: Path
    place: int
    held: dict[str, Leaf] = field(default_factory=dict)
    left: dict[str, Leaf] = field(default_factory=dict)
    partners: set[Path] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Two modules, and what of the first serves what of the second."""

    mine: _Module
    theirs: _Module
    pairs: tuple[tuple[Leaf, Leaf], ...]


def left_over(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names, refuses: Refuses
) -> list[Found]:
    """Further pairs: left-over modules that fit one left-over module alone; always flagged.

    Or several that fit as many, and no others: these are taken in the order of the two sides. Nothing is proposed in
    one and the same model, wrapped or not: what it lost and what it has instead are the heads of two tasks.
    """
    if names.silent or not found:
        return []
    pairs, turned = [(s, t) for s, t, _ in found], [(t, s) for s, t, _ in found]
    left = _left(source, pairs), _left(target, turned)
    if not all(left) or is_wrapped_model(found):
        return []
    mine, theirs = _modules(source, pairs, left[0]), _modules(target, turned, left[1])
    fits = [
        fit for fit in _fits(mine, theirs, found, names) if not any(refuses(s, t) or unlike(s, t) for s, t in fit.pairs)
    ]
    rows: dict[Path, list[_Fit]] = defaultdict(list)
    columns: dict[Path, list[Path]] = defaultdict(list)
    for fit in fits:
        rows[fit.mine.path].append(fit)
        columns[fit.theirs.path].append(fit.mine.path)
    out: list[Found] = []
    seen: set[Path] = set()
    for path, row in rows.items():
        alike, others = columns[row[0].theirs.path], [fit.theirs.path for fit in row]
        if path in seen or len(alike) != len(others):
            continue
        seen.update(alike)
        if all([fit.theirs.path for fit in rows[one]] == others for one in alike) and all(
            columns[other] == alike for other in others
        ):
            for at, one in enumerate(alike):
                out += [(s, t, Evidence(level="left")) for s, t in rows[one][at].pairs]
    return out


def _left(leaves: Sequence[Leaf], pairs: Sequence[tuple[Leaf, Leaf]]) -> set[int]:
    """The ids of the tensors of a side of which no key serves, or is served; counters follow their modules."""
    taken = {key for own, _ in pairs for key in own.keys}
    return {id(leaf) for leaf in leaves if not leaf.integer and taken.isdisjoint(leaf.keys)}


def _modules(leaves: Sequence[Leaf], pairs: Sequence[tuple[Leaf, Leaf]], left: set[int]) -> dict[Path, _Module]:
    """The modules of a side by their paths, in its order; `pairs`: its leaves, and what they were matched with."""
    out: dict[Path, _Module] = {}
    for leaf in sorted(leaves, key=lambda leaf: leaf.place):
        length, role = role_of(leaf.path)
        module = out.setdefault(leaf.path[:length], _Module(leaf.path[:length], leaf.place))
        if role == "*":
            role = "bias" if leaf.path[-1] == "bias" else "weight"  # a network's own bias is one
        module.held[role] = leaf
        if id(leaf) in left:
            module.left[role] = leaf
    for own, other in pairs:
        path = module_path(own.path)
        if path in out:
            out[path].partners.add(module_path(other.path))
    return out


def _fits(mine: dict[Path, _Module], theirs: dict[Path, _Module], found: Sequence[Found], names: Names) -> list[_Fit]:
    """The modules of either side of which something left over is of one role and one shape, in the order of both."""
    homes = partners_of_homes(found)
    holding: dict[tuple[Path, str, int], list[_Module]] = defaultdict(list)
    anywhere: dict[tuple[str, int], list[_Module]] = defaultdict(list)
    for module in theirs.values():
        for role, leaf in module.left.items():
            holding[home_of(module.path), role, prod(leaf.shape)].append(module)
            anywhere[role, prod(leaf.shape)].append(module)
    alike: dict[tuple[Path, Path], float | None] = {}
    out = []
    for one in mine.values():
        home = homes.get(home_of(one.path))
        wanted = [(role, prod(leaf.shape)) for role, leaf in one.left.items()]
        near = [anywhere.get(kind, ()) if home is None else holding.get((home, *kind), ()) for kind in wanted]
        others = {id(other): other for row in near if len(row) <= MANY for other in row}
        for other in sorted(others.values(), key=lambda module: module.place):
            both = [(s, t) for r, s in one.left.items() if (t := other.left.get(r)) is not None]
            pairs = [(seen, t) for s, t in both if (seen := _seen_as(s, t)) is not None]
            if not pairs or _have_their_own(one.path, other.path, mine, theirs):
                continue
            if _may_be(one, other):
                called = without_digits(one.path), without_digits(other.path)  # the same in every layer
                if called not in alike:
                    alike[called] = _likeness(one.path, other.path, names)
                if _are_of_one_kind(one.path, other.path, pairs, alike[called]):
                    out.append(_Fit(one, other, tuple(pairs)))
    return out


def _have_their_own(a: Path, b: Path, mine: Mapping[Path, _Module], theirs: Mapping[Path, _Module]) -> bool:
    """Does either of two modules stand on the other side, under its own name, in the container of its partner?"""
    inside = a[len(home_of(a)) :], b[len(home_of(b)) :]
    return inside[0] != inside[1] and home_of(b) + inside[0] in theirs and home_of(a) + inside[1] in mine


def _may_be(one: _Module, other: _Module) -> bool:
    """Does nothing else that the two hold speak against it?"""
    if not (_leads_to(one.partners, other.path) and _leads_to(other.partners, one.path)):
        return False
    held = [(leaf, other.held[role]) for role, leaf in one.held.items() if role in other.held]
    seen = [_seen_as(s, t) for s, t in held]
    changed = {
        op for (s, _), as_other in zip(held, seen, strict=True) if as_other and as_other is not s for op in as_other.ops
    }
    if None in seen or not changed or one.partners or other.partners:
        return None not in seen
    return "transpose" not in changed and bool(home_of(one.path) and home_of(other.path))


def _leads_to(partners: set[Path], path: Path) -> bool:
    """Is a module what another was given, or a part of it? What was a parameter of `conv` may be its `conv.lin` now."""
    return all(partner in (path, path[:-1]) for partner in partners)


def _seen_as(s: Leaf, t: Leaf) -> Leaf | None:
    """A tensor in the shape of another: the same, or that of a table that is written in one row."""
    if s.shape == t.shape:
        return s
    ranks = len(squeeze(s.shape)), len(squeeze(t.shape))
    flat = prod(s.shape) == prod(t.shape) and min(ranks) == 1 and (max(ranks) == 1 or t.path[-1] != "bias")
    if s.ops or t.ops:
        return None
    if len(s.raw) == 2 and s.raw[::-1] == t.raw:
        return replace(s, shape=t.shape, ops=("transpose",), perm=(1, 0))
    return replace(s, shape=t.shape, ops=("reshape",)) if flat else None


def _are_of_one_kind(a: Path, b: Path, pairs: Sequence[tuple[Leaf, Leaf]], alike: float | None) -> bool:
    """Do the names of two modules, `alike` if they may be one, leave it open? A lone vector may be anything."""
    if alike is None:
        return False
    if any(role_of(leaf.path)[1] == "*" and leaf.path[-1] != "bias" for pair in pairs for leaf in pair):
        return alike > ALIKE or bool(home_of(a) and home_of(b))
    return alike >= 0 or len(pairs) > 1 or len(pairs[0][0].raw) > 1


def _likeness(a: Path, b: Path, names: Names) -> float | None:
    """How alike two modules are called; None where they exclude each other, or one is a table and the other a head."""
    words = names.path_words(a), names.path_words(b)
    if names.contradiction(*words) > 0 or names.is_table(a) != names.is_table(b):
        return None
    return names.compare(*words, {})
