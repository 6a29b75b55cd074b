"""The numbered containers that modules stand in, and which of the two sides belong together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from automatch.matching.basis.evidence import Found
from automatch.matching.basis.leaves import Path
from automatch.matching.basis.units import block_of, module_path


def home_of(module: Path) -> Path:
    """The innermost numbered container around a module, itself left out; () for none."""
    return block_of(module[:-1])


def partners_of_homes(found: Sequence[Found]) -> dict[Path, Path]:
    """The model's partners of the checkpoint's numbered containers, as most of what is in them says."""
    links: dict[Path, Counter[Path]] = defaultdict(Counter)
    for s, t, _ in found:
        links[home_of(module_path(s.path))][home_of(module_path(t.path))] += 1
    return {a: max(count, key=count.__getitem__) for a, count in links.items() if a}
