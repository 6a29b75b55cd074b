"""One tensor for several keys of the model: as the live model says, under its name again, in every block."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from automatch.describing.tokens import ROLES
from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf, Path, numbered
from automatch.spec import Shape

WHOLE = 8
"""A layer has so many tensors at least; what has fewer may be one of several heads."""


def share(found: Sequence[Found], target: Sequence[Leaf], tied: Mapping[str, str]) -> list[Found]:
    """Model keys that share their tensor with a served key, as the live model says.

    Args:
        found: the pairs so far.
        target: the model's leaves.
        tied: model key -> the first model key of the same tensor.

    Returns:
        Further pairs, for the keys of shared tensors that nothing serves yet.
    """
    if not tied:
        return []
    serving: dict[str, tuple[Leaf, Evidence]] = {}
    for s, t, evidence in found:
        if not t.ops:
            said = evidence if judge(evidence).ambiguous else Evidence(level="shared")  # no surer than what it shares
            serving.setdefault(tied.get(t.keys[0], t.keys[0]), (s, said))
    served = {id(t) for _, t, _ in found}
    roots = set(tied.values())
    out: list[Found] = []
    for leaf in target:
        root = tied.get(leaf.keys[0], leaf.keys[0])
        if id(leaf) not in served and root in roots and root in serving:
            s, said = serving[root]
            out.append((s, leaf, said))
    return out


def again_by_name(found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf]) -> list[Found]:
    """Further pairs for model keys that nothing serves, as their namesake in the checkpoint serves another; flagged.

    A later version holds `encoder.initial_bn` besides `initial_bn`. Not for keys with numbers: layers may be counted
    otherwise.
    """
    served = {id(t) for _, t, _ in found}
    left = [t for t in target if id(t) not in served and not t.ops and not numbered(t.path)]
    serving = {id(s) for s, _, _ in found} if left else set()
    known = {s.keys[0]: s for s in source if id(s) in serving and len(s.keys) == 1 and not s.ops}
    twins = ((known.get(t.keys[0]), t) for t in left)
    return [(s, t, Evidence(level="echo")) for s, t in twins if s is not None and s.raw == t.raw]


def in_every_block(found: Sequence[Found], target: Sequence[Leaf]) -> list[Found]:
    """Further pairs for what the checkpoint holds once, outside its blocks, and the model in every block.

    As DiT's timestep embedding in diffusers; or a whole layer that serves as all of them, as ALBERT's does, where the
    checkpoint does not number it. As the others may be missing, such a pair is always flagged.
    """
    serving = {t.path: s for s, t, _ in found if not t.ops}
    homes: dict[Path, Counter[Path]] = defaultdict(Counter)
    rows: dict[tuple[Path, Path], list[Leaf]] = defaultdict(list)
    for leaf in target:
        block = _first_block(leaf.path)
        if block and not leaf.integer and not leaf.ops:
            rows[block[:-1], leaf.path[len(block) :]].append(leaf)
            if leaf.path in serving:
                homes[block][_first_block(serving[leaf.path].path)] += 1
    served = Counter(block[:-1] for block in homes)
    out: list[Found] = []
    for (blocks, _), row in rows.items():
        held = [leaf for leaf in row if leaf.path in serving]
        if len(held) != 1 or len(row) == 1 or any(leaf.raw != row[0].raw for leaf in row):
            continue
        home = homes[_first_block(held[0].path)]
        usual = max(home, key=home.__getitem__)
        one = serving[held[0].path]
        if (usual and one.path[: len(usual)] != usual) or (not usual and served[blocks] == 1 and home.total() >= WHOLE):
            out += [(one, leaf, Evidence(level="once")) for leaf in row if leaf is not held[0]]
    return out


def under_one_name(found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf]) -> list[Found]:
    """Further pairs for what the checkpoint holds once, and the model there and in its blocks, all under one name.

    VeRA's projections and VB-LoRA's bank of vectors serve all layers, and PEFT's model holds them in each (Kopiczko et
    al., 2024; Li et al., 2024). Flagged: the others may be missing.
    """
    serving, served = {id(s): t for s, t, _ in found}, {id(t) for _, t, _ in found}
    rows: dict[tuple[str, Shape], list[Leaf]] = defaultdict(list)
    for leaf in target:
        if id(leaf) not in served and leaf.path[-1] not in ROLES:
            rows[leaf.path[-1], leaf.raw].append(leaf)
    once: dict[tuple[str, Shape], list[Leaf]] = defaultdict(list)
    for leaf in source:
        once[leaf.path[-1], leaf.raw].append(leaf)
    out: list[Found] = []
    for key, row in rows.items():
        alone = once[key]
        if len(row) < 2 or len(alone) != 1 or _first_block(alone[0].path):
            continue
        other = serving.get(id(alone[0]))
        if other is not None and other.path[-1] == key[0] and not _first_block(other.path):
            out += [(alone[0], leaf, Evidence(level="once")) for leaf in row if _first_block(leaf.path)]
    return out


def _first_block(path: Path) -> Path:
    """The outermost numbered item that a path leads through; () for none."""
    at = next((i for i, token in enumerate(path[:-1]) if token.isdecimal()), None)
    return () if at is None else path[: at + 1]
