"""Adapters (LoRA): two matrices beside a module, of which what goes in passes the first and then the second."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from automatch.describing.tokens import ROLES, words_of
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf

FIRST, SECOND, BIAS = "lora_A", "lora_B", "lora_B.bias"

_FIRST_OF = {"lora_B": "lora_A", "lora_b": "lora_a", "lora_up": "lora_down", "up": "down"}
"""How peft, loralib, torchtune and kohya's scripts call the halves; `down`, `up` where an adapter is named before."""

_HALVES = {**dict.fromkeys(_FIRST_OF.values(), FIRST), **dict.fromkeys(_FIRST_OF, SECOND)}

_MAGNITUDE = "lora_magnitude_vector"
"""How PEFT calls the lengths of the columns, which DoRA learns beside the two halves."""

_MOSTLY = 0.8
"""Of an adapter whose halves have their namesakes to this share, the others have nothing to do with other modules."""

_PEFT = frozenset({"lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", _MAGNITUDE})
"""What PEFT calls the tensors of its LoRA layers."""


def is_adapter(leaf: Leaf) -> bool:
    """Is a tensor half of an adapter? What q, k and v learnt in three is no part of anything but an adapter."""
    return any("lora" in words_of(token) for token in leaf.path)


def half_of(path: Sequence[str]) -> tuple[int, str] | None:
    """(length of the path of the module that an adapter stands beside, which part of it); None for other tensors.

    `X.lora_A`, `X.lora_A.weight`, `X.lora_A.default.weight`, `X_lora.down.weight`; `X.lora_B.bias`.
    """
    for at in range(len(path) - 1, max(len(path) - 4, 0), -1):
        if _is_half(path, at):
            if path[-1] == "bias" and _HALVES[path[at]] == SECOND:
                return at, BIAS
            return (at, _HALVES[path[at]]) if at == len(path) - 1 or path[-1] == "weight" else None
    return None


def first_half(path: tuple[str, ...]) -> tuple[str, ...] | None:
    """The path of the first half of an adapter, told from that of its second half; None for other paths."""
    for at in range(1, len(path)):
        if _is_half(path, at) and path[at] in _FIRST_OF:
            return (*path[:at], _FIRST_OF[path[at]], *path[at + 1 :])
    return None


def drop_adapter_name(source: Sequence[Leaf], target: Sequence[Leaf]) -> bool:
    """Take the adapter's name out of the paths of the one side that has it (in place).

    PEFT's model calls a half `X.lora_A.default.weight`, and its files leave the name out, as there is but one.

    Returns:
        Whether there are several on a side and they are called otherwise on the other: no name says which is meant.
    """
    for leaf in [*source, *target]:
        if _MAGNITUDE in leaf.path and leaf.path[-1] == "weight":
            leaf.path = leaf.path[:-1]  # a parameter in the file, and in the model a module that holds one
    mine, theirs = (
        list(dict.fromkeys(n for leaf in side for n in _adapter_names(leaf.path))) for side in (source, target)
    )
    if len(mine) == 1 == len(theirs):
        _take_out(source, mine[0])
        _take_out(target, theirs[0])
        return False
    for side, own, others in ((source, mine, theirs), (target, theirs, mine)):
        if own and "" not in own and others == [""]:
            _take_out(side, own[0])
            return True
    return bool(mine and theirs) and set(mine) != set(theirs)


def _take_out(side: Sequence[Leaf], name: str) -> None:
    for leaf in side:
        if name and name in _adapter_names(leaf.path):
            at = len(leaf.path) - 1 - leaf.path[::-1].index(name)
            leaf.path = (*leaf.path[:at], *leaf.path[at + 1 :])


def _adapter_names(path: Sequence[str]) -> list[str]:
    """Between `lora_A` and `weight`; "" where nothing stands there, and none for a tensor that is no half."""
    part = _part_of(path)
    if part is None:
        return []
    behind = path[part[0] + 1 :]
    return [behind[0] if behind and behind[0] not in ROLES else ""]


def _part_of(path: Sequence[str]) -> tuple[int, str] | None:
    """Like `half_of`, with all else that PEFT learns beside a module; the index is that of what it is called."""
    for at, token in enumerate(path):
        if at and (token in _PEFT or _is_half(path, at)):
            return at, _HALVES.get(token, token)
    return None


def by_their_modules(source: Sequence[Leaf], target: Sequence[Leaf]) -> tuple[list[Found], list[Leaf]]:
    """The pairs of adapters' halves whose modules have one name on both sides, but for what stands before all of them.

    However the halves are called (`lora_down`, `lora_A.default`) and the names are joined (kohya's scripts write
    `lora_te_encoder_block_0_layer_0_SelfAttention_q`): what fits besides is no question. At least half of the
    checkpoint's must have their namesake, in their shape.

    Returns:
        The pairs, and the halves of the checkpoint that have no namesake though nearly all others have: they are
        nobody else's.
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
    if 2 * len(best) < len(mine):
        return [], []
    if not _fit(best, 1):  # MLX stores them [in, rank] and [rank, out]
        for s, _ in best:
            s.shape, s.perm, s.ops = s.shape[::-1], (1, 0), ("transpose",)
    used = {id(s) for s, _ in best}
    left = [leaf for leaf in mine.values() if id(leaf) not in used]
    found = [(s, t, Evidence(name=1.0, level="name")) for s, t in best]
    return found, left if len(best) >= _MOSTLY * len(mine) else []


def _fit(pairs: Sequence[tuple[Leaf, Leaf]], step: int) -> bool:
    """Have all pairs one shape, or (`step` -1) is each the other's turned?"""
    return all(s.raw == t.raw[::step] and (step > 0 or len(s.raw) <= 2) for s, t in pairs)


def drop_from_base(found: list[Found], target: Sequence[Leaf]) -> list[Found]:
    """The pairs without those that would put a half of an adapter in the weights beside which the model has some."""
    if not any(map(is_adapter, target)):
        return found
    return [(s, t, e) for s, t, e in found if is_adapter(t) or e.level == "pin" or not is_adapter(s)]


def _by_module(leaves: Sequence[Leaf]) -> dict[tuple[str, tuple[str, ...]], Leaf]:
    """The parts of adapters by the names of their modules, joined by `_`, and by what they are; none if two are one."""
    out: dict[tuple[str, tuple[str, ...]], Leaf] = {}
    for leaf in leaves:
        part = None if leaf.ops else _part_of(leaf.path)
        if part is not None:
            at, what = part
            behind = tuple(token for token in leaf.path[at + 1 :] if token != "weight")
            if out.setdefault(("_".join(leaf.path[:at]), (what, *behind)), leaf) is not leaf:
                return {}
    return out


_NUMBER = re.compile(r"(?<![A-Za-z])\d+")

_TRIED = 3
"""So many names of the checkpoint are looked at for what stands before them."""


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


def _is_half(path: Sequence[str], at: int) -> bool:
    return path[at] in _HALVES and ("lora" in words_of(path[at]) or (at > 0 and "lora" in words_of(path[at - 1])))
