"""Left-overs that are one module here and several there, as their sizes say, whatever they are called.

What is known to be fused (q, k, v; gate and up) is folded before the matching. This is for all else: a modulation that
one code base computes for two norms at once, the filter and the gate of a WaveNet, an embedding in two parts. Decided
for all blocks at once, and flagged, as sizes say nothing of the order, unless the name of the fused tensor tells it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from automatch.describing.tokens import words_of
from automatch.matching.basis.adapters import FIRST, half_of
from automatch.matching.basis.evidence import Evidence, Found, Level
from automatch.matching.basis.leaves import Leaf, Path, template
from automatch.matching.basis.parts import PARTS, joined_shape, role_in, said_order
from automatch.matching.basis.units import block_of, module_path, role_of

Parts = tuple[list[Leaf], ...]

_DIGITS = re.compile(r"\d+")

NO_HALF = frozenset({"down", "out", "output", "router", "shared", "skip"})
"""Words of what stands beside a gate and an up-projection, and is neither."""

MOST = 8
"""Of more left-overs in a block than these, no sums are looked for."""


@dataclass(frozen=True, slots=True)
class _Option:
    """A family of modules, and families that add up to it along a dimension; one list of leaves per block."""

    name: Path
    whole: list[list[Leaf]]
    parts: dict[Path, list[list[Leaf]]]
    dim: int


@dataclass(frozen=True, slots=True)
class _Sum:
    """A fused module and its parts, in order, with the dimension along which they lie; one per block."""

    whole: list[Leaf]
    parts: Parts
    dim: int
    level: Level


def add_up(
    found: list[Found], source: list[Leaf], target: list[Leaf], refuses: Callable[[Leaf, Leaf], bool]
) -> tuple[list[Found], list[Leaf], list[Leaf]]:
    """Put together left-over modules that are one on one side, and two or more on the other.

    Returns:
        The pairs with those found, and the leaves of both sides with each group of parts replaced by one leaf.
    """
    used, served = {id(s) for s, _, _ in found}, {id(t) for _, t, _ in found}
    blocks = _partners(found)
    found = list(found)
    for turn in (False, True):
        ones, many = (target, source) if turn else (source, target)
        taken = (served, used) if turn else (used, served)
        left = _left_over(ones, taken[0]), _left_over(many, taken[1])
        if not all(left):
            continue
        partners = {b: a for a, b in blocks.items()} if turn else blocks
        gone: dict[int, Leaf | None] = {}
        for one in _sums(left[0], left[1], partners):
            groups = list(_groups(one))
            pairs = [(m, whole) if turn else (whole, m) for whole, members, _ in groups for m in members]
            if any(refuses(s, t) for s, t in pairs) or (turn and any(_is_first_half(whole) for whole, _, _ in groups)):
                continue  # adapters that were learnt apart are not one
            evidence = Evidence(level=one.level)
            for whole, members, dim in groups:
                if _is_first_half(whole):  # one serves those of all parts
                    found += [(whole, m, evidence) for m in members]
                    continue
                joined = _joined(members, dim, whole)
                gone.update((id(m), None) for m in members)
                gone[id(min(members, key=lambda m: m.place))] = joined
                found.append((joined, whole, evidence) if turn else (whole, joined, evidence))
        many = [kept for leaf in many if (kept := gone.get(id(leaf), leaf)) is not None]
        source, target = (many, target) if turn else (source, many)
    return found, source, target


def _groups(one: _Sum) -> Iterator[tuple[Leaf, tuple[Leaf, ...], int]]:
    """Every tensor of a sum, with its parts and the dimension along which they lie."""
    for n, whole in enumerate(one.whole):
        yield whole, tuple(part[n] for part in one.parts), one.dim if len(whole.shape) > 1 else 0


def _left_over(leaves: Sequence[Leaf], taken: set[int]) -> dict[Path, list[Leaf]]:
    """The modules of which nothing is matched."""
    modules: dict[Path, list[Leaf]] = defaultdict(list)
    spoilt: set[Path] = set()
    for leaf in leaves:
        module = module_path(leaf.path)
        modules[module].append(leaf)
        if id(leaf) in taken or leaf.integer or leaf.layers or {"concat", "stack"} & set(leaf.ops):
            spoilt.add(module)
    under = Counter(module[:depth] for module in modules for depth in range(1, len(module) + 1))

    def named(module: Path) -> Path:
        """The only module of a Sequential is no block of its own: `conv_i.0` stands beside `conv_o.0`."""
        return module[:-1] if module[-1].isdecimal() and under[module[:-1]] == 1 else module

    return {named(module): own for module, own in modules.items() if module not in spoilt}


def _partners(found: Sequence[Found]) -> dict[Path, Path]:
    """Which numbered container stands for which, as most of their pairs say; the innermost one of several."""
    votes: dict[Path, Counter[Path]] = defaultdict(Counter)
    for s, t, _ in found:
        inner = _containers(module_path(t.path))
        for container in _containers(module_path(s.path)):
            votes[container].update(inner)
    return {block: max(own, key=lambda other: (own[other], len(other))) for block, own in votes.items() if own}


def _containers(module: Path) -> list[Path]:
    """The numbered containers that a module stands in."""
    return [module[: depth + 1] for depth, token in enumerate(module) if token.isdecimal()]


def _sums(ones: dict[Path, list[Leaf]], many: dict[Path, list[Leaf]], partners: dict[Path, Path]) -> Iterator[_Sum]:
    """For every family of left-over modules, the one set of families of the other side that adds up to it."""
    wholes, parts = _families(ones), _families(many)
    homes: dict[Path, list[Path]] = defaultdict(list)
    for name, modules in parts.items():
        homes[template(block_of(modules[0]))].append(name)
    wanted: Counter[Path] = Counter()
    options: list[_Option] = []
    for name, modules in wholes.items():
        sets: list[_Option] = []
        for names in homes.values():
            if any(n[-1] == name[-1] for n in names):
                continue  # the same module in another size
            for own, alike in _rows(modules, {n: parts[n] for n in names}, partners):
                held = {n: [many[m] for m in rows] for n, rows in alike.items()}
                sets += _options(name, [ones[m] for m in own], held)
        if len(sets) == 1:
            options += sets
            wanted.update(list(sets[0].parts))
    for one in options:
        said = {role for token in one.name[-2:] for role in said_order(token)}
        called = {found[1] for n in one.parts if (found := role_in(n))}
        counted = len(said) == len(one.parts) and len({_DIGITS.sub("#", name[-1]) for name in one.parts}) == 1
        lacking = said - called if called or not counted else ()  # a qkv without a v is none
        others = [n for n in one.parts if role_in(n) is None and NO_HALF.isdisjoint(words_of(n[-1]))]
        if len(lacking) == len(others) == 1 and said.isdisjoint(PARTS[0]) and len(one.parts) == len(said):
            lacking = ()  # of gate and up, the part that is not the gate
        if any(wanted[n] > 1 for n in one.parts) or lacking:
            continue
        order, level = _ordered(one.name, list(one.parts))
        for n in range(len(one.whole[0])):
            yield _Sum(
                [held[n] for held in one.whole],
                tuple([held[n] for held in one.parts[p]] for p in order),
                one.dim,
                level,
            )


def _options(name: Path, whole: list[list[Leaf]], parts: dict[Path, list[list[Leaf]]]) -> list[_Option]:
    """The sets of parts that add up to a module; where there are none, to what is left of one that lost tensors."""
    found = [_Option(name, whole, {n: parts[n] for n in names}, dim) for names, dim in _adding_up(whole, parts)]
    if found:
        return found
    for role in sorted({role_of(leaf.path)[1] for held in whole for leaf in held} - {"*"}):
        kept = [_only(role, held) for held in whole]
        some = {n: own for n, rows in parts.items() if all(own := [_only(role, held) for held in rows])}
        lost = kept != whole or any(some[n] != parts[n] for n in some)
        bare = len(whole) == 1 and whole == kept and role == "weight"  # a table, and heads with their biases
        if all(kept) and lost and not bare:
            sets = _adding_up(kept, some, lost)
            alike = [(names, dim) for names, dim in sets if _lie_side_by_side([parts[n][0] for n in names])]
            found += [_Option(name, kept, {n: some[n] for n in names}, dim) for names, dim in alike]
    return found


def _lie_side_by_side(parts: Sequence[Sequence[Leaf]]) -> bool:
    """Do the weights of some modules take the same inputs? Biases alone add up to anything."""
    weights = [leaf.shape[1:] for held in parts for leaf in _only("weight", held)]
    return len(weights) < len(parts) or len(set(weights)) == 1


def _only(role: str, leaves: Sequence[Leaf]) -> list[Leaf]:
    return [leaf for leaf in leaves if role_of(leaf.path)[1] == role]


def _families(modules: dict[Path, list[Leaf]]) -> dict[Path, list[Path]]:
    """Modules that differ in numbers alone, by what they have in common, in the order of the numbers."""
    out: dict[Path, list[Path]] = defaultdict(list)
    for module in modules:
        block = block_of(module)
        out[template(block) + module[len(block) :]].append(module)
    return {name: sorted(own, key=lambda m: [int(t) for t in m if t.isdecimal()]) for name, own in out.items()}


def _rows(
    wholes: Sequence[Path], parts: dict[Path, list[Path]], partners: dict[Path, Path]
) -> Iterator[tuple[list[Path], dict[Path, list[Path]]]]:
    """Modules whose blocks lie in pairs: all in the order of their numbers, or those of blocks that are matched."""
    known = [a for a in wholes if block_of(a) and block_of(a) in partners]
    alike = {}
    for name, own in parts.items():
        homes = zip(wholes, own, strict=False)
        if len(own) == len(wholes) and all(a not in known or partners[block_of(a)] == block_of(b) for a, b in homes):
            alike[name] = own
    if alike:
        yield list(wholes), alike
        return
    by_block = {name: {block_of(m): m for m in own} for name, own in parts.items()}
    matched = [a for a in known if any(partners[block_of(a)] in own for own in by_block.values())]
    rows = {name: [own.get(partners[block_of(a)]) for a in matched] for name, own in by_block.items()}
    whole = {name: [m for m in row if m is not None] for name, row in rows.items() if None not in row}
    if len(matched) > 1 and whole:
        yield matched, whole


def _adding_up(
    wholes: Sequence[list[Leaf]], parts: dict[Path, list[list[Leaf]]], lost: bool = False
) -> Iterator[tuple[tuple[Path, ...], int]]:
    """The sets of parts that are together as large as the whole, in every block."""
    roles = [_roles(whole) for whole in wholes]
    parts = {name: own for name, own in parts.items() if all(_roles(p) == r for p, r in zip(own, roles, strict=True))}
    rank = max(len(leaf.shape) for leaf in wholes[0])
    if not 1 < len(parts) <= MOST or (len(wholes) == 1 and rank < 2 and not lost):
        return
    for size in range(2, len(parts) + 1):
        for chosen in combinations(parts, size):
            if len(wholes) == 1 and len({name[:-1] for name in chosen}) > 1:
                continue
            for dim in range(rank):
                if all(_fits(whole, [parts[n][i] for n in chosen], dim) for i, whole in enumerate(wholes)):
                    yield chosen, dim
                    break


def _roles(leaves: Sequence[Leaf]) -> list[tuple[str, int]]:
    """What a module holds; a tensor that is alone in its module may be a parameter of another name."""
    if len(leaves) == 1:
        return [("", len(leaves[0].shape))]
    return [(role_of(leaf.path)[1], len(leaf.shape)) for leaf in leaves]


def _is_first_half(leaf: Leaf) -> bool:
    half = half_of(leaf.path)
    return half is not None and half[1] == FIRST


def _fits(whole: Sequence[Leaf], parts: Sequence[Sequence[Leaf]], dim: int) -> bool:
    return all(
        all(p[n].shape == leaf.shape for p in parts)
        if _is_first_half(leaf)
        else (dim < len(leaf.shape) if len(leaf.shape) > 1 else dim == 0)
        and joined_shape([p[n].shape for p in parts], dim if len(leaf.shape) > 1 else 0) == leaf.shape
        for n, leaf in enumerate(whole)
    )


def _ordered(whole: Path, parts: Sequence[Path]) -> tuple[Sequence[Path], Level]:
    """The parts in their order along the fused tensor, and how it is known.

    Letters of its name may stand for them, `gqkv` for gate, q, k and v. Of q, k, v and one more, these three lie first
    as a rule (`parts.mlp_unsaid` flags names under which they may not). All others are taken as they are declared.
    """
    words = words_of(whole[-1])
    firsts = {"".join(words_of(name[-1]))[:1]: name for name in parts}
    for word in words if len(firsts) == len(parts) else ():
        if len(word) == len(parts) and set(word) == firsts.keys() > set(PARTS[0]):
            return [firsts[letter] for letter in word], "spelt"
    said = said_order(whole[-1])
    hits = [(found[1], name) for name in parts if (found := role_in(name))]
    named = dict(hits)
    others = [name for name in parts if name not in named.values()]
    lacking = [role for role in said if role not in named]
    if len(said) == len(parts) and len(lacking) == len(others) == 1 and len(named) == len(hits):
        return [named.get(role, others[0]) for role in said], "summed"
    hits = [(role, name) for role, name in hits if role in PARTS[0]]
    if sorted(role for role, _ in hits) != sorted(PARTS[0]):
        return parts, "summed"
    roles = dict(hits)
    first = [roles[role] for role in (said if sorted(said) == sorted(PARTS[0]) else PARTS[0])]
    rest = [name for name in parts if name not in first]
    return [*first, *rest], "usual" if len(rest) == 1 else "summed"


def _joined(members: Sequence[Leaf], dim: int, whole: Leaf) -> Leaf:
    first = members[0]
    return Leaf(
        first.path,
        whole.shape,
        tuple(key for m in members for key in m.keys),
        min(m.place for m in members),
        ops=(*first.ops, "concat"),
        dim=dim,
        perm=first.perm,
        raw=first.raw,
        flat=first.flat,
        sizes=tuple(m.shape[dim] for m in members),
    )
