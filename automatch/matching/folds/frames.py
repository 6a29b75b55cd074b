"""Kernels over images that the other side keeps as one kernel over several frames.

A vision tower that reads two frames at once has a convolution over [frames, height, width]; llama.cpp, which has none,
keeps its kernel as one of two dimensions for each frame, `patch_embd.weight` and `patch_embd.weight.1`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from automatch.matching.basis.leaves import Leaf
from automatch.spec import Shape

_DIM = 2
"""Where the frames lie in a kernel [out, in, frames, height, width]."""


def fold_frames(leaves: list[Leaf], others: Sequence[Leaf]) -> list[Leaf]:
    """Fold the kernels of single frames into one virtual leaf where the other side has them in one.

    Returns the leaves with each folded group replaced by one leaf at the place of its first member.
    """
    theirs = Counter(leaf.shape for leaf in others if len(leaf.shape) == _DIM + 3)
    if not theirs:
        return leaves
    single = Counter(leaf.shape for leaf in others)
    groups: dict[tuple[tuple[str, ...], Shape], list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        if len(leaf.shape) == _DIM + 2 and not leaf.ops:
            name = leaf.path[:-1] if leaf.path[-1].isdecimal() else leaf.path
            groups[name, leaf.shape].append(leaf)
    gone: dict[int, Leaf | None] = {}
    for (name, shape), members in groups.items():
        joined = (*shape[:_DIM], len(members), *shape[_DIM:])
        if len(members) < 2 or not theirs[joined] or single[shape] >= len(members):
            continue  # nothing of it, or the other side has them one by one
        theirs[joined] -= 1
        frames = sorted(members, key=lambda leaf: int(leaf.path[-1]) if leaf.path[-1].isdecimal() else -1)
        first = min(members, key=lambda leaf: leaf.place)
        keys = tuple(key for frame in frames for key in frame.keys)
        gone.update((id(frame), None) for frame in frames)
        gone[id(first)] = replace(first, path=name, shape=joined, keys=keys, ops=("stack",), dim=_DIM)
    return [kept for leaf in leaves if (kept := gone.get(id(leaf), leaf)) is not None]
