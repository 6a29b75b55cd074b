"""Pairs that names made against an order which all else keeps.

Where two blocks hold the same shapes in the same order throughout, pairs by names that cross it are taken back (norms
of w2v-BERT), unless the names that the order would put together exclude each other, as `q` and `k` do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from automatch.matching.basis.evidence import Found
from automatch.matching.basis.exchange import Refuses, exchanged
from automatch.matching.basis.leaves import Leaf, Path
from automatch.matching.basis.names import Names
from automatch.matching.basis.units import block_of, module_path

LEAST, VARIETY = 6, 4
"""So many modules of so many kinds make an order that says something."""


def doubt_crossed(
    found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names, refuses: Refuses
) -> list[Found]:
    """The same pairs, but where they cross the common order of two blocks those that keep it, flagged."""
    mine, theirs = _blocks(source), _blocks(target)
    pairs = {module_path(s.path): module_path(t.path) for s, t, _ in found}
    groups: list[dict[Path, Path]] = []
    for homes in dict.fromkeys((block_of(s), block_of(t)) for s, t in pairs.items()):
        a, b = (side.get(home, {}) for side, home in zip((mine, theirs), homes, strict=True))
        if all(homes) and len(a) >= LEAST and list(a.values()) == list(b.values()) and len(set(a.values())) >= VARIETY:
            crossed = {
                module: wanted
                for module, wanted in zip(a, b, strict=True)
                if pairs.get(module, wanted) != wanted
                and b.get(pairs[module]) == a[module]
                and not _named_so(
                    module[len(homes[0]) :], pairs[module][len(homes[1]) :], wanted[len(homes[1]) :], names
                )
            }
            if crossed and {pairs[module] for module in crossed} == set(crossed.values()):
                groups.append(crossed)
    return exchanged(found, target, groups, "crossed", refuses)


def _named_so(module: Path, got: Path, wanted: Path, names: Names) -> bool:
    """Has a module its partner's own name, or one that excludes the name of the other?

    So have `input_layernorm` and `attention_norm` beside `ffn_norm`: beyond their words they say the same place.
    """
    if module == got or names.contradiction(names.path_words(module), names.path_words(wanted)) > 0:
        return True
    mine, its, other = (_beyond(path, names) for path in (module, got, wanted))
    return bool(mine & its) and bool(other) and mine.isdisjoint(other)


def _beyond(path: Path, names: Names) -> set[str]:
    """What the tokens of a path say beyond their words."""
    return {word.text for word in names.path_words(path) if word.text[0] == "~"}


def _blocks(leaves: Sequence[Leaf]) -> dict[Path, dict[Path, tuple[object, ...]]]:
    """For every numbered block, its modules in order with what they hold."""
    out: dict[Path, dict[Path, tuple[object, ...]]] = defaultdict(dict)
    for leaf in leaves:
        module = module_path(leaf.path)
        own = out[block_of(module)]
        own[module] = (*own.get(module, ()), (leaf.path[len(module) :], leaf.shape))
    return out
