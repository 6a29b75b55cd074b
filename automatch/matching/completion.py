"""After matching: tied weights, half-matched containers, pairs of other shapes, unrelated networks."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from automatch.matching.cleanup import COPY, ORIGINAL
from automatch.matching.evidence import Evidence, Found
from automatch.matching.identity import Identity
from automatch.matching.leaves import Leaf, numbered
from automatch.matching.names import Names, contrast
from automatch.matching.units import module_path, role_of

_TIED_SERVED = frozenset({"embedding", "token", "shared"})
MOST_PAIRS = 4_000
"""More pairs of left-overs than these are not compared by their names."""

ECHO = 0.25
"""A part that is more of a model than this is a second network, and no head."""

_NEVER_TIED = frozenset({"position", "segment"})
_TIED_MODEL = frozenset({"head", "embedding", "token", "shared", "decoder", "output", "linear"})


def tie(found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names) -> list[Found]:
    """Model keys that share their tensor with another key: a head tied to the embedding, a shared embedding.

    Only where the checkpoint holds one embedding of that shape, no tensor of it is left over that could be the key's
    own by its name, and both ends are called like embeddings or heads. A file cannot show whether a head is tied or
    missing, so such a pair is always flagged.
    """
    served = {id(t) for _, t, _ in found}
    counts: dict[tuple[int, ...], list[Leaf]] = defaultdict(list)
    for leaf in source:
        counts[leaf.raw].append(leaf)
    partner = {id(s): t for s, t, _ in found}
    out: list[Found] = []
    tied_modules: dict[tuple[str, ...], Leaf] = {}
    for leaf in target:
        if (
            id(leaf) in served
            or len(leaf.raw) != 2
            or leaf.raw[0] == leaf.raw[1]
            or leaf.ops
            or not _may_be_tied(_concepts(leaf, names), _TIED_MODEL)
        ):
            continue
        alike = counts[leaf.raw]
        if any(id(s) not in partner and not _other(s, leaf, names) for s in alike):
            continue
        served_by = [s for s in alike if id(s) in partner and not s.ops]
        others = [s for s in served_by if _may_be_tied(_concepts(s, names), _TIED_SERVED)]
        if len(others) == 1:
            out.append((others[0], leaf, Evidence(level="tied")))
            tied_modules[leaf.path[:-1]] = others[0]
    vocabulary = {leaf.raw[0] for _, leaf, _ in out}
    for leaf in target:
        only = counts[leaf.raw][0] if len(leaf.raw) == 1 and len(counts[leaf.raw]) == 1 else None
        if id(leaf) in served or only is None or id(only) not in partner:
            continue
        if leaf.path[:-1] in tied_modules and leaf.raw[0] in vocabulary:
            out.append((only, leaf, Evidence(level="tied")))
        elif _inner(leaf.path, partner[id(only)].path) or _inner(partner[id(only)].path, leaf.path):
            out.append((only, leaf, Evidence(level="tied")))  # BERT's `predictions.bias` is `predictions.decoder.bias`
    return out


def _inner(path: Sequence[str], other: Sequence[str]) -> bool:
    """Is the one a tensor of a module in the module that has the other?"""
    return len(path) > 2 and tuple(other) == (*path[:-2], path[-1])


def _other(a: Leaf, b: Leaf, names: Names) -> bool:
    """Do names say that two tensors are not one: the encoder's and the decoder's, an embedding and a head?"""
    if names.contradiction(names.path_words(a.path), names.path_words(b.path)) > 0:
        return True
    return ("head" in _concepts(a, names)) != ("head" in _concepts(b, names))


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
    serving: dict[str, Leaf] = {}
    for s, t, _ in found:
        if not t.ops:
            serving.setdefault(tied.get(t.keys[0], t.keys[0]), s)
    served = {id(t) for _, t, _ in found}
    roots = set(tied.values())
    out: list[Found] = []
    for leaf in target:
        root = tied.get(leaf.keys[0], leaf.keys[0])
        if id(leaf) not in served and root in roots and root in serving:
            out.append((serving[root], leaf, Evidence(level="shared")))
    return out


def echoes(found: Sequence[Found], target: Sequence[Leaf]) -> list[Found]:
    """Further pairs for parts that a model holds a second time, further out: `class_embed` and `decoder.class_embed`.

    Transformers' detection models share their heads so, and files hold them once. As the same head may be missing, such
    a pair is always flagged.
    """
    serving = {t.path: s for s, t, _ in found if not t.ops}
    free = [leaf for leaf in target if leaf.path not in serving and not leaf.ops and not leaf.integer]
    if not free or not serving:
        return []
    ends: dict[tuple[str, ...], list[Leaf]] = defaultdict(list)
    wanted = {leaf.path[:1] for leaf in free if len(leaf.path) > 2}  # a norm inside and a norm outside are two
    for leaf in target:
        for start in range(1, len(leaf.path) - 1):
            if leaf.path[start : start + 1] in wanted and leaf.path in serving:
                ends[leaf.path[start:]].append(leaf)
    parts: dict[str, list[tuple[Leaf, list[Leaf]]]] = defaultdict(list)
    for leaf in free:
        parts[leaf.path[0]].append((leaf, ends[leaf.path]))
    sizes = Counter(leaf.path[0] for leaf in target)
    out: list[Found] = []
    for top, items in parts.items():
        whole = len(items) == sizes[top] < ECHO * len(target)
        if whole and all(len(inner) == 1 and inner[0].raw == leaf.raw for leaf, inner in items):
            out += [(serving[inner[0].path], leaf, Evidence(level="echo")) for leaf, inner in items]
    return out


def namesakes(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], identity: Identity
) -> list[Found]:
    """Further pairs: left-overs of one name, wrappers apart, and one shape, where the two sides are the same model."""
    if not identity.holds:
        return []
    used, served = {id(s) for s, _, _ in found}, {id(t) for _, t, _ in found}
    left = [s for s in source if id(s) not in used]
    right = [t for t in target if id(t) not in served]
    return [
        (s, t, Evidence(name=1.0, level="name"))
        for s, t in _same_names(left, right, identity)
        if s.raw == t.raw and s.integer == t.integer
    ]


def by_own_name(found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf]) -> list[Found]:
    """The pairs with those exchanged whose model key stands in the checkpoint, of that shape, and was given another.

    Only keys without a number, as layers may have been counted otherwise, and only whole modules. What served such a
    key before is given what served the other one, and flagged.
    """
    own = _by_module(source)
    wanted = _by_module(target)
    same = {module for module, shapes in wanted.items() if own.get(module) == shapes}
    mine = {leaf.path: leaf for leaf in source if module_path(leaf.path) in same and not leaf.ops}
    out = list(found)
    given = {id(s): n for n, (s, _, _) in enumerate(found)}
    for n, (_, t, evidence) in enumerate(found):
        held, s = mine.get(t.path), out[n][0]
        if held is None or held is s or t.ops or evidence.level == "pin":
            continue
        other = given.pop(id(held), None)
        given.pop(id(s), None)  # one tensor may serve several keys
        if other is not None:
            _, theirs, told = out[other]
            if theirs.raw != s.raw or theirs.ops or s.ops or told.level == "pin":
                given |= {id(held): other, id(s): n}
                continue
            out[other] = s, theirs, replace(told, level="exchanged")
            given[id(s)] = other
        out[n] = held, t, Evidence(name=1.0, level="name")
        given[id(held)] = n
    return out


def _by_module(leaves: Sequence[Leaf]) -> dict[tuple[str, ...], list[tuple[tuple[str, ...], tuple[int, ...], bool]]]:
    """The tensors of modules that no number leads to, by their paths."""
    out: dict[tuple[str, ...], list[tuple[tuple[str, ...], tuple[int, ...], bool]]] = defaultdict(list)
    for leaf in leaves:
        if len(leaf.path) > 2 and not numbered(leaf.path):
            out[module_path(leaf.path)].append((leaf.path, leaf.raw, leaf.integer))
    return {module: sorted(held) for module, held in out.items()}


def trained_copies(found: Sequence[Found], target: Sequence[Leaf]) -> list[Found]:
    """Further pairs for the copies that PEFT makes of modules to be trained whole.

    It wraps such a module, once it is loaded, as `original_module` and `modules_to_save.<adapter>`, equal at first.
    """
    serving = {t.path: s for s, t, _ in found if not t.ops}
    served = {id(t) for _, t, _ in found}
    out: list[Found] = []
    for leaf in target:
        if COPY in leaf.path[:-2] and id(leaf) not in served:
            at = leaf.path.index(COPY)
            original = serving.get((*leaf.path[:at], ORIGINAL, *leaf.path[at + 2 :]))
            if original is not None and original.raw == leaf.raw:
                out.append((original, leaf, Evidence(level="copy")))
    return out


def _may_be_tied(concepts: frozenset[str], known: frozenset[str]) -> bool:
    return bool(concepts & known) and not concepts & _NEVER_TIED


def _concepts(leaf: Leaf, names: Names) -> frozenset[str]:
    return frozenset(c for w in names.path_words(module_path(leaf.path)[-2:]) for c in w.concepts)


def drop_half_matched(
    found: list[Found], source: Sequence[Leaf], target: Sequence[Leaf], identity: Identity
) -> list[Found]:
    """Take back pairs in containers of other names that otherwise do not fit each other.

    `lm_head.dense` fits `classifier.dense`, but the rest of the two heads does not: two
    different heads, not one renamed. A matrix whose shape is the only one of either side stays, with its module.
    """
    free = (_unserved(source, {id(s) for s, _, _ in found}), _unserved(target, {id(t) for _, t, _ in found}))
    if not free[0] or not free[1]:
        return found
    pairs: dict[tuple[tuple[str, ...], tuple[str, ...]], int] = defaultdict(int)
    homes: list[tuple[tuple[str, ...], tuple[str, ...]] | None] = []
    sizes: tuple[dict[tuple[str, ...], int], dict[tuple[str, ...], int]] = (defaultdict(int), defaultdict(int))
    for size, leaves in zip(sizes, (source, target), strict=True):
        for leaf in leaves:
            for depth in range(1, len(leaf.path)):
                size[leaf.path[:depth]] += 1
    counts = Counter(leaf.shape for leaf in source), Counter(leaf.shape for leaf in target)
    single = {
        module_path(s.path)
        for s, _, e in found
        if len(s.shape) > 1 and counts[0][s.shape] == counts[1][s.shape] == 1 and e.name > 0
    }
    for s, t, _ in found:
        home_a, home_b = _half(s, free[0]), _half(t, free[1])
        renamed = home_a and home_b and home_a[-1] != home_b[-1] and not identity(s.path, t.path)
        renamed = renamed and module_path(s.path) not in single
        home = (home_a, home_b) if renamed and home_a and home_b else None
        homes.append(home)
    for home in {home for home in homes if home}:
        a, b = home
        pairs[home] = sum(s.path[: len(a)] == a and t.path[: len(b)] == b for s, t, _ in found)
    return [
        item
        for item, home in zip(found, homes, strict=True)
        if home is None or item[2].level == "pin" or pairs[home] > 0.5 * min(sizes[0][home[0]], sizes[1][home[1]])
    ]


def _unserved(leaves: Sequence[Leaf], served: set[int]) -> dict[tuple[str, ...], int]:
    out: dict[tuple[str, ...], int] = defaultdict(int)
    for leaf in leaves:
        if id(leaf) not in served and not numbered(leaf.path):
            for depth in range(1, len(leaf.path)):
                out[leaf.path[:depth]] += 1
    return out


def _half(leaf: Leaf, free: dict[tuple[str, ...], int]) -> tuple[str, ...] | None:
    """The smallest container above the leaf's module that holds unserved leaves, if it is a small one."""
    if numbered(leaf.path):
        return None  # in a repeated block the other blocks bear witness
    for depth in range(len(module_path(leaf.path)) - 1, 0, -1):
        if free.get(leaf.path[:depth]):
            return leaf.path[:depth]
    return None


def mismatches(
    found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf], names: Names, identity: Identity
) -> list[tuple[Leaf, Leaf]]:
    """Left-over leaves that belong together by name or place but differ in shape."""
    used = {id(s) for s, _, _ in found}
    served = {id(t) for _, t, _ in found}
    left = [s for s in source if id(s) not in used]
    right = [t for t in target if id(t) not in served]
    out = _same_names(left, right, identity)
    if len(left) * len(right) <= MOST_PAIRS:
        out += _alike(found, left, right, names, {id(x) for pair in out for x in pair})
    return [(s, t) for s, t in out if s.raw != t.raw]


def _alike(
    found: Sequence[Found], left: Sequence[Leaf], right: Sequence[Leaf], names: Names, taken: set[int]
) -> list[tuple[Leaf, Leaf]]:
    """Leaves of one role whose names are alike, or whose modules belong together."""
    out: list[tuple[Leaf, Leaf]] = []
    by_role: dict[tuple[str, int], list[Leaf]] = defaultdict(list)
    for leaf in left:
        if id(leaf) not in taken:
            by_role[role_of(leaf.path)[1], len(leaf.raw)].append(leaf)
    modules = {(module_path(s.path), module_path(t.path)) for s, t, _ in found}
    for t in right:
        if id(t) in taken:
            continue
        options = [s for s in by_role[role_of(t.path)[1], len(t.raw)] if id(s) not in taken]
        if not options:
            continue
        words = [[names.path_words(module_path(s.path)) for s in options], [names.path_words(module_path(t.path))]]
        weights = contrast(words[0], words[1])
        scored = [
            (names.compare(w, words[1][0], weights) + ((module_path(s.path), module_path(t.path)) in modules), -i)
            for i, (s, w) in enumerate(zip(options, words[0], strict=True))
        ]
        best = max(scored)
        if best[0] >= 0.75:
            out.append((options[-best[1]], t))
            taken.add(id(options[-best[1]]))
    return out


def _same_names(left: Sequence[Leaf], right: Sequence[Leaf], identity: Identity) -> list[tuple[Leaf, Leaf]]:
    """Leaves of one name, wrappers apart; what stands twice on a side, with and without its wrapper, has none."""
    mine, theirs = ([identity.bare(leaf.path, which) for leaf in side] for which, side in enumerate((left, right)))
    counts = Counter(mine), Counter(theirs)
    by_path = {path: leaf for path, leaf in zip(mine, left, strict=True) if counts[0][path] == 1}
    pairs = [(by_path.get(path), t) for path, t in zip(theirs, right, strict=True) if counts[1][path] == 1]
    return [(s, t) for s, t in pairs if s is not None]


def kinship(found: Sequence[Found], source: Sequence[Leaf], target: Sequence[Leaf]) -> float:
    """How far two networks are of one build, in [0, 1]: by numbers of elements and of keys matched.

    The better side counts (one may be a part of the other); names agreeing adds up to half.
    """
    if not found:
        return 0.0
    best = max(_share([s for s, _, _ in found], source), _share([t for _, t, _ in found], target))
    alike = sum(max(0.0, e.name) for _, _, e in found) / len(found)
    return min(1.0, best + 0.5 * alike)


def _share(matched: Sequence[Leaf], side: Sequence[Leaf]) -> float:
    """Geometric mean of the shares of keys and of elements that are matched."""
    keys = sum(not leaf.integer for leaf in side)
    total = sum(math.prod(leaf.shape) for leaf in side if not leaf.integer)
    mine = {id(leaf): leaf for leaf in matched if not leaf.integer}
    done = sum(math.prod(leaf.shape) for leaf in mine.values())
    return math.sqrt(len(mine) / keys * done / total) if keys and total else 0.0


def flagged(evidence: Evidence) -> Evidence:
    """The same evidence, to be flagged whatever it says; what a person pinned stays."""
    return evidence if evidence.level == "pin" else replace(evidence, level="doubtful")
