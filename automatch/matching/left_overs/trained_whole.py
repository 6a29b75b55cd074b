"""The copies that PEFT makes of modules to be trained whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from automatch.matching.aside.cleanup import BASE, COPY, ORIGINAL
from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf, Path


def trained_copies(
    found: Sequence[Found], target: Sequence[Leaf], forbids: Callable[[Leaf, Leaf], bool]
) -> list[Found]:
    """The pairs, with the copies served that PEFT makes of modules to be trained whole.

    It wraps such a module, once it is loaded, as `original_module` and `modules_to_save.<adapter>`, equal at first. A
    checkpoint that holds nothing of the base model, as an adapter's file, serves the copy alone.
    """
    copies: dict[tuple[Path, Path], list[Leaf]] = defaultdict(list)
    served = {id(t) for _, t, _ in found}
    for leaf in target:
        if COPY in leaf.path[:-2] and id(leaf) not in served:
            at = leaf.path.index(COPY)
            copies[leaf.path[:at], leaf.path[at + 2 :]].append(leaf)
    if not copies:
        return list(found)
    wrapped = [leaf for leaf in target if BASE in leaf.path]
    alone = bool(wrapped) and not any(id(leaf) in served for leaf in wrapped)
    out: list[Found] = []
    for s, t, evidence in found:
        own: list[Leaf] = []
        if ORIGINAL in t.path and not t.ops:
            place = t.path.index(ORIGINAL)
            own = [leaf for leaf in copies[t.path[:place], t.path[place + 1 :]] if leaf.raw == t.raw]
            own = [leaf for leaf in own if not forbids(s, leaf)]
        if not (alone and own) or evidence.level == "pin":
            out.append((s, t, evidence))
        said = evidence if judge(evidence).ambiguous else Evidence(level="copy")
        out += [(s, leaf, said) for leaf in own]
    return out
