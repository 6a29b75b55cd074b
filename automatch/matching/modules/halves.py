"""The halves of adapters, put together by the names of their modules; which of them serve nothing else, and doubts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from automatch.describing.tokens import words_of
from automatch.matching.basis.adapters import first_half, is_adapter, part_of
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf

_MOSTLY = 0.8
"""Of an adapter whose halves have their namesakes to this share, the others have nothing to do with other modules."""

_NUMBER = re.compile(r"(?<![A-Za-z])\d+")

_ADAPTERS = frozenset({"adapter", "lora"})
"""What a module beside the one that is adapted may be called."""

_TRIED = 3
"""So many names of the checkpoint are looked at for what stands before them."""


def by_their_modules(
    source: Sequence[Leaf], target: Sequence[Leaf], refuses: Callable[[Leaf, Leaf], bool]
) -> tuple[list[Found], list[Leaf], list[Leaf]]:
    """The pairs of adapters' halves whose modules have one name on both sides, but for what stands before all of them.

    However the halves are called (`lora_down`, `lora_A.default`) and the names are joined (kohya's scripts write
    `lora_te_encoder_block_0_layer_0_SelfAttention_q`): what fits besides is no question. At least half of the
    checkpoint's must have their namesake, in their shape.

    Args:
        source: the checkpoint's tensors.
        target: the model's.
        refuses: whether a person's decisions forbid a pair; then there are none.

    Returns:
        The pairs, and what of either side needs no further look: the halves of the checkpoint that have no namesake
        though nearly all others have are nobody else's.
    """
    mine, theirs = _by_module(source), _by_module(target)
    best: list[tuple[Leaf, Leaf]] = []
    for own, other in _prefixes([name for name, _ in mine], [name for name, _ in theirs]):
        pairs = [
            (s, theirs[other + name[len(own) :], half])
            for (name, half), s in mine.items()
            if name.startswith(own) and (other + name[len(own) :], half) in theirs
        ]
        if len(pairs) > len(best) and (_fit(pairs, 1) or _fit(pairs, -1)):
            best = pairs
    if 2 * len(best) < len(mine) or any(refuses(s, t) for s, t in best):
        return [], [], []
    if not _fit(best, 1):  # MLX stores them [in, rank] and [rank, out]
        for s, _ in best:
            s.shape, s.perm, s.ops = s.shape[::-1], (1, 0), ("transpose",)
    used = {id(s) for s, _ in best}
    left = [leaf for leaf in mine.values() if id(leaf) not in used]
    found = [(s, t, Evidence(name=1.0, level="name")) for s, t in best]
    strangers = left if len(best) >= _MOSTLY * len(mine) else []
    return found, [*(s for s, _ in best), *strangers], [t for _, t in best]


def _fit(pairs: Sequence[tuple[Leaf, Leaf]], step: int) -> bool:
    """Have all pairs one shape, or (`step` -1) is each the other's turned?"""
    return all(s.raw == t.raw[::step] and (step > 0 or len(s.raw) <= 2) for s, t in pairs)


def _by_module(leaves: Sequence[Leaf]) -> dict[tuple[str, tuple[str, ...]], Leaf]:
    """The parts of adapters by the names of their modules, joined by `_`, and by what they are; none if two are one."""
    out: dict[tuple[str, tuple[str, ...]], Leaf] = {}
    for leaf in leaves:
        part = None if leaf.ops else part_of(leaf.path)
        if part is not None:
            at, what = part
            behind = tuple(token for token in leaf.path[at + 1 :] if token != "weight")
            home = leaf.path[: at - (leaf.path[at - 1] in _ADAPTERS)]
            if out.setdefault(("_".join(home), (what, *behind)), leaf) is not leaf:
                return {}
    beside = {module for module, _ in out}
    for leaf in leaves if out else ():  # the number that kohya's scripts write beside the halves, `X.alpha`
        module = "_".join(leaf.path[:-1])
        if module in beside and leaf.raw == () and words_of(leaf.path[-1])[-1:] == ("alpha",):
            out.setdefault((module, ("alpha",)), leaf)
    return out


def _prefixes(mine: Sequence[str], theirs: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What may stand before all names of either side: before the longest end that two of them have in common."""
    seen = set()
    names = set(theirs)
    for name in list(dict.fromkeys(mine))[:_TRIED]:
        ends = [(at, name[at:]) for at in range(len(name)) if at == 0 or name[at - 1] == "_"]
        for at, end in ends:
            found = [other[: len(other) - len(end)] for other in names if other.endswith(end)]
            heads = {head for head in found if not head or head.endswith("_")}
            if len(heads) == 1 and (pair := (name[:at], heads.pop())) not in seen:
                seen.add(pair)
                if _NUMBER.findall(pair[0]) == _NUMBER.findall(pair[1]):  # the third layer is not the fifth
                    yield pair
            if found:
                break


def drop_from_base(found: list[Found], target: Sequence[Leaf]) -> list[Found]:
    """The pairs without those that would put a half of an adapter in the weights beside which the model has some."""
    if not any(map(is_adapter, target)):
        return found
    return [(s, t, e) for s, t, e in found if is_adapter(t) or e.level == "pin" or not is_adapter(s)]


def doubt_half_adapters(found: list[Found], target: Sequence[Leaf]) -> list[Found]:
    """The same pairs, those flagged that join the second halves of several adapters into one that gets no first half.

    Adapters that were learnt apart have a first half each, and no one tensor stands for all of them.
    """
    served = {t.path for _, t, _ in found}
    paths = {leaf.path for leaf in target}
    out: list[Found] = []
    for s, t, e in found:
        first = first_half(t.path) if "concat" in s.ops and e.level != "pin" else None
        alone = first is not None and first in paths and first not in served
        out.append((s, t, replace(e, level="half") if alone else e))
    return out
