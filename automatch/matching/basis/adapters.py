"""Adapters (LoRA): two matrices beside a module, of which what goes in passes the first and then the second."""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import lru_cache

from automatch.describing.tokens import ROLES, words_of
from automatch.matching.basis.leaves import Leaf

FIRST, SECOND, BIAS = "lora_A", "lora_B", "lora_B.bias"

_FIRST_OF = {"lora_B": "lora_A", "lora_b": "lora_a", "lora_up": "lora_down", "up": "down", "B": "A"}
"""How peft, loralib, torchtune and kohya's scripts call the halves; `up` and `B` behind the name of an adapter."""

_HALVES = {**dict.fromkeys(_FIRST_OF.values(), FIRST), **dict.fromkeys(_FIRST_OF, SECOND)}

_LETTERS = frozenset({"A", "B"})

_MAGNITUDE = "lora_magnitude_vector"
"""How PEFT calls the lengths of the columns, which DoRA learns beside the two halves."""

_PEFT = frozenset(
    (
        *("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", _MAGNITUDE),
        *("vera_A", "vera_B", "vera_lambda_b", "vera_lambda_d"),
        *("vblora_logits_A", "vblora_logits_B", "vblora_vector_bank"),
    )
)
"""What PEFT calls the tensors of its LoRA, VeRA and VB-LoRA layers."""


def is_adapter(leaf: Leaf) -> bool:
    """Is a tensor part of an adapter? What q, k and v learnt in three is no part of anything but an adapter.

    Of what is only called `adapter`, the halves `A` and `B` of a rank, and the number beside them, `adapter_alpha`.
    """
    called = _called_adapter(leaf.path)
    return called is True or (called is None and len(leaf.raw) == 2 and leaf.raw[0] != leaf.raw[1])


@lru_cache(maxsize=1 << 16)
def _called_adapter(path: tuple[str, ...]) -> bool | None:
    """Does a path say that its tensor is part of an adapter; None where only a matrix of a rank would be one."""
    if any("lora" in words_of(token) for token in path):
        return True
    if any(path[at] in _LETTERS and _is_half(path, at) for at in range(len(path))):
        return None
    return words_of(path[-1]) == ("adapter", "alpha")


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


def name_halves(source: Sequence[Leaf], target: Sequence[Leaf]) -> None:
    """Call `query.A` and `query.B` halves of an adapter where the other side's `query` has one (in place).

    They are two matrices of a rank that is less than what goes in and what comes out.
    """
    for leaves, others in ((source, target), (target, source)):
        adapted = {leaf.path[part[0] - 1] for leaf in others if (part := half_of(leaf.path)) is not None and part[0]}
        if adapted:
            _name_halves(leaves, adapted, {leaf.path for leaf in others})


def _name_halves(leaves: Sequence[Leaf], adapted: Container[str], there: Container[tuple[str, ...]]) -> None:
    pairs: dict[tuple[str, ...], dict[str, tuple[Leaf, int]]] = {}
    for leaf in leaves:
        at = len(leaf.path) - (2 if leaf.path[-1] == "weight" else 1)
        named = at > 0 and leaf.path[at].upper() in _LETTERS and leaf.path[at - 1] in adapted
        if named and len(leaf.raw) == 2 and leaf.path not in there:
            pairs.setdefault((*leaf.path[:at], *leaf.path[at + 1 :]), {})[leaf.path[at].upper()] = leaf, at
    for pair in pairs.values():
        if len(pair) == len(_LETTERS):
            a, b = pair["A"][0].raw, pair["B"][0].raw
            if a[0] == b[1] < min(a[1], b[0]) or a[1] == b[0] < min(a[0], b[1]):  # as torch stores them, or turned
                for letter, (leaf, at) in pair.items():
                    leaf.path = (*leaf.path[:at], f"lora_{letter}", *leaf.path[at + 1 :])


def drop_adapter_name(source: Sequence[Leaf], target: Sequence[Leaf]) -> bool:
    """Take the adapter's name out of the paths of the one side that has it (in place).

    PEFT's model calls a half `X.lora_A.default.weight`, and its files leave the name out, as there is but one. Of
    several names the first is taken out, and its pairs are flagged.

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
    part = part_of(path)
    if part is None:
        return []
    behind = path[part[0] + 1 :]
    return [behind[0] if behind and behind[0] not in ROLES else ""]


def part_of(path: Sequence[str]) -> tuple[int, str] | None:
    """Like `half_of`, with all else that PEFT learns beside a module; the index is that of what it is called."""
    for at, token in enumerate(path):
        if at and (token in _PEFT or _is_half(path, at)):
            return at, _HALVES.get(token, token)
    return None


def _is_half(path: Sequence[str], at: int) -> bool:
    """Does a token of a path name the half of an adapter: `lora_A`, `lora.down`, `adapter.A`?"""
    if path[at] not in _HALVES:
        return False
    before = words_of(path[at - 1]) if at else ()
    if "lora" in words_of(path[at]) or "lora" in before:
        return True
    return path[at] in _LETTERS and "adapter" in before and list(path[at + 1 :]) in ([], ["weight"])
