"""Adapters (LoRA): two matrices beside a module, of which what goes in passes the first and then the second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from automatch.describing.tokens import words_of
from automatch.matching.evidence import Found
from automatch.matching.leaves import Leaf

FIRST, SECOND, BIAS = "lora_A", "lora_B", "lora_B.bias"

_FIRST_OF = {"lora_B": "lora_A", "lora_b": "lora_a", "lora_up": "lora_down", "up": "down"}
"""How peft, loralib, torchtune and kohya's scripts call the halves; `down`, `up` where an adapter is named before."""

_HALVES = {**dict.fromkeys(_FIRST_OF.values(), FIRST), **dict.fromkeys(_FIRST_OF, SECOND)}

MAGNITUDE = "lora_magnitude_vector"
"""How PEFT calls the lengths of the columns, which DoRA learns beside the two halves."""

_PEFT = frozenset({"lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", MAGNITUDE})
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
        Whether there are several, of which the first was taken, though no name says that it is meant.
    """
    for leaf in [*source, *target]:
        if MAGNITUDE in leaf.path and leaf.path[-1] == "weight":
            leaf.path = leaf.path[:-1]  # a parameter in the file, and in the model a module that holds one
    names = [list(dict.fromkeys(n for leaf in side for n in _adapter_names(leaf.path))) for side in (source, target)]
    for side, own, others in ((source, names[0], names[1]), (target, names[1], names[0])):
        if own and "" not in own and others == [""]:
            for leaf in side:
                if own[0] in _adapter_names(leaf.path):
                    at = leaf.path.index(own[0])
                    leaf.path = (*leaf.path[:at], *leaf.path[at + 1 :])
            return len(own) > 1
    return False


def _adapter_names(path: Sequence[str]) -> list[str]:
    """Between `lora_A` and `weight`; "" where nothing stands there, and none for a tensor that is no half."""
    at = next((i for i, token in enumerate(path) if token in _PEFT), None)
    if at is None:
        return []
    behind = path[at + 1 :]
    return [behind[0] if behind and behind[0] not in ("weight", "bias") else ""]


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
