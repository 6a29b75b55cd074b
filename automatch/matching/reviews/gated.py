"""Two kinds of feed-forward layers: those of two matrices, and those whose gate is a third.

Of StarCoder's `c_fc` and `c_proj`, the second fits Qwen's `down_proj` alone, and was learnt for another layer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from automatch.matching.basis.evidence import Found
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.names import Names
from automatch.matching.basis.units import module_path
from automatch.matching.left_overs.kinship import flagged

GATED = frozenset({"gate", "up", "down"})
"""What the three matrices of a gated layer are called."""


def doubt_other_kind(found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names) -> list[Found]:
    """The same pairs, those flagged of a gated layer and one of two matrices whose names know of no gate.

    Not where gate and up are one tensor, nor where other matrices stand beside them in the block.
    """
    matrices = _matrices(source), _matrices(target)
    called = [{path: _said(path, held, names) for path, held in side.items()} for side in matrices]
    gated = [
        {path for path, said in side.items() if said == GATED and len(matrices[n][path]) == 3}
        for n, side in enumerate(called)
    ]
    plain = [
        {path for path, held in side.items() if len(held) == 2 and not called[n][path]}
        for n, side in enumerate(matrices)
    ]
    if not any(gated) or not any(plain):
        return found
    out = []
    for s, t, e in found:
        a, b = module_path(s.path)[:-1], module_path(t.path)[:-1]
        other = (a in plain[0] and b in gated[1]) or (a in gated[0] and b in plain[1])
        alone = e.level == "unit" and not (s.ops or t.ops)
        out.append((s, t, replace(e, level="ungated") if other and alone else e))
    return out


def doubt_misnamed_gates(
    found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names
) -> list[Found]:
    """The same pairs, those flagged of a gate that one side calls otherwise: TensorRT-LLM's `fc`, beside `gate`."""
    mine, theirs = _misnamed(source, names), _misnamed(target, names)
    if not mine and not theirs:
        return found
    out = []
    for s, t, e in found:
        one, other = module_path(s.path), module_path(t.path)
        doubted = (one in mine) != (other in theirs) and one[-1:] != other[-1:]
        out.append((s, t, flagged(e, "misnamed") if doubted else e))
    return out


def _misnamed(leaves: Sequence[Leaf], names: Names) -> set[Path]:
    """The gates, and what they let through, of layers whose three matrices are called as that convention has it."""
    conventions = [tokens for tokens in names.lexicon.gated if len(tokens) > 2]
    return {
        (*container, token)
        for container, modules in _matrices(leaves).items()
        for tokens in conventions
        if {module[-1] for module in modules} == set(tokens)
        for token in tokens[:2]
    }


def _matrices(leaves: Sequence[Leaf]) -> dict[Path, set[Path]]:
    """The modules of each container that are matrices."""
    out: dict[Path, set[Path]] = defaultdict(set)
    for leaf in leaves:
        module = module_path(leaf.path)
        if len(leaf.shape) > 1 and len(module) > 1:
            out[module[:-1]].add(module)
    return out


def _said(container: Path, modules: set[Path], names: Names) -> frozenset[str]:
    """What of a gated layer the names of some modules say."""
    words = names.path_words([module[len(container)] for module in modules])
    return frozenset(concept for word in words for concept in word.concepts & GATED)
