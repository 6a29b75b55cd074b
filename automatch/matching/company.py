"""What stands beside a module in its item of a list: T5's `layer.1.layer_norm` is that of `layer.1.EncDecAttention`.

The name of such a norm says nothing, that of its neighbour says all: elsewhere, `pre_cross_attention_layer_norm`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from automatch.matching.leaves import Leaf
from automatch.matching.names import Names
from automatch.matching.units import module_path

Path = tuple[str, ...]
_TELLING = frozenset({"attention", "cross", "mlp"})


def company(leaves: Sequence[Leaf], names: Names) -> Mapping[Path, str]:
    """For each module that shares a numbered item with one attention or mlp and nothing else, the name of that."""
    modules: dict[Path, set[str]] = defaultdict(set)
    blocks: dict[Path, set[str]] = defaultdict(set)
    for path in {module_path(leaf.path) for leaf in leaves}:
        for depth in range(1, len(path)):
            if path[depth - 1].isdecimal() and not path[depth].isdecimal():
                (modules if depth == len(path) - 1 else blocks)[path[:depth]].add(path[depth])
    return {
        (*item, *own): beside
        for item, own in modules.items()
        for beside in blocks.get(item, ())
        if len(own) == len(blocks[item]) == 1 and any(w.concepts & _TELLING for w in names.token_words(beside))
    }
