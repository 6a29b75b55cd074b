"""A state_dict under new keys, with what its rules do to the tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from automatch.errors import RuleError
from automatch.ops import (
    Chunk,
    Concat,
    Flip,
    Interleave,
    JoinLatent,
    Op,
    Permute,
    Reshape,
    SplitLatent,
    Stack,
    Transpose,
    Unstack,
)
from automatch.spec import Shape

JOINING = ("concat", "stack", "join_latent")
CUTTING = ("chunk", "unstack", "split_latent")


@dataclass(frozen=True, slots=True)
class Law:
    """What one rule does to tensors; the fields are those of `Rule`."""

    op: str = "rename"
    dim: int | None = None
    perm: tuple[int, ...] | None = None
    sizes: tuple[int, ...] | None = None
    shape: Shape | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The single operations, in the order in which they run."""
        return tuple(self.op.split("+"))

    @property
    def weaves(self) -> bool:
        """Whether its `permute` puts the entries of one dimension in another order, as `interleave` does."""
        return "permute" in self.words and self.shape is not None and "reshape" not in self.words

    @property
    def stacked_first(self) -> bool:
        """Whether the members of every part are stacked before the parts are concatenated."""
        words = self.words
        return "stack" in words and ("concat" not in words or words.index("stack") < words.index("concat"))

    @property
    def stack_dim(self) -> int:
        """The dimension that a stack makes or an unstack takes; beside a concat or a chunk, which `dim` is for, 0."""
        return 0 if {"concat", "chunk"} & set(self.words) else self.dim or 0


PLAIN = Law()

_the_law = lru_cache(maxsize=1 << 10, typed=True)(Law)


def law_of(
    op: str,
    dim: int | None,
    perm: tuple[int, ...] | None,
    sizes: tuple[int, ...] | None,
    shape: Shape | None,
) -> Law:
    """The one `Law` of these fields, which a replay compares with itself a hundred thousand times."""
    try:
        return _the_law(op, dim, perm, sizes, shape)
    except TypeError:  # a rule that was made with lists, where tuples are meant
        return Law(op, dim, perm, sizes, shape)


Run = Callable[[Op, Sequence[Any]], Sequence[Any]]
"""What one operation makes of tensors, or of what stands for them."""


def on_tensors(op: Op, tensors: Sequence[Any]) -> Sequence[Any]:
    """The operation itself.

    Raises:
        RuleError: it does not fit, or a tensor is nested and has no sizes.
    """
    if any(getattr(tensor, "is_nested", False) for tensor in tensors):
        raise RuleError(f"{op.name} works on tensors with sizes, and this one is nested")
    return op.forward(tensors)


def on_shapes(op: Op, shapes: Sequence[Any]) -> Sequence[Any]:
    """Its law of shapes alone."""
    return op.out_shapes(shapes)


class Move(NamedTuple):
    """What a rule says of one checkpoint key.

    A named tuple, not a dataclass: every replay makes one for each key.

    Attributes:
        rule: number of the rule in its list, from 1.
        targets: the model keys: one, or several for the pieces of a chunk.
        law: what happens to the tensor.
        part: for concat, or a stack without numbers: (k, n), the key is member k (from 0) of n.
        order: for stack: the number that orders the members.
        members: for unstack: the model keys of n pieces in all, where their number is that of the tensor.
    """

    rule: int
    targets: tuple[str, ...]
    law: Law
    part: tuple[int, int] | None = None
    order: int | None = None
    members: Callable[[int], tuple[str, ...]] | None = None

    @property
    def joins(self) -> bool:
        """Whether other keys go into the same tensor."""
        return self.part is not None or self.order is not None


def apply_moves(state_dict: Mapping[str, Any], move: Callable[[str], Move | None]) -> dict[str, Any]:
    """The tensors under their new keys, in the order of the checkpoint.

    Args:
        state_dict: tensors (torch or numpy) under checkpoint keys; it is not changed.
        move: what the rules say of a key; None for a key that stays.

    Raises:
        RuleError: two keys would become the same key, a group lacks a member, or an operation
            does not fit a tensor.
    """
    out: dict[str, Any] = {}
    sources: dict[str, str] = {}
    groups: dict[str, list[tuple[str, Move]]] = {}
    for key in state_dict:
        if not isinstance(key, str):
            raise RuleError(f"the key {key!r} is not a text, so no rule can be asked about it")
        found = move(key)
        if found is not None and found.joins:
            target = found.targets[0]
            groups.setdefault(target, []).append((key, found))
            if len(groups[target]) == 1:
                _place(target, None, key, out, sources)
        else:
            for target, tensor in alone(state_dict[key], key, found):
                _place(target, tensor, key, out, sources)
    for target, members in groups.items():
        out[target] = joined(target, members, state_dict)
    return out


def without_doubles(state_dict: Mapping[str, Any], doubles: Sequence[tuple[str, str]]) -> Mapping[str, Any]:
    """The state_dict without second names of a tensor that is there under its first.

    Args:
        state_dict: tensors (torch or numpy) under their keys.
        doubles: (second name, first name).

    Raises:
        RuleError: the two are not equal, so that one of them would be lost.
    """
    both = [(other, first) for other, first in doubles if other in state_dict and first in state_dict]
    for other, first in both:
        if not _equal(state_dict[other], state_dict[first]):
            raise RuleError(f"{other!r} and {first!r} were one tensor and are not equal any more; only one can go back")
    left_out = {other for other, _ in both}
    return {key: value for key, value in state_dict.items() if key not in left_out} if left_out else state_dict


def _equal(one: Any, other: Any) -> bool:
    """Whether two tensors hold the same values; those without memory, and what stands for tensors, do."""
    if one is other or not hasattr(one, "dtype") or getattr(one, "is_meta", False):
        return True
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())


def group_fault(members: list[tuple[str, Move]]) -> str:
    """Why these keys do not make one whole tensor, as part of a sentence; "" where they do.

    The members of a concat, and of a stack of parts, are complete when each of its n parts is there once; those of
    another stack when their numbers follow each other from the smallest without a gap; for both at
    once every part holds the same numbers.
    """
    law = members[0][1].law
    if any(m.law is not law and m.law != law for _, m in members):
        return "rules with different operations give it"
    places = [(m.part[0] if m.part else None, m.order) for _, m in members]
    if len(set(places)) < len(places):
        first: dict[object, str] = {}
        for (key, _), place in zip(members, places, strict=True):
            if place in first:
                return f"{first[place]!r} and {key!r} claim the same place in it"
            first[place] = key
    counts = {m.part[1] if m.part else 1 for _, m in members}
    orders = sorted({m.order for _, m in members if m.order is not None})
    if len(counts) > 1 or (orders and orders != list(range(orders[0], orders[0] + len(orders)))):
        return (
            "the numbers of its members have gaps" if len(counts) == 1 else "its rules name different numbers of parts"
        )
    count = counts.pop()
    if len(places) != count * max(1, len(orders)):
        have = ", ".join(sorted(repr(key) for key, _ in members)[:4])
        return f"it is made of {count * max(1, len(orders))} tensors, and only {len(places)} are there ({have})"
    return ""


def _place(target: str, tensor: Any, key: str, out: dict[str, Any], sources: dict[str, str]) -> None:
    if target in sources:
        raise RuleError(
            f"{sources[target]!r} and {key!r} would both become {target!r}; give one of them a rule of its own"
        )
    sources[target] = key
    out[target] = tensor


def alone(tensor: Any, key: str, move: Move | None, run: Run = on_tensors) -> list[tuple[str, Any]]:
    """The model keys and tensors that one key gives by itself.

    Args:
        tensor: its tensor, or the shape of it.
        key: the checkpoint key.
        move: what the rules say of it.
        run: runs an operation on what `tensor` is.

    Raises:
        RuleError: an operation does not fit, or gives another number of tensors than the rule has keys for.
    """
    if move is None:
        return [(key, tensor)]
    if move.law.op == "rename":
        return [(target, tensor) for target in move.targets]
    tensors = [tensor]
    try:
        for op in steps_of(move.law, len(move.targets)):
            tensors = list(run(op, tensors))
    except RuleError as error:
        raise RuleError(f"rule {move.rule}, key {key!r}: {error}") from None
    targets = move.targets if move.members is None else move.members(len(tensors))
    if len(tensors) != len(targets):
        raise RuleError(
            f"rule {move.rule}: {key!r} gives {len(tensors)} tensors, and the rule names {len(targets)} keys"
        )
    return list(zip(targets, tensors, strict=True))


def joined(target: str, members: list[tuple[str, Move]], state_dict: Mapping[str, Any], run: Run = on_tensors) -> Any:
    """The one tensor that several keys make together.

    Args:
        target: the model key.
        members: the checkpoint keys, with what the rules say of each.
        state_dict: their tensors, or the shapes of these.
        run: runs an operation on what `state_dict` holds.

    Raises:
        RuleError: they are not all there, or an operation does not fit.
    """
    fault = group_fault(members)
    if fault:
        raise RuleError(f"{target!r} cannot be made: {fault}")
    rows: dict[int, list[tuple[int, Any]]] = {}
    for key, m in members:
        rows.setdefault(m.part[0] if m.part else 0, []).append((m.order or 0, state_dict[key]))
    grid = [[tensor for _, tensor in sorted(row, key=lambda item: item[0])] for _, row in sorted(rows.items())]
    law = members[0][1].law
    by_parts = law.stacked_first and members[0][1].order is not None
    if not by_parts:  # a row is one part with all its members, and shall be one member with all its parts
        grid = [list(column) for column in zip(*grid, strict=True)]
    try:
        return _folded(steps_of(law, 1), grid, run)
    except RuleError as error:
        raise RuleError(f"{target!r} cannot be made: {error}") from None


def _folded(steps: list[Op], grid: list[list[Any]], run: Run) -> Any:
    """Runs operations on rows of tensors: the first joining one folds each row, the second the rows."""
    for op in steps:
        if isinstance(op, Stack | Concat | JoinLatent):
            grid = [[run(op, row)[0] for row in grid]] if len(grid) > 1 else [list(run(op, grid[0]))]
        else:
            grid = [list(run(op, row)) for row in grid]
    if [len(row) for row in grid] != [1]:
        raise RuleError("its rules do not say how all of its members are joined")
    return grid[0][0]


def steps_of(law: Law, pieces: int) -> list[Op]:
    """The operations of a rule in the order in which they run."""
    dim = law.dim or 0
    steps: list[Op] = []
    for word in law.words:
        if word == "stack":
            steps.append(Stack(law.stack_dim))
        elif word == "unstack":
            steps.append(Unstack(law.stack_dim))
        elif word == "concat":
            steps.append(Concat(dim))
        elif word == "chunk":
            steps.append(Chunk(len(law.sizes) if law.sizes else pieces, dim, law.sizes))
        elif word == "transpose":
            steps.append(Transpose(law.perm))
        elif word == "permute" and not law.weaves:
            steps.append(Permute(law.perm))
        elif word in ("permute", "interleave"):
            steps.append(Interleave(law.shape, dim))
        elif word == "flip":
            steps.append(Flip(law.shape, dim))
        elif word == "reshape":
            steps.append(Reshape(law.shape))
        elif word == "join_latent":
            steps.append(JoinLatent())
        elif word == "split_latent":
            steps.append(SplitLatent(law.shape))
        elif word != "rename":
            raise RuleError(f"{word!r} is not an operation that rules know")
    return steps
