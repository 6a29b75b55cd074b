"""Tensors that were taken out of a company that none of the rest of it follows them from: layers left over, heads."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from automatch.describing.tokens import ROLES, words_of
from automatch.matching.basis.confidence import judge
from automatch.matching.basis.evidence import Evidence, Found
from automatch.matching.basis.leaves import Leaf, Path, has_digits, is_one_vector, without_digits
from automatch.matching.basis.names import Names
from automatch.matching.basis.units import block_of, module_path
from automatch.matching.left_overs.one_model import is_wrapped_model, say_other_things
from automatch.spec import Shape

TOKEN, TOKENS = frozenset({"token"}), frozenset({"token", "class"})
"""What says no more of a learnt token than that it is one; what names of such say."""

SEVERAL = 3
"""So many layers that went elsewhere say where the layers of a list belong; so many modules are a company."""

ALIKE = 0.3
"""Names that are as alike as this say more than the company."""


def drop_surplus(found: list[Found], source: Sequence[Leaf]) -> list[Found]:
    """The pairs without the matrices in doubt of a layer that serves nothing else, for what no number leads to.

    What is left of a deeper network's twelfth layer is no position table, though it may be as large.
    """
    went: Counter[tuple[Path, Shape]] = Counter(
        (without_digits(s.path), s.shape) for s, t, _ in found if has_digits(t.path)
    )
    sizes = Counter(block_of(leaf.path) for leaf in source)
    serving = Counter(block_of(s.path) for s, _, _ in found)

    def is_surplus(s: Leaf, t: Leaf) -> bool:
        block = block_of(s.path)
        alone = bool(block) and serving[block] == 1 and sizes[block] >= SEVERAL
        return alone and not has_digits(t.path) and went[without_digits(s.path), s.shape] >= SEVERAL

    def is_doubted(e: Evidence) -> bool:
        return judge(e).ambiguous and e.level == "unit" and e.name < ALIKE

    return [(s, t, e) for s, t, e in found if len(s.shape) < 2 or not (is_doubted(e) and is_surplus(s, t))]


def drop_from_surplus(found: list[Found], target: Sequence[Leaf]) -> list[Found]:
    """The pairs without what serves a part of a layer that is served by nothing of a layer, where several others are.

    Of a model that is deeper than the file, the seventh layer is no head for masked words, though its parts are called
    the same. A layer that is served whole may have lost but its number: Keras' first one has none.
    """
    came = Counter((without_digits(t.path), t.shape) for s, t, _ in found if has_digits(s.path))
    held = Counter(block_of(leaf.path) for leaf in target)
    served = Counter(block_of(t.path) for _, t, _ in found)
    layers = {block_of(t.path) for s, t, _ in found if has_digits(s.path)}

    def is_surplus(t: Leaf) -> bool:
        block = block_of(t.path)
        alone = bool(block) and block not in layers and 2 * served[block] < held[block]
        return alone and came[without_digits(t.path), t.shape] >= SEVERAL

    return [(s, t, e) for s, t, e in found if e.level == "pin" or has_digits(s.path) or not is_surplus(t)]


def doubt_one_of_a_list(found: list[Found], target: Sequence[Leaf]) -> list[Found]:
    """The same pairs, those flagged of a part of one item of a list that no other item has from anywhere.

    Of the norms behind every stage of a backbone, the last is not the final norm of a classifier, and as large.
    """
    parts: dict[Path, set[Path]] = defaultdict(set)
    for leaf in target:
        if has_digits(leaf.path):
            module = module_path(leaf.path)
            parts[without_digits(module)].add(module)
    served = {module_path(t.path) for _, t, _ in found}

    def is_only_one(s: Leaf, t: Leaf) -> bool:
        if has_digits(s.path) or not has_digits(t.path):
            return False
        module = module_path(t.path)
        others = parts[without_digits(module)] - {module}
        return len(others) >= SEVERAL and others.isdisjoint(served)

    return [(s, t, replace(e, level="lonely") if e.level == "unit" and is_only_one(s, t) else e) for s, t, e in found]


def doubt_other_tokens(found: list[Found], names: Names) -> list[Found]:
    """The same pairs, those flagged of two single learnt tokens whose names say other things.

    What one network calls its `cls_token` another calls `summary_token`; a `distillation_token` is as large.
    """

    def says_other(s: Leaf, t: Leaf) -> bool:
        if s.path[-1] == t.path[-1] or any(not is_one_vector(x) or x.path[-1] in ROLES for x in (s, t)):
            return False
        words = [names.path_words(x.path[-1:]) for x in (s, t)]
        if not all(any(w.concepts & TOKENS for w in own) for own in words):
            return False
        mine, theirs = ([w for w in own if w.concepts != TOKEN] for own in words)
        return max((names.alike(a, b) for a in mine for b in theirs), default=0.0) < ALIKE

    return [(s, t, replace(e, level="only") if e.level == "unit" and says_other(s, t) else e) for s, t, e in found]


def doubt_lonely(found: list[Found], source: Sequence[Leaf], names: Names) -> list[Found]:
    """The pairs, those flagged whose names say nothing, of the only module of a container that serves any.

    The last layer of a head of several layers has the shape of a head of one: fastai puts a norm and a linear layer
    more before it. And a matrix of BERT's head for masked words, of a shape that many have, is not a pooler's: where
    it is the head of another name in what is one model otherwise, there is no such pair.

    Where the two are one model behind a prefix each (see `is_wrapped_model`), none of these is a pair, and none that is
    `astray`: what lost its place there has another head's, or none.
    """
    used = {id(s) for s, _, _ in found}
    shapes = Counter(leaf.shape for leaf in source)
    modules: dict[Path, dict[Path, None]] = defaultdict(dict)
    serving: dict[Path, set[Path]] = defaultdict(set)
    common: set[Path] = set()
    for leaf in source:
        module = module_path(leaf.path)
        if leaf.integer:
            continue
        if len(leaf.shape) > 1 and shapes[leaf.shape] > SEVERAL:
            common.add(module)
        for depth in range(1, len(module)):
            modules[module[:depth]][module] = None
            if id(leaf) in used:
                serving[module[:depth]].add(module)

    def is_alone(home: Path) -> bool:
        return len(modules[home]) >= SEVERAL and len(serving[home]) == 1

    def is_torn(s: Leaf) -> bool:
        home = module_path(s.path)[:-1]
        return any(is_alone(home[:depth]) for depth in range(1, len(home) + 1))

    def is_lonely(s: Leaf, t: Leaf, name: float) -> bool:
        module = module_path(s.path)
        home = module[:-1]
        if has_digits(t.path):
            return False
        if is_alone(home) and (name < ALIKE or (module[-1].isdecimal() and module == next(reversed(modules[home])))):
            return True
        return is_torn(s) and module in common and not has_digits(s.path) and say_other_things(s, t, names)

    kept = [(s, t, e) for s, t, e in found if not (e.level == "head" and is_torn(s))]
    alone = [e.level == "unit" and is_lonely(s, t, e.name) for s, t, e in kept]
    if is_wrapped_model(found):
        return [pair for pair, own in zip(kept, alone, strict=True) if not own and pair[2].level != "astray"]
    return [(s, t, replace(e, level="lonely") if own else e) for (s, t, e), own in zip(kept, alone, strict=True)]


def drop_lonely(found: list[Found]) -> list[Found]:
    """The pairs without those flagged as lonely of two modules with no word in common.

    Such are the norm of a backbone's last stage, or a layer of another head. A bare table, as of positions, or a module
    that shares a word may well be one, and stays in doubt.
    """

    def says_nothing(s: Leaf, t: Leaf) -> bool:
        words = [{word for token in module_path(x.path) for word in words_of(token)} for x in (s, t)]
        return {s.path[-1], t.path[-1]} <= ROLES and words[0].isdisjoint(words[1])

    return [(s, t, e) for s, t, e in found if e.level != "lonely" or not says_nothing(s, t)]
